//! A mesh in a folder of its own. Dropping it ends every process and removes the folder; a panicking test keeps it and
//! says where the logs are.

use crate::wait::{eventually, holds};
use mesh_load::mesh::{Beside, Mesh};
use mesh_load::running::Running;
use mesh_load::scrape::Samples;
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

    /// Applies a Service whose port leads to the workloads labelled `app: NAME`, at the port they call `target`.
    pub fn service(&self, name: &str, port: u16, app_protocol: Option<&str>, target: &str) {
        let app_protocol = app_protocol.map(|p| format!(", appProtocol: {p}")).unwrap_or_default();
        self.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  selector: \
             {{app: {name}}}\n  ports: [{{name: main, port: {port}, targetPort: {target}{app_protocol}}}]\n"
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
        let origin = self.origin(name, args);
        let port = origin.ready("addr").unwrap().rsplit_once(':').unwrap().1.to_owned();
        let beside = Beside {
            namespace: NAMESPACE,
            service_account: app,
            labels: &[("app", app)],
            inbound: Some(format!("main={port}/{protocol}")),
            upstreams: &[],
        };
        self.mesh.join(name, &beside, Some(origin)).unwrap();
    }

    /// Starts a sidecar with nothing beside it, for clients; returns its outbound address.
    pub fn client(&mut self, name: &str, upstreams: &[&str]) -> String {
        let beside =
            Beside { namespace: NAMESPACE, service_account: name, labels: &[], inbound: None, upstreams };
        self.mesh.join(name, &beside, None).unwrap();
        self.mesh.member(name).unwrap().sidecar_addr("outbound").unwrap().to_owned()
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
