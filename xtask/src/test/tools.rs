//! What the checks start beside cargo: the one list, what of it this machine lacks, and installing that.
//!
//! Debian's names; mostly they are those of other systems, too. Only `apt-get` is driven here.

use super::netns;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// One thing that checks need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    /// By what it is known to be there.
    sign: Sign,
    /// The package that has it.
    package: &'static str,
    /// The checks that need it.
    checks: &'static [&'static str],
}

/// By what a tool is known to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// A program on the path.
    Program(&'static str),
    /// A module of the system's Python.
    PythonModule(&'static str),
}

const NETNS: &[&str] = &[netns::NAME];
const PYTHON: &[&str] = &["interop::grpcio", "interop::kubernetes_client"];

/// Everything, for each check.
pub(super) const TOOLS: [Tool; 26] = [
    program("nft", "nftables", NETNS),
    program("ip", "iproute2", NETNS),
    program("iptables-nft-restore", "iptables", NETNS),
    program("ip6tables-nft-restore", "iptables", NETNS),
    program("bash", "bash", NETNS),
    program("unshare", "util-linux", NETNS),
    program("nsenter", "util-linux", NETNS),
    program("setpriv", "util-linux", NETNS),
    program("runuser", "util-linux", NETNS),
    program("useradd", "passwd", NETNS),
    program("curl", "curl", &[netns::NAME, "interop::curl"]),
    program("python3", "python3", &[netns::NAME, "interop::grpcio", "interop::kubernetes_client"]),
    program("node", "nodejs", NETNS),
    program("musl-gcc", "musl-tools", NETNS),
    program("psql", "postgresql", NETNS),
    program("redis-server", "redis-server", NETNS),
    program("redis-benchmark", "redis-tools", NETNS),
    program("kubectl", "kubernetes-client", &["interop::kubectl", "interop::etcd"]),
    program("npm", "npm", &["interop::kubectl_versions"]),
    program("python3", "python3", &["interop::kubectl_versions"]),
    // For the virtual environment that packages are put into.
    module("venv", "python3-venv", PYTHON),
    module("ensurepip", "python3-venv", PYTHON),
    program("etcd", "etcd-server", &["interop::etcd"]),
    program("faketime", "faketime", &["interop::clock"]),
    program("promtool", "prometheus", &["interop::prometheus"]),
    // libFuzzer is C++.
    program("c++", "g++", &["fuzz"]),
];

const fn program(name: &'static str, package: &'static str, checks: &'static [&'static str]) -> Tool {
    Tool { sign: Sign::Program(name), package, checks }
}

const fn module(name: &'static str, package: &'static str, checks: &'static [&'static str]) -> Tool {
    Tool { sign: Sign::PythonModule(name), package, checks }
}

/// Packages that this machine lacks for `check`.
pub(super) fn missing_for(check: &str) -> Vec<&'static str> {
    missing(check, is_there)
}

/// Each package once, in the list's order.
fn missing(check: &str, is_there: impl Fn(Sign) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> = TOOLS
        .iter()
        .filter(|tool| tool.checks.contains(&check) && !is_there(tool.sign))
        .map(|tool| tool.package)
        .collect();
    packages.dedup();
    packages
}

