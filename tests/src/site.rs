//! A mesh on several machines that are network namespaces, on one switch: a control plane on the first, and beside it
//! machines with a sidecar that captures, or without. What runs there, curl or a server, knows nothing of the mesh: it
//! has the machine's resolver configuration and nothing else.
//!
//! Machine N is 10.78.0.N and fd78::N; the switch is 10.78.0.254 and fd78::fe, everybody's gateway and DNS server.

use crate::netns::{Host, sidecar, told};
use crate::wait::{eventually, holds};
use crate::world::bin_dir;
use mesh_load::running::Running;
use mesh_load::scrape::{Samples, scrape};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};

/// The namespace tests work in.
pub const NAMESPACE: &str = "shop";
/// The user services and clients run as.
pub const SERVICE: u32 = 1001;
/// The sidecar's user.
pub const SIDECAR: u32 = 900;

/// Which versions of IP a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Both.
    Both,
    /// IPv6 alone.
    Ipv6Only,
}

/// The machines.
#[derive(Debug)]
pub struct Site {
    // What runs ends before where it runs.
    control_plane: Option<Running>,
    control: Host,
    /// Gateway and DNS server of all, and nobody's host.
    pub switch: Host,
    dir: Option<tempfile::TempDir>,
    count: AtomicU8,
}

/// A machine on the switch.
#[derive(Debug)]
pub struct Machine {
    /// Its IPv4 address; also where there is none, since it says which machine it is.
    pub v4: String,
    /// Its IPv6 address.
    pub v6: String,
    name: String,
    versions: Versions,
    dir: PathBuf,
    sidecar: Option<Running>,
    arguments: Vec<String>,
    /// Who starts the sidecar.
    starter: u32,
    running: Vec<Running>,
    /// Its namespace; the last, as what runs ends before where it runs.
    pub host: Host,
}

