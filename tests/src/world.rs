//! A mesh in a folder of its own. Dropping it ends every process and removes the folder; a panicking test keeps it and
//! says where the logs are.

use crate::clock::Clock;
use crate::etcd::Etcd;
use crate::wait::{eventually, holds};
use mesh_load::mesh::{Beside, Mesh};
use mesh_load::running::Running;
use mesh_load::scrape::Samples;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The namespace tests work in.
pub const NAMESPACE: &str = "demo";

/// A mesh under test.
#[derive(Debug)]
pub struct World {
    /// The processes.
    pub mesh: Mesh,
    dir: Option<tempfile::TempDir>,
}

/// A program that is asked to end when dropped, and waited for, so that what it has started ends with it.
#[derive(Debug)]
pub struct Ending(pub Running);

impl Drop for Ending {
    fn drop(&mut self) {
        // It may have ended; and a test that panics has better things to say.
        self.0.terminate().ok();
        self.0.wait().ok();
    }
}

/// Where the binaries under test are: beside the folder the test binary lies in.
///
/// # Panics
/// They were not built.
pub fn bin_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let dir = test.parent().and_then(Path::parent).unwrap().to_owned();
    for name in ["control-plane", "meshctl", "sidecar", "origin", "load"] {
        assert!(
            dir.join(name).exists(),
            "{} is not built: run `cargo build --bins` first",
            dir.join(name).display()
        );
    }
    dir
}

/// The folder of the example manifests.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples")
}

impl World {
    /// A control plane with the namespace [`NAMESPACE`].
    pub fn new() -> Self {
        let world = Self::empty();
        world.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n"));
        world
    }

