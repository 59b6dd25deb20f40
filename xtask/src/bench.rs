//! Starts the benchmark, a program of the load crate, on a release build, or on what is shipped.

use crate::cargo::{self, Passed, repository, target_dir};
use crate::dist;
use anyhow::Result;
use std::process::Command;

/// As the first flag: the sidecar that is measured is the one that `cargo xtask dist` makes.
const DIST: &str = "--dist";

/// Builds what is measured and what measures, then measures.
///
/// # Errors
/// The build fails, or the benchmark does: an answer was wrong, or a hop was not mutual TLS.
pub(crate) fn run(passed: &Passed) -> Result<()> {
    cargo::release_build("bench")?;
    let target = target_dir()?;
    let mut bench = Command::new(target.join("release/bench"));
    bench.arg("--out").arg(target.join("bench")).current_dir(repository()?);
    let flags = match passed.flags.split_first() {
        Some((first, rest)) if first == DIST => {
            bench.arg("--sidecar").arg(dist::make()?.join("sidecar"));
            rest
        }
        Some(_) | None => &passed.flags,
    };
    cargo::run(bench.args(flags))
}
