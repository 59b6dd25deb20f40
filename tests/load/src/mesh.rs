//! A mesh of child processes: one control plane, and members that are an application with a sidecar beside it. The
//! demo, the benchmark and the end-to-end tests all start it this way: on loopback, on ports the system chooses; or each
//! member on a machine of its own, where its sidecar captures what it sends.

use crate::machines::{Group, Machines, SWITCH};
use crate::running::Running;
use crate::scrape::{Samples, scrape};
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// A running mesh. Dropping it ends every process.
#[derive(Debug)]
pub struct Mesh {
    bin_dir: PathBuf,
    dir: PathBuf,
    control_plane: Running,
    members: Vec<Member>,
    // After all that runs on them.
    machines: Option<Machines>,
}

/// An application and the sidecar beside it.
#[derive(Debug)]
pub struct Member {
    /// The instance's name, for example `greeter-v1-a`.
    pub name: String,
    application: Option<Running>,
    sidecar: Running,
    arguments: Vec<OsString>,
}

/// What a sidecar is told about the member it runs beside.
#[derive(Debug, Clone, Default)]
pub struct Beside<'a> {
    /// The namespace; it must exist.
    pub namespace: &'a str,
    /// The service account, and so the identity.
    pub service_account: &'a str,
    /// Labels that Services select by.
    pub labels: &'a [(&'a str, &'a str)],
    /// The application's port, as `--inbound` takes it.
    pub inbound: Option<String>,
    /// Services bound to a local port, as `--upstream` takes them.
    pub upstreams: &'a [&'a str],
    /// Further flags of `sidecar run`, each with its value.
    pub flags: &'a [(&'a str, &'a str)],
}

impl Mesh {
    /// Starts the control plane in `dir`.
    ///
    /// # Errors
    /// It can't be started, with the end of its log.
    pub fn start(bin_dir: &Path, dir: &Path) -> Result<Self> {
        let control_plane = control_plane(bin_dir, dir, [ANY_PORT; 3])?;
        let (bin_dir, dir) = (bin_dir.to_owned(), dir.to_owned());
        Ok(Self { bin_dir, dir, control_plane, members: Vec::new(), machines: None })
    }

    /// Starts the control plane in `dir`, on the switch in whose namespace this process is; each member will have a
    /// machine on it.
    ///
    /// # Errors
    /// It can't be started, with the end of its log.
    pub fn start_on(switch: &str, bin_dir: &Path, dir: &Path) -> Result<Self> {
        let discovery = format!("{SWITCH}:15012");
        let control_plane = control_plane(bin_dir, dir, [ANY_PORT, &discovery, ANY_PORT])?;
        let machines = Some(Machines::new(switch, dir));
        let (bin_dir, dir) = (bin_dir.to_owned(), dir.to_owned());
        Ok(Self { bin_dir, dir, control_plane, members: Vec::new(), machines })
    }

    /// Whether members have machines of their own.
    pub fn is_transparent(&self) -> bool {
        self.machines.is_some()
    }

    /// An application of this build, where the member with this name runs.
    ///
    /// # Errors
    /// The member's machine can't be made.
    pub fn application(&mut self, member: &str, name: &str) -> Result<Command> {
        let program = self.bin_dir.join(name);
        match &mut self.machines {
            Some(machines) => machines.command(member, &program, Group::Application),
            None => Ok(Command::new(program)),
        }
    }

    /// Kills the control plane at once (SIGKILL).
    pub fn kill_control_plane(&mut self) {
        self.control_plane.kill();
    }

    /// The control plane's process number.
    pub fn control_plane_pid(&self) -> u32 {
        self.control_plane.pid()
    }

    /// Starts the control plane again, after its end, on the addresses it had.
    ///
    /// # Errors
    /// It can't be started, with the end of its log.
    pub fn restart_control_plane(&mut self) -> Result<()> {
        self.control_plane.kill();
        let api = self.control_plane.ready("api")?.trim_start_matches("https://").to_owned();
        let discovery = self.control_plane.ready("discovery")?.to_owned();
        let metrics = self.control_plane.ready("metrics")?.to_owned();
        self.control_plane = control_plane(&self.bin_dir, &self.dir, [&api, &discovery, &metrics])?;
        Ok(())
    }

    /// Starts a member's sidecar again, after its end, on the inbound address it had; the other addresses are new.
    ///
    /// # Errors
    /// There is no such member, or the sidecar does not become ready.
    pub fn restart_sidecar(&mut self, name: &str) -> Result<()> {
        let (program, logs) = (self.program("sidecar"), self.logs());
        let member = self.member(name)?;
        member.sidecar.kill();
        let inbound = member.sidecar.ready("inbound")?.to_owned();
        member.sidecar = sidecar(program, name, &member.arguments, (&inbound, 1), &logs)?;
        Ok(())
    }

