//! Tests of capture in network namespaces. They need root and some tools; without them the check fails and says what is
//! missing, so that it is left out by name (`--skip netns`) or not at all.

use super::interop::is_installed;
use super::tally::{Selection, Tally, build_binaries, run_tests};
use anyhow::{Result, bail};

/// What the tests start, and the package of Debian, and mostly of others, that has it.
const TOOLS: [(&str, &str); 15] = [
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("iptables-nft-restore", "iptables"),
    ("ip6tables-nft-restore", "iptables"),
    ("bash", "bash"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("runuser", "util-linux"),
    ("useradd", "passwd"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("psql", "postgresql"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
];

/// Runs them.
///
/// # Errors
/// Something they need is missing, or one of them failed.
pub(super) fn run() -> Result<Tally> {
    let missing = missing(is_installed);
    if !missing.is_empty() {
        let packages = missing.join(" ");
        bail!("missing: {packages}; `apt-get install {packages}`, or leave this out with --skip netns");
    }
    if !is_root() {
        bail!("network namespaces need root: run this as root, or leave it out with --skip netns");
    }
    build_binaries()?;
    let cargo = ["--package", "tests", "--test", "netns"];
    run_tests(Selection { nextest: "package(tests) and binary(netns)", cargo: &cargo }, &[])
}

fn missing(is_installed: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        TOOLS.iter().filter(|(tool, _)| !is_installed(tool)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once() {
        assert!(missing(|_| true).is_empty());
        assert_eq!(missing(|tool| !tool.contains("tables-nft") && tool != "nft"), ["nftables", "iptables"]);
    }
}