impl Site {
    /// A switch and a control plane with the namespace [`NAMESPACE`].
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let (switch, control) = (Host::new(), Host::new());
        switch.sh("ip", &["link", "add", "br0", "type", "bridge"]);
        switch.sh("ip", &["addr", "add", "10.78.0.254/24", "dev", "br0"]);
        switch.sh("ip", &["addr", "add", "fd78::fe/64", "dev", "br0", "nodad"]);
        switch.sh("ip", &["link", "set", "br0", "up"]);
        let mut site = Self { switch, control, control_plane: None, dir: Some(dir), count: AtomicU8::new(1) };
        site.plug(&site.control, 1, Versions::Both);
        site.start_control_plane();
        site.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n"));
        site
    }

    fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    fn plug(&self, host: &Host, number: u8, versions: Versions) {
        let port = format!("port{number}");
        let ends = ["link", "add", "eth0", "netns", host.name(), "type", "veth"];
        let peer = ["peer", "name", &port, "netns", self.switch.name()];
        host.sh("ip", &[&ends[..], &peer[..]].concat());
        self.switch.sh("ip", &["link", "set", &port, "master", "br0", "up"]);
        let (v4, v6) = (format!("10.78.0.{number}/24"), format!("fd78::{number:x}/64"));
        if versions == Versions::Both {
            host.sh("ip", &["addr", "add", &v4, "dev", "eth0"]);
        }
        host.sh("ip", &["addr", "add", &v6, "dev", "eth0", "nodad"]);
        host.sh("ip", &["link", "set", "eth0", "up"]);
        if versions == Versions::Both {
            host.sh("ip", &["route", "add", "default", "via", "10.78.0.254"]);
        }
        host.sh("ip", &["-6", "route", "add", "default", "via", "fd78::fe"]);
    }

    /// Cuts the control plane off, silently, or joins it again.
    pub fn partition(&self, is_cut: bool) {
        let way = if is_cut { "down" } else { "up" };
        self.switch.sh("ip", &["link", "set", "port1", way]);
    }

    /// Starts the control plane, the first time or again.
    pub fn start_control_plane(&mut self) {
        self.control_plane = None;
        let mut command = Command::new(bin_dir().join("control-plane"));
        command.arg("serve").arg("--data-dir").arg(self.dir().join("control-plane"));
        command.args(["--discovery-addr", "[::]:15012", "--metrics-addr", "127.0.0.1:15014"]);
        command.args(["--server-name", "10.78.0.1", "--server-name", "fd78::1"]);
        let started = self.control.inside(|| Running::start("control-plane", command, &self.logs()));
        self.control_plane = Some(started.unwrap());
    }

    /// Kills the control plane.
    pub fn kill_control_plane(&mut self) {
        self.control_plane = None;
    }

    /// Where logs go.
    pub fn logs(&self) -> PathBuf {
        self.dir().join("logs")
    }

    /// Runs meshctl as the administrator and returns what it prints.
    ///
    /// # Panics
    /// It fails.
    pub fn meshctl(&self, args: &[&str]) -> String {
        let mut command = Command::new(bin_dir().join("meshctl"));
        command.arg("--kubeconfig").arg(self.dir().join("control-plane/kubeconfig")).args(args);
        let output = self.control.run(command);
        assert!(output.status.success(), "meshctl {}: {}", args.join(" "), told(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Applies YAML.
    ///
    /// # Panics
    /// It is refused.
    pub fn apply(&self, yaml: &str) {
        let file = tempfile::NamedTempFile::new_in(self.dir()).unwrap();
        fs::write(file.path(), yaml).unwrap();
        self.meshctl(&["apply", "-f", file.path().to_str().unwrap()]);
    }

    /// A Service for the workloads labelled `app: NAME`; `ports` as `80>8080/http 5432>5432`.
    pub fn service(&self, name: &str, ports: &str) {
        let mut all = String::new();
        for text in ports.split_whitespace() {
            let (port, target) = text.split_once('>').unwrap();
            let (target, protocol) = target.split_once('/').unwrap_or((target, ""));
            all.push_str(&format!("  - {{name: p{port}, port: {port}, targetPort: {target}"));
            if !protocol.is_empty() {
                all.push_str(&format!(", appProtocol: {protocol}"));
            }
            all.push_str("}\n");
        }
        self.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  selector: \
             {{app: {name}}}\n  ports:\n{all}"
        ));
    }

    /// A machine with nothing on it but users.
    pub fn machine(&self, name: &str, versions: Versions) -> Machine {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let host = Host::new();
        self.plug(&host, number, versions);
        let dir = self.dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        open_to_all(&dir);
        let server = if versions == Versions::Both { "10.78.0.254" } else { "fd78::fe" };
        fs::write(dir.join("resolv.conf"), format!("nameserver {server}\n")).unwrap();
        let (v4, v6) = (format!("10.78.0.{number}"), format!("fd78::{number:x}"));
        let (sidecar, arguments, running) = (None, Vec::new(), Vec::new());
        let name = name.to_owned();
        Machine { host, v4, v6, name, versions, dir, sidecar, arguments, starter: SIDECAR, running }
    }

    /// A machine with a sidecar that captures all of it, for the service account `name`, and these flags of
    /// `sidecar run` more.
    pub fn member(&self, name: &str, flags: &str) -> Machine {
        let mut machine = self.machine(name, Versions::Both);
        self.join(&mut machine, flags);
        machine.host.intercepts("install --sidecar-uid 900");
        machine
    }

    /// Starts a machine's sidecar; nothing is captured yet.
    pub fn join(&self, machine: &mut Machine, flags: &str) {
        let name = machine.name.clone();
        machine.arguments = self.sidecar_arguments(machine, &name, flags);
        machine.restart_sidecar();
    }

    /// Starts a machine's sidecar as root, which gives all of that up but what its sockets need; nothing is captured yet.
    pub fn join_as_root(&self, machine: &mut Machine, flags: &str) {
        machine.starter = 0;
        self.join(machine, &format!("--uid {SIDECAR}:{SIDECAR} {flags}"));
    }

    /// The arguments of `sidecar run` on a machine, with everything it needs put there.
    pub fn sidecar_arguments(&self, machine: &Machine, account: &str, flags: &str) -> Vec<String> {
        let (token, state) = (machine.dir.join(format!("{account}.token")), machine.dir.join(account));
        let made = ["token", "create", "--namespace", NAMESPACE, "--service-account", account];
        fs::write(&token, self.meshctl(&made)).unwrap();
        fs::create_dir_all(&state).unwrap();
        let bundle = machine.dir.join("ca.crt");
        fs::copy(self.dir().join("control-plane/ca.crt"), &bundle).unwrap();
        open_to_all(&bundle);
        for path in [&token, &state] {
            chown(path, Some(SIDECAR), Some(SIDECAR)).unwrap();
        }
        let server = if machine.versions == Versions::Both { "10.78.0.1" } else { "[fd78::1]" };
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let pairs = [
            ("--control-plane", format!("https://{server}:15012")),
            ("--trust-bundle", path(&bundle)),
            ("--token-file", path(&token)),
            ("--state-dir", path(&state)),
            ("--namespace", NAMESPACE.to_owned()),
            ("--service-account", account.to_owned()),
            ("--name", account.to_owned()),
            ("--label", format!("app={account}")),
            ("--workers", "1".to_owned()),
        ];
        let flags = flags.split_whitespace().map(ToOwned::to_owned);
        let all = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        all.chain(["--capture".to_owned()]).chain(flags).collect()
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("logs are kept in {}", dir.keep().display());
        }
    }
}