    /// Has a new process with so many workers take over from a member's sidecar. Returns the old one, which ends once it
    /// has finished what it has.
    ///
    /// # Errors
    /// There is no such member, or the new process does not become ready.
    pub fn take_over_sidecar(&mut self, name: &str, workers: u16) -> Result<Running> {
        let (program, logs) = (self.program("sidecar"), self.logs());
        let member = self.member(name)?;
        let mut arguments = member.arguments.clone();
        arguments.push("--takeover".into());
        let new = sidecar(program, name, &arguments, (ANY_PORT, workers), &logs)?;
        Ok(std::mem::replace(&mut member.sidecar, new))
    }

    /// A program of this build.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.bin_dir.join(name))
    }

    /// Where logs go.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("control-plane/kubeconfig")
    }

    /// Where sidecars find the control plane, as `--control-plane` takes it.
    ///
    /// # Errors
    /// Its ready line does not say.
    pub fn discovery(&self) -> Result<String> {
        Ok(format!("https://{}", self.control_plane.ready("discovery")?))
    }

    /// The certificates by which sidecars know it.
    pub fn trust_bundle(&self) -> PathBuf {
        self.dir.join("control-plane/ca.crt")
    }

    /// Where the control plane's metrics are.
    ///
    /// # Errors
    /// Its ready line does not say.
    pub fn control_plane_metrics(&self) -> Result<&str> {
        self.control_plane.ready("metrics")
    }

    /// Runs meshctl as the administrator and returns what it prints.
    ///
    /// # Errors
    /// It fails: with what it said.
    pub fn meshctl(&self, args: &[&str]) -> Result<String> {
        let mut command = self.program("meshctl");
        let output = command.arg("--kubeconfig").arg(self.kubeconfig()).args(args).output();
        let output =
            output.with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        if !output.status.success() {
            bail!("meshctl {} failed:\n{}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Applies a manifest, or all manifests of a folder.
    ///
    /// # Errors
    /// meshctl refuses it.
    pub fn apply(&self, manifests: &Path) -> Result<String> {
        self.meshctl(&["apply", "-f", &manifests.to_string_lossy()])
    }

    /// Makes a join token.
    ///
    /// # Errors
    /// meshctl refuses it.
    pub fn token(&self, namespace: &str, service_account: &str) -> Result<String> {
        self.meshctl(&["token", "create", "--namespace", namespace, "--service-account", service_account])
    }

    /// Starts a sidecar, and takes `application` along as what it runs beside.
    ///
    /// # Errors
    /// No token can be made, or the sidecar does not become ready.
    pub fn join(&mut self, name: &str, beside: &Beside<'_>, application: Option<Running>) -> Result<()> {
        let account = beside.service_account;
        let token = self.token(beside.namespace, account)?;
        let state = self.dir.join(name);
        std::fs::create_dir_all(&state).with_context(|| format!("creating {}", state.display()))?;
        let token_file = state.join("token");
        std::fs::write(&token_file, token).with_context(|| format!("writing {}", token_file.display()))?;

        let mut arguments: Vec<OsString> = Vec::new();
        let mut push = |flag: &str, value: &OsStr| arguments.extend([flag.into(), value.to_owned()]);
        push("--control-plane", format!("https://{}", self.control_plane.ready("discovery")?).as_ref());
        push("--trust-bundle", self.dir.join("control-plane/ca.crt").as_ref());
        push("--token-file", token_file.as_ref());
        push("--state-dir", state.join("state").as_ref());
        push("--namespace", beside.namespace.as_ref());
        push("--service-account", account.as_ref());
        push("--name", name.as_ref());
        for (key, value) in beside.labels {
            push("--label", format!("{key}={value}").as_ref());
        }
        if let Some(inbound) = &beside.inbound {
            push("--inbound", inbound.as_ref());
        }
        for (flag, value) in beside.flags {
            push(flag, value.as_ref());
        }
        for upstream in beside.upstreams {
            push("--upstream", upstream.as_ref());
        }
        let sidecar = match &mut self.machines {
            Some(machines) => captured(machines, &self.bin_dir.join("sidecar"), name, &arguments, &self.dir)?,
            None => sidecar(self.program("sidecar"), name, &arguments, (ANY_PORT, 1), &self.logs())?,
        };
        self.members.push(Member { name: name.to_owned(), application, sidecar, arguments });
        Ok(())
    }

    /// The member with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn member(&mut self, name: &str) -> Result<&mut Member> {
        self.members
            .iter_mut()
            .find(|member| member.name == name)
            .with_context(|| format!("no member {name}"))
    }

    /// Ends a member in the order in which a rollout does: its sidecar is asked to end and waited for, then its application.
    ///
    /// # Errors
    /// There is no such member, or it can't be asked.
    pub fn retire(&mut self, name: &str) -> Result<()> {
        let member = self.member(name)?;
        let status = member.terminate_sidecar()?;
        if !status.success() {
            bail!("the sidecar of {name} ended with {status}:\n{}", member.sidecar.end_of_log());
        }
        self.members.retain(|member| member.name != name);
        Ok(())
    }

    /// All members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }
}

impl Member {
    /// Where its sidecar listens: `outbound`, `inbound`, `metrics`, or `upstream.NAME`.
    ///
    /// # Errors
    /// The sidecar's ready line has no such key.
    pub fn sidecar_addr(&self, key: &str) -> Result<&str> {
        self.sidecar.ready(key)
    }

    /// The flags of its sidecar that are the member's own.
    pub fn sidecar_arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// The port its application listens on.
    ///
    /// # Errors
    /// It has none.
    pub fn application_port(&self) -> Result<u16> {
        let application =
            self.application.as_ref().with_context(|| format!("{} has no application", self.name))?;
        let (_, port) = application.ready("addr")?.rsplit_once(':').context("an address without a port")?;
        port.parse().context("a port that is no number")
    }

    /// What its sidecar counted.
    ///
    /// # Errors
    /// The sidecar does not answer: it was killed.
    pub fn scrape(&self) -> Result<Samples> {
        scrape(self.sidecar.ready("metrics")?)
    }

    /// Gives it its application, started after the sidecar because it calls through it.
    pub fn set_application(&mut self, application: Running) {
        self.application = Some(application);
    }

    /// Kills application and sidecar at once, as when a machine loses power.
    pub fn kill(&mut self) {
        self.kill_application();
        self.kill_sidecar();
    }

    /// Kills the application at once; its sidecar goes on.
    pub fn kill_application(&mut self) {
        if let Some(application) = &mut self.application {
            application.kill();
        }
    }

    /// Kills the sidecar at once; its application goes on.
    pub fn kill_sidecar(&mut self) {
        self.sidecar.kill();
    }

    /// The sidecar's process number.
    pub fn sidecar_pid(&self) -> u32 {
        self.sidecar.pid()
    }

    /// Asks the sidecar to end and waits until it has.
    ///
    /// # Errors
    /// It can't be asked.
    pub fn terminate_sidecar(&mut self) -> Result<ExitStatus> {
        self.sidecar.terminate()?;
        self.sidecar.wait()
    }
}

/// Lets the system choose.
const ANY_PORT: &str = "127.0.0.1:0";

fn control_plane(bin_dir: &Path, dir: &Path, [api, discovery, metrics]: [&str; 3]) -> Result<Running> {
    let mut command = Command::new(bin_dir.join("control-plane"));
    command.arg("serve").arg("--data-dir").arg(dir.join("control-plane"));
    command.args(["--api-addr", api, "--discovery-addr", discovery, "--metrics-addr", metrics]);
    Running::start("control-plane", command, &dir.join("logs"))
}

fn sidecar(
    mut command: Command,
    name: &str,
    arguments: &[OsString],
    (inbound, workers): (&str, u16),
    logs: &Path,
) -> Result<Running> {
    command.arg("run").args(arguments).args([
        "--address",
        "127.0.0.1",
        "--workers",
        &workers.to_string(),
        "--inbound-addr",
        inbound,
    ]);
    for listener in ["outbound", "admin", "metrics"] {
        command.arg(format!("--{listener}-addr")).arg(ANY_PORT);
    }
    Running::start(&format!("{name}-sidecar"), command, logs)
}

/// A sidecar on a machine of its own that captures what the machine sends and receives.
fn captured(
    machines: &mut Machines,
    program: &Path,
    name: &str,
    arguments: &[OsString],
    dir: &Path,
) -> Result<Running> {
    let address = machines.address(name)?;
    let mut command = machines.command(name, program, Group::Sidecar)?;
    command.arg("run").args(arguments).args(["--capture", "--workers", "1", "--address", &address]);
    command.args(["--metrics-addr", &format!("{address}:15020")]);
    let running = Running::start(&format!("{name}-sidecar"), command, &dir.join("logs"))?;
    machines.capture(name, program)?;
    Ok(running)
}

/// A port that was free a moment ago, for a program that must be told its port before it starts.
///
/// # Errors
/// No port is free.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
