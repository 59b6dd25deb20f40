//! Starts the benchmark, a program of the load crate, on a release build.

use crate::cargo::{self, Passed, repository, target_dir};
use anyhow::Result;
use std::process::Command;

/// Builds what is measured and what measures, then measures.
///
/// # Errors
/// The build fails, or the benchmark does: an answer was wrong, or a hop was not mutual TLS.
pub(crate) fn run(passed: &Passed) -> Result<()> {
    cargo::release_build("bench")?;
    let target = target_dir()?;
    let mut bench = Command::new(target.join("release/bench"));
    bench.arg("--out").arg(target.join("bench")).args(&passed.flags).current_dir(repository()?);
    cargo::run(&mut bench)
}