impl Machine {
    /// A command that runs as this user, with this machine's resolver configuration.
    pub fn command(&self, uid: u32, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg(
            "mount --bind \"$1\" /etc/resolv.conf && user=$2 && shift 2 && exec setpriv --reuid \"$user\" --regid \
             \"$user\" --clear-groups -- \"$@\"",
        );
        // Not the one of whoever runs the tests, whose folders others can't enter.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("sh").arg(self.dir.join("resolv.conf")).arg(uid.to_string()).arg(program.as_ref());
        command.current_dir("/");
        command
    }

    /// Runs `program ARGS` as the service's user.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = self.command(SERVICE, program);
        command.args(args);
        self.host.run(command)
    }

    /// What `program ARGS` prints, as the service's user.
    ///
    /// # Panics
    /// It fails.
    pub fn says(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert!(output.status.success(), "{program} {args:?}: {}: {}", output.status, told(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What curl prints with these arguments; fails as curl does.
    ///
    /// # Errors
    /// curl fails: with what it said.
    pub fn curl(&self, args: &str) -> Result<String, String> {
        let mut all = vec!["--silent", "--show-error", "--max-time", "15"];
        all.extend(args.split_whitespace());
        let output = self.run("curl", &all);
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(format!("{} {}", output.status, told(&output)))
        }
    }

    /// Calls until the answer has this in it.
    pub fn until_curl(&self, args: &str, expected: &str) -> String {
        eventually(&format!("curl {args} says {expected}"), || {
            let answer = self.curl(args)?;
            if answer.contains(expected) { Ok(answer) } else { Err(answer) }
        })
    }

    /// Starts a server as the service's user; it prints a ready line.
    pub fn start(&mut self, name: &str, program: impl AsRef<Path>, args: &[&str]) {
        let mut command = self.command(SERVICE, program);
        command.args(args);
        let logs = self.logs();
        self.running.push(self.host.inside(|| Running::start(name, command, &logs)).unwrap());
    }

    /// Starts a server as this user that prints no ready line.
    pub fn launch(&mut self, uid: u32, name: &str, program: impl AsRef<Path>, args: &[&str]) {
        let mut command = self.command(uid, program);
        command.args(args);
        let logs = self.logs();
        self.running.push(self.host.inside(|| Running::launch(name, command, &logs)).unwrap());
    }

    /// Starts `origin ARGS` on every address.
    pub fn origin(&mut self, name: &str, port: u16, args: &str) {
        let listen = format!("[::]:{port}");
        let (mode, flags) = args.split_once(' ').unwrap_or((args, ""));
        let mut all = vec![mode, "--name", name, "--listen", &listen];
        all.extend(flags.split_whitespace());
        self.start(name, bin_dir().join("origin"), &all);
    }

    fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// A folder of this machine.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the sidecar has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.logs().join("sidecar.log")).unwrap_or_default()
    }

    /// Starts the sidecar, the first time or after its end.
    pub fn restart_sidecar(&mut self) {
        self.sidecar = None;
        let mut command = self.command(self.starter, sidecar());
        command.arg("run").args(&self.arguments);
        let logs = self.logs();
        self.sidecar = Some(self.host.inside(|| Running::start("sidecar", command, &logs)).unwrap());
    }

    /// Has a new sidecar process, with these flags more, take over from the running one, which is returned.
    ///
    /// # Panics
    /// None runs, or the new one does not get ready.
    pub fn take_over_sidecar(&mut self, flags: &str) -> Running {
        let mut command = self.command(self.starter, sidecar());
        command.arg("run").args(&self.arguments).arg("--takeover").args(flags.split_whitespace());
        let logs = self.logs();
        let new = self.host.inside(|| Running::start("successor", command, &logs)).unwrap();
        self.sidecar.replace(new).expect("a sidecar to take over from")
    }

    /// The running sidecar.
    ///
    /// # Panics
    /// None runs.
    pub fn sidecar(&mut self) -> &mut Running {
        self.sidecar.as_mut().expect("a running sidecar")
    }

    /// Kills the sidecar.
    pub fn kill_sidecar(&mut self) {
        self.sidecar = None;
    }

    /// What the sidecar has counted.
    pub fn metrics(&self) -> Samples {
        self.host.inside(|| scrape("127.0.0.1:15020")).unwrap()
    }

    /// Waits until the sidecar has counted at least this many.
    pub fn counted(&self, name: &str, labels: &[(&str, &str)], count: f64) {
        eventually(&format!("{} counts {name}{labels:?} >= {count}", self.name), || {
            let samples = self.metrics();
            let seen: Vec<_> = samples.with(name, &[]).cloned().collect();
            holds(samples.sum(name, labels) >= count, seen)
        });
    }
}

fn open_to_all(path: &Path) {
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