fn is_there(sign: Sign) -> bool {
    match sign {
        Sign::Program(name) => is_installed(name),
        Sign::PythonModule(name) => {
            let mut python = Command::new("python3");
            python.args(["-c", &format!("import {name}")]).stdout(Stdio::null()).stderr(Stdio::null());
            python.status().is_ok_and(|status| status.success())
        }
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // What only root uses is often not on the path of others.
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.into_iter().any(|dir| dir.join(program).is_file())
}

/// Whether this process is root's.
pub(super) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Installs what these checks lack. Packages of `netns` must be had; others are left out where there are none of the name,
/// and their checks are then skipped.
///
/// # Errors
/// Something is missing and can't be installed: with what, and how else to get it.
#[allow(clippy::print_stdout, reason = "what is installed, and what is not, is told as it happens")]
pub(super) fn install(checks: &[&str]) -> Result<()> {
    let (must, may): (Vec<&str>, Vec<&str>) = checks.iter().copied().partition(|check| *check == netns::NAME);
    let lacking = |checks: &[&str]| -> Vec<&str> {
        let mut packages: Vec<_> = checks.iter().flat_map(|check| missing_for(check)).collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    };
    let (must_have, may_have) = (lacking(&must), lacking(&may));
    if must_have.is_empty() && may_have.is_empty() {
        return Ok(());
    }
    let all = [must_have.clone(), may_have].concat();
    if let Some(problem) = hindrance(&all, is_root(), is_installed("apt-get")) {
        bail!(problem);
    }
    println!("== install {}", all.join(" "));
    if !must_have.is_empty() && !apt_get(&must_have)? {
        bail!("--install: `apt-get install {}` failed: see above", must_have.join(" "));
    }
    // Each for itself: one that this system does not have keeps no other out.
    for package in lacking(&may) {
        if !apt_get(&[package])? {
            println!("{package} can't be installed: the checks that need it will be skipped");
        }
    }
    let still = lacking(&must);
    if !still.is_empty() {
        bail!("--install: installed, and yet what is expected of {} is not on the path", still.join(" "));
    }
    Ok(())
}

fn hindrance(packages: &[&str], is_root: bool, has_apt_get: bool) -> Option<String> {
    let packages = packages.join(" ");
    let instead = "or leave out --install, and what can't run is skipped by name";
    match (has_apt_get, is_root) {
        (false, _) => Some(format!(
            "--install: missing: {packages}; there is no apt-get here: install them as this system does, {instead}"
        )),
        (true, false) => Some(format!(
            "--install: missing: {packages}; installing needs root: run this as root, or `sudo apt-get install \
             {packages}`, {instead}"
        )),
        (true, true) => None,
    }
}

/// Installs, and starts none of the services that come along: a database on its usual port would be in the tests' way.
/// `policy-rc.d` is what Debian's packages ask before they start one; where there is one already, it decides.
const SCRIPT: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n# Made by cargo xtask test --install for as long as it installs: no service is started.\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get update --quiet=2
apt-get install --yes --quiet=2 --option Dpkg::Use-Pty=0 --no-install-recommends "$@"
"#;

/// Whether these packages were installed.
fn apt_get(packages: &[&str]) -> Result<bool> {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "install"]).args(packages);
    // RUNLEVEL is for packages that ask init itself: in runlevel 1 nothing is started either.
    shell.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    Ok(shell.status()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once_and_only_for_its_checks() {
        assert!(missing(netns::NAME, |_| true).is_empty());
        let without = |sign| match sign {
            Sign::Program(name) => !name.contains("tables-nft") && !["nft", "kubectl"].contains(&name),
            Sign::PythonModule(_) => false,
        };
        assert_eq!(missing(netns::NAME, without), ["nftables", "iptables"]);
        assert_eq!(missing("interop::kubectl", without), ["kubernetes-client"]);
        assert_eq!(missing("interop::grpcio", without), ["python3-venv"]);
        assert!(missing("interop::curl", without).is_empty());
    }

    #[test]
    fn every_tool_is_for_checks_there_are() {
        for tool in TOOLS {
            for check in tool.checks {
                assert!(super::super::CHECKS.iter().any(|known| known.name == *check), "{check} of {tool:?}");
            }
        }
    }

    #[test]
    fn what_keeps_from_installing_is_said_with_the_packages_and_the_remedy() {
        let said = |is_root, has_apt_get| hindrance(&["nftables", "curl"], is_root, has_apt_get);
        assert_eq!(said(true, true), None);
        let not_root = said(false, true).unwrap();
        assert!(not_root.contains("`sudo apt-get install nftables curl`"), "{not_root}");
        let no_apt_get = said(true, false).unwrap();
        assert!(no_apt_get.contains("missing: nftables curl; there is no apt-get here"), "{no_apt_get}");
    }
}