    /// A control plane with nothing in it.
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mesh = Mesh::start(&bin_dir(), dir.path()).unwrap();
        Self { mesh, dir: Some(dir) }
    }

    /// A control plane with the namespace [`NAMESPACE`], whose programs go by a clock that the test sets.
    pub fn clocked() -> (Self, Clock) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::new(&bin_dir(), dir.path());
        let mesh = Mesh::start(clock.programs(), dir.path()).unwrap();
        let world = Self { mesh, dir: Some(dir) };
        world.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n"));
        (world, clock)
    }

    /// Control planes that share an etcd cluster of so many members, with the namespace [`NAMESPACE`].
    pub fn shared(control_planes: usize, members: usize) -> (Self, Etcd) {
        let dir = tempfile::tempdir().unwrap();
        let etcd = Etcd::start(members, dir.path());
        let mesh = Mesh::start_several(&bin_dir(), dir.path(), control_planes, &etcd.endpoints()).unwrap();
        let world = Self { mesh, dir: Some(dir) };
        world.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n"));
        (world, etcd)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// Applies YAML.
    ///
    /// # Panics
    /// meshctl refuses it.
    pub fn apply(&self, yaml: &str) {
        let file = self.dir().join("apply.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.mesh.apply(&file).unwrap();
    }

    /// Applies YAML at one of several control planes.
    ///
    /// # Errors
    /// meshctl's words.
    pub fn apply_at(&self, number: usize, yaml: &str) -> Result<(), String> {
        let file = self.dir().join(format!("apply-{number}.yaml"));
        std::fs::write(&file, yaml).unwrap();
        let applied = self.mesh.meshctl_at(number, &["apply", "-f", file.to_str().unwrap()]);
        applied.map(drop).map_err(|error| format!("{error:#}"))
    }

    /// Applies a Service whose port leads to the workloads labelled `app: NAME`, at the port they call `target`.
    pub fn service(&self, name: &str, port: u16, app_protocol: Option<&str>, target: &str) {
        let app_protocol = app_protocol.map(|p| format!(", appProtocol: {p}")).unwrap_or_default();
        self.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  selector: \
             {{app: {name}}}\n  ports: [{{name: main, port: {port}, targetPort: {target}{app_protocol}}}]\n"
        ));
    }

    /// Has requests to the Service go to its endpoints in turn. By peak EWMA one that was slow once may be left alone for as
    /// long as a test runs, and what happens to it would show nothing.
    pub fn in_turn(&self, service: &str) {
        self.apply(&format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {service}-in-turn, namespace: \
             {NAMESPACE}}}\nspec:\n  targetRefs: [{{group: '', kind: Service, name: {service}}}]\n  loadBalancing: \
             {{policy: RoundRobin}}\n"
        ));
    }

    /// Starts `origin ARGS` under `name`.
    pub fn origin(&self, name: &str, args: &[&str]) -> Running {
        let mut command = self.mesh.program("origin");
        command.arg(args[0]).args(["--name", name]).args(&args[1..]);
        Running::start(name, command, &self.mesh.logs()).unwrap()
    }

    /// Starts `origin ARGS` and a sidecar beside it, in the Service `app`; the port is called `main`.
    pub fn serve(&mut self, app: &str, name: &str, protocol: &str, args: &[&str]) {
        self.serve_with(app, name, protocol, args, &[]);
    }

    /// The same, with further flags of `sidecar run`.
    pub fn serve_with(
        &mut self,
        app: &str,
        name: &str,
        protocol: &str,
        args: &[&str],
        flags: &[(&str, &str)],
    ) {
        let origin = self.origin(name, args);
        let port = origin.ready("addr").unwrap().rsplit_once(':').unwrap().1.to_owned();
        let beside = Beside {
            namespace: NAMESPACE,
            service_account: app,
            labels: &[("app", app)],
            inbound: Some(format!("main={port}/{protocol}")),
            flags,
            ..Beside::default()
        };
        self.mesh.join(name, &beside, Some(origin)).unwrap();
    }

    /// A Service `web` whose only instance is what listens at `application`, and a client's sidecar, whose outbound
    /// address is returned once a GET of `path` through it is answered.
    pub fn in_front_of(application: SocketAddr, path: &str) -> (Self, String) {
        let mut world = Self::new();
        world.service("web", 80, Some("http"), "main");
        let beside = Beside {
            namespace: NAMESPACE,
            service_account: "web",
            labels: &[("app", "web")],
            inbound: Some(format!("main={}/http", application.port())),
            ..Beside::default()
        };
        world.mesh.join("web-a", &beside, None).unwrap();
        let outbound = world.client("shopper", &[]);
        world.until_answers(&outbound, "web", path, 200);
        (world, outbound)
    }

    /// Starts a sidecar with nothing beside it, for clients; returns its outbound address.
    pub fn client(&mut self, name: &str, upstreams: &[&str]) -> String {
        self.client_with(name, upstreams, &[])
    }

    /// The same, with further flags of `sidecar run`.
    pub fn client_with(&mut self, name: &str, upstreams: &[&str], flags: &[(&str, &str)]) -> String {
        let beside =
            Beside { namespace: NAMESPACE, service_account: name, upstreams, flags, ..Beside::default() };
        self.mesh.join(name, &beside, None).unwrap();
        self.mesh.member(name).unwrap().sidecar_addr("outbound").unwrap().to_owned()
    }

    /// The arguments of `sidecar run` for a sidecar that is no member: a test starts it by itself. It is labelled
    /// `app: NAME`, and the system chooses its ports.
    pub fn arguments(&self, name: &str, more: &[&str]) -> Vec<OsString> {
        let dir = self.dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let token = dir.join("token");
        std::fs::write(&token, self.mesh.token(NAMESPACE, name).unwrap()).unwrap();
        let mut arguments: Vec<OsString> = Vec::new();
        let mut push = |flag: &str, value: &OsStr| arguments.extend([flag.into(), value.to_owned()]);
        push("--control-plane", self.mesh.discovery().unwrap().as_ref());
        push("--trust-bundle", self.mesh.trust_bundle().as_ref());
        push("--token-file", token.as_ref());
        push("--state-dir", dir.join("state").as_ref());
        for (flag, value) in [("--namespace", NAMESPACE), ("--service-account", name), ("--name", name)] {
            push(flag, value.as_ref());
        }
        push("--label", format!("app={name}").as_ref());
        push("--address", "127.0.0.1".as_ref());
        push("--workers", "1".as_ref());
        for listener in ["outbound", "inbound", "admin", "metrics"] {
            push(&format!("--{listener}-addr"), "127.0.0.1:0".as_ref());
        }
        arguments.extend(more.iter().map(OsString::from));
        arguments
    }

    /// What a member's sidecar has counted.
    pub fn metrics(&mut self, member: &str) -> Samples {
        self.mesh.member(member).unwrap().scrape().unwrap()
    }

    /// Waits until a member's sidecar has counted at least `count` in this metric.
    pub fn counted(&mut self, member: &str, name: &str, labels: &[(&str, &str)], count: f64) {
        let what = format!("{member} counts {name}{labels:?} >= {count}");
        eventually(&what, || {
            let samples = self.metrics(member);
            let seen: Vec<_> = samples.with(name, &[]).cloned().collect();
            holds(samples.sum(name, labels) >= count, seen)
        });
    }

    /// Waits until a GET through `outbound` is answered with `status`.
    pub fn until_answers(&self, outbound: &str, host: &str, path: &str, status: u16) -> crate::http1::Answer {
        eventually(&format!("GET http://{host}{path} answers {status}"), || {
            let answer = crate::http1::get(outbound, host, path).map_err(|error| error.to_string())?;
            if answer.status == status { Ok(answer) } else { Err(format!("{answer:?}")) }
        })
    }

    /// Runs `load ARGS` and returns its report.
    pub fn load(&self, args: &[&str]) -> serde_json::Value {
        let output = self.mesh.program("load").args(args).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let last = stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("{error}: {stdout}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Starts `load ARGS` in the background.
    pub fn start_load(&self, args: &[&str]) -> std::process::Child {
        let mut command: Command = self.mesh.program("load");
        command.args(args).stdout(std::process::Stdio::piped()).spawn().unwrap()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("logs are kept in {}", dir.keep().join("logs").display());
        }
    }
}
