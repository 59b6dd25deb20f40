//! A mesh of child processes: one control plane or several, and members that are an application with a sidecar beside it. The
//! demo, the benchmark and the end-to-end tests all start it this way: on loopback, on ports the system chooses; or each
//! member on a machine of its own, where its sidecar captures what it sends.

use crate::kept;
use crate::machines::{Group, Machines, SWITCH};
use crate::member::Member;
use crate::running::Running;
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running mesh. Dropping it ends every process.
#[derive(Debug)]
pub struct Mesh {
    bin_dir: PathBuf,
    dir: PathBuf,
    /// At least one.
    control_planes: Vec<Running>,
    /// The flags of all of them that say where objects are kept.
    store: Vec<OsString>,
    members: Vec<Member>,
    // After all that runs on them.
    machines: Option<Machines>,
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
        Self::with_control_plane(bin_dir, dir, &kept::address()?, None)
    }

    /// Starts `count` control planes in `dir` that share the etcd cluster with these members, comma-separated.
    ///
    /// # Errors
    /// One can't be started, with the end of its log.
    pub fn start_several(bin_dir: &Path, dir: &Path, count: usize, etcd: &str) -> Result<Self> {
        let mut mesh = Self {
            bin_dir: bin_dir.to_owned(),
            dir: dir.to_owned(),
            control_planes: Vec::new(),
            store: ["--store", "etcd", "--etcd-endpoints", etcd].map(OsString::from).to_vec(),
            members: Vec::new(),
            machines: None,
        };
        for number in 0..count {
            if number > 0 {
                mesh.give_keys(number)?;
            }
            let [api, discovery, metrics] = [kept::address()?, kept::address()?, kept::address()?];
            let started = mesh.start_control_plane(number, [&api, &discovery, &metrics])?;
            mesh.control_planes.push(started);
        }
        Ok(mesh)
    }

    fn with_control_plane(
        bin_dir: &Path,
        dir: &Path,
        discovery: &str,
        machines: Option<Machines>,
    ) -> Result<Self> {
        let mut mesh = Self {
            bin_dir: bin_dir.to_owned(),
            dir: dir.to_owned(),
            control_planes: Vec::new(),
            store: Vec::new(),
            members: Vec::new(),
            machines,
        };
        let [api, metrics] = [kept::address()?, kept::address()?];
        let started = mesh.start_control_plane(0, [&api, discovery, &metrics])?;
        mesh.control_planes.push(started);
        Ok(mesh)
    }

    /// Copies the first control plane's keys to another, as an operator does.
    fn give_keys(&self, number: usize) -> Result<()> {
        let (from, to) = (self.data_dir(0), self.data_dir(number));
        std::fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))?;
        for file in ["ca.key", "ca.crt", "join-token.key"] {
            std::fs::copy(from.join(file), to.join(file)).with_context(|| format!("copying {file}"))?;
        }
        Ok(())
    }

    fn data_dir(&self, number: usize) -> PathBuf {
        match number {
            0 => self.dir.join("control-plane"),
            number => self.dir.join(format!("control-plane-{}", number + 1)),
        }
    }

    fn start_control_plane(&self, number: usize, [api, discovery, metrics]: [&str; 3]) -> Result<Running> {
        let data_dir = self.data_dir(number);
        let name = data_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = Command::new(self.bin_dir.join("control-plane"));
        command.arg("serve").arg("--data-dir").arg(&data_dir).args(&self.store);
        command.args(["--api-addr", api, "--discovery-addr", discovery, "--metrics-addr", metrics]);
        Running::start(&name, command, &self.logs())
    }

    /// One of the control planes, by its number from 0.
    ///
    /// # Errors
    /// There are not so many.
    pub fn control_plane(&mut self, number: usize) -> Result<&mut Running> {
        self.control_planes.get_mut(number).with_context(|| format!("no control plane {number}"))
    }

    /// Starts the control plane in `dir`, on the switch in whose namespace this process is; each member will have a
    /// machine on it.
    ///
    /// # Errors
    /// It can't be started, with the end of its log.
    pub fn start_on(switch: &str, bin_dir: &Path, dir: &Path) -> Result<Self> {
        let discovery = format!("{SWITCH}:15012");
        Self::with_control_plane(bin_dir, dir, &discovery, Some(Machines::new(switch, dir)))
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
        self.control_planes.iter_mut().take(1).for_each(Running::kill);
    }

    /// The control plane's process number.
    ///
    /// # Errors
    /// There is none.
    pub fn control_plane_pid(&self) -> Result<u32> {
        Ok(self.first()?.pid())
    }

    fn first(&self) -> Result<&Running> {
        self.control_planes.first().context("no control plane")
    }

    /// Starts the control plane again, after its end, on the addresses it had.
    ///
    /// # Errors
    /// It can't be started, with the end of its log.
    pub fn restart_control_plane(&mut self) -> Result<()> {
        self.restart_one_of_several(0)
    }

    /// Starts one of the control planes again, after its end, on the addresses it had.
    ///
    /// # Errors
    /// It can't be started, with the end of its log.
    pub fn restart_one_of_several(&mut self, number: usize) -> Result<()> {
        let running = self.control_plane(number)?;
        running.kill();
        let api = running.ready("api")?.trim_start_matches("https://").to_owned();
        let discovery = running.ready("discovery")?.to_owned();
        let metrics = running.ready("metrics")?.to_owned();
        let started = self.start_control_plane(number, [&api, &discovery, &metrics])?;
        *self.control_plane(number)? = started;
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
        self.kubeconfig_of(0)
    }

    /// The administrator's kubeconfig for one of the control planes.
    pub fn kubeconfig_of(&self, number: usize) -> PathBuf {
        self.data_dir(number).join("kubeconfig")
    }

    /// Where sidecars find the control plane, or each of several, as `--control-plane` takes it.
    ///
    /// # Errors
    /// Its ready line does not say.
    pub fn discovery(&self) -> Result<String> {
        let urls: Result<Vec<String>> = self
            .control_planes
            .iter()
            .map(|control_plane| Ok(format!("https://{}", control_plane.ready("discovery")?)))
            .collect();
        Ok(urls?.join(","))
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
        self.first()?.ready("metrics")
    }

    /// Runs meshctl as the administrator and returns what it prints.
    ///
    /// # Errors
    /// It fails: with what it said.
    pub fn meshctl(&self, args: &[&str]) -> Result<String> {
        self.meshctl_at(0, args)
    }

    /// Runs meshctl against one of the control planes.
    ///
    /// # Errors
    /// It fails: with what it said.
    pub fn meshctl_at(&self, number: usize, args: &[&str]) -> Result<String> {
        let mut command = self.program("meshctl");
        let output = command.arg("--kubeconfig").arg(self.kubeconfig_of(number)).args(args).output();
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
        push("--control-plane", self.discovery()?.as_ref());
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

/// Lets the system choose.
const ANY_PORT: &str = "127.0.0.1:0";

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
