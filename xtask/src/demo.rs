//! Builds the release binaries and starts the demo, a program of the load crate.

use crate::cargo::{self, Passed, repository, target_dir};
use anyhow::Result;
use std::process::Command;

/// Builds and runs. Cargo shows its progress on stderr, so stdout is the demo's alone.
///
/// # Errors
/// The build fails, or something that the demo shows did not hold.
pub(crate) fn run(passed: &Passed) -> Result<()> {
    cargo::release_build("demo")?;
    let target = target_dir()?;
    let mut demo = Command::new(target.join("release/demo"));
    demo.arg("--bin-dir").arg(target.join("release")).arg("--work-dir").arg(target.join("demo"));
    demo.arg("--manifests").arg(repository()?.join("manifests/examples")).args(&passed.flags);
    cargo::run(&mut demo)
}
