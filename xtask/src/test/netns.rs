//! Tests of capture in network namespaces. They need root and some tools. Where these are missing on a developer's
//! machine, they are skipped by name, with what to do; where everything is to be checked they fail.

use super::tally::{Selection, Tally, build_binaries, run_tests};
use super::tools;
use anyhow::{Result, bail};

/// The check's name.
pub(super) const NAME: &str = "netns";

/// What it means that something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// The check is skipped.
    Skips,
    /// It fails: whoever runs it relies on it.
    Fails,
}

impl Lack {
    /// Fails in continuous integration, which says so by `CI=true`, and after `--install`.
    pub(super) fn of(ci: Option<&str>, is_installed_for: bool) -> Self {
        let is_ci = !matches!(ci, None | Some("" | "0" | "false"));
        if is_ci || is_installed_for { Self::Fails } else { Self::Skips }
    }
}

/// Runs them.
///
/// # Errors
/// One of them failed, or something they need is missing where that fails.
pub(super) fn run(lack: Lack) -> Result<Tally> {
    if let Some(why) = lacking(&tools::missing_for(NAME), tools::is_root()) {
        return match lack {
            Lack::Skips => Ok(Tally::skipped(1).because(&why)),
            Lack::Fails => bail!("{why}, or leave it out with --skip {NAME}"),
        };
    }
    build_binaries()?;
    let cargo = ["--package", "tests", "--test", NAME];
    run_tests(Selection { nextest: "package(tests) and binary(netns)", cargo: &cargo }, &[])
}

/// What is missing, and how to get it.
fn lacking(packages: &[&str], is_root: bool) -> Option<String> {
    match (packages, is_root) {
        ([], true) => None,
        ([], false) => Some("network namespaces need root: run this as root".to_owned()),
        (packages, _) => {
            let packages = packages.join(" ");
            let root = if is_root { "" } else { ", and root" };
            Some(format!(
                "missing: {packages}{root}; `apt-get install {packages}`, or `cargo xtask test --install` as root"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_how_to_get_it() {
        assert_eq!(lacking(&[], true), None);
        assert_eq!(lacking(&[], false).unwrap(), "network namespaces need root: run this as root");
        assert_eq!(
            lacking(&["nftables", "curl"], false).unwrap(),
            "missing: nftables curl, and root; `apt-get install nftables curl`, or `cargo xtask test --install` as root"
        );
    }

    #[test]
    fn what_is_missing_fails_in_continuous_integration_and_where_it_was_installed() {
        for (ci, is_installed_for, expected) in [
            (None, false, Lack::Skips),
            (Some(""), false, Lack::Skips),
            (Some("false"), false, Lack::Skips),
            (Some("true"), false, Lack::Fails),
            (Some("1"), false, Lack::Fails),
            (None, true, Lack::Fails),
        ] {
            assert_eq!(Lack::of(ci, is_installed_for), expected, "CI={ci:?} --install={is_installed_for}");
        }
    }
}
