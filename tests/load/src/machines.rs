//! Machines that are network namespaces on one switch, for a demo in which programs know nothing of the mesh. The process
//! that makes them runs in the switch's namespace itself, so that it reaches all of them and the machine's own network
//! sees nothing of it.
//!
//! ```text
//! this process ── [switch: 10.77.0.254, runs the control plane] ═╦═ machine 1: 10.77.0.1, an application, a sidecar
//!                                                                ╚═ machine 2: 10.77.0.2 …
//! ```

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The switch's address: everybody's gateway, and where the control plane is.
pub const SWITCH: &str = "10.77.0.254";
/// What namespaces are called; the number of the process that made them follows.
const PREFIX: &str = "outrigger-demo-";
/// The sidecars' group: what it sends is not captured.
const SIDECAR_GROUP: u32 = 900;
/// What machines need to be made and rules to be installed, and the package of Debian that has it.
const TOOLS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("nft", "nftables"), ("unshare", "util-linux"), ("setpriv", "util-linux")];

/// The machines of a demo. Dropping it removes their namespaces.
#[derive(Debug)]
pub struct Machines {
    switch: String,
    dir: PathBuf,
    numbers: BTreeMap<String, u8>,
}

/// What is missing on this machine to make machines.
///
/// # Errors
/// With what to do about it.
pub fn check() -> Result<()> {
    if fs::metadata("/proc/self").context("reading /proc")?.uid() != 0 {
        bail!("--transparent makes network namespaces, which needs root: run it as root, or leave it out");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_missing =
        |tool: &&(&str, &str)| !std::env::split_paths(&path).any(|folder| folder.join(tool.0).exists());
    let mut missing: Vec<&str> = TOOLS.iter().filter(is_missing).map(|(_, package)| *package).collect();
    missing.dedup();
    if !missing.is_empty() {
        let packages = missing.join(" ");
        bail!("--transparent needs {packages}: `apt-get install {packages}`, or leave it out");
    }
    Ok(())
}

/// Makes the switch, runs `program ARGS` in it to its end, and removes it. Returns whether it succeeded.
///
/// # Errors
/// There can be no namespace, or no such program.
pub fn run_in_a_switch(program: &Path, args: &[String]) -> Result<bool> {
    remove_leftovers()?;
    let switch = &format!("{PREFIX}{}", std::process::id());
    ip(&["netns", "add", switch])?;
    let within = || -> Result<bool> {
        for args in [
            &["link", "set", "lo", "up"][..],
            &["link", "add", "br0", "type", "bridge"],
            &["addr", "add", &format!("{SWITCH}/24"), "dev", "br0"],
            &["link", "set", "br0", "up"],
        ] {
            ip(&[&["-n", switch], args].concat())?;
        }
        let mut command = Command::new("ip");
        command.args(["netns", "exec", switch]).arg(program).args(args).args(["--switch", switch]);
        Ok(command.status().context("starting ip")?.success())
    };
    let succeeded = within();
    ip(&["netns", "del", switch])?;
    succeeded
}

/// Removes the namespaces of processes that were ended before they could do so.
fn remove_leftovers() -> Result<()> {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = name.strip_prefix(PREFIX) else { continue };
        let owner = owner.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            ip(&["netns", "del", &name])?;
        }
    }
    Ok(())
}

impl Machines {
    /// None yet, on this switch; `dir` keeps what they have for themselves.
    pub fn new(switch: &str, dir: &Path) -> Self {
        Self { switch: switch.to_owned(), dir: dir.to_owned(), numbers: BTreeMap::new() }
    }

    /// The machine's address.
    ///
    /// # Errors
    /// It is new, and can't be made.
    pub fn address(&mut self, machine: &str) -> Result<String> {
        Ok(format!("10.77.0.{}", self.number(machine)?))
    }

    /// A command that runs `program` on a machine, as an application or as its sidecar.
    ///
    /// # Errors
    /// It is new, and can't be made.
    pub fn command(&mut self, machine: &str, program: &Path, group: Group) -> Result<Command> {
        let namespace = self.namespace(machine)?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace, "sh", "-c"]);
        command.arg(
            "mount --bind \"$1\" /etc/resolv.conf && group=$2 && shift 2 && exec setpriv --regid \"$group\" \
                     --clear-groups -- \"$@\"",
        );
        let group = match group {
            Group::Application => 0,
            Group::Sidecar => SIDECAR_GROUP,
        };
        command.arg("sh").arg(self.resolver()).arg(group.to_string()).arg(program);
        Ok(command)
    }

    /// Captures all that a machine sends and receives; its sidecar runs.
    ///
    /// # Errors
    /// What `sidecar intercept install` said.
    pub fn capture(&mut self, machine: &str, sidecar: &Path) -> Result<()> {
        let group = SIDECAR_GROUP.to_string();
        let mut command = self.command(machine, sidecar, Group::Application)?;
        command.args(["intercept", "install", "--sidecar-gid", &group]);
        run(&mut command)
    }

    fn resolver(&self) -> PathBuf {
        self.dir.join("resolv.conf")
    }

    fn namespace(&mut self, machine: &str) -> Result<String> {
        let number = self.number(machine)?;
        Ok(format!("{}-{number}", self.switch))
    }

    fn number(&mut self, machine: &str) -> Result<u8> {
        if let Some(number) = self.numbers.get(machine) {
            return Ok(*number);
        }
        let number = u8::try_from(self.numbers.len() + 1).context("too many machines")?;
        fs::write(self.resolver(), format!("nameserver {SWITCH}\n")).context("writing resolv.conf")?;
        let (namespace, port) = (format!("{}-{number}", self.switch), format!("port{number}"));
        ip(&["netns", "add", &namespace])?;
        self.numbers.insert(machine.to_owned(), number);
        ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
        ip(&["link", "set", &port, "master", "br0", "up"])?;
        for args in [
            &["link", "set", "lo", "up"][..],
            &["addr", "add", &format!("10.77.0.{number}/24"), "dev", "eth0"],
            &["link", "set", "eth0", "up"],
            &["route", "add", "default", "via", SWITCH],
        ] {
            ip(&[&["-n", &namespace], args].concat())?;
        }
        Ok(number)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for number in self.numbers.values() {
            // One that can't be removed is of no further use to anybody, and harms nobody.
            ip(&["netns", "del", &format!("{}-{number}", self.switch)]).ok();
        }
    }
}

/// As what a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// It is captured.
    Application,
    /// It is not.
    Sidecar,
}

fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
