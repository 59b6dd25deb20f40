//! Starts the simulation of many sidecars, a program of its own, on a release build.

use crate::cargo::{self, Passed, repository, target_dir};
use anyhow::Result;
use std::process::Command;

/// Builds the control plane and the simulation, then measures.
///
/// # Errors
/// The build fails, or a change does not come to every sidecar.
pub(crate) fn run(passed: &Passed) -> Result<()> {
    cargo::release_binaries(["control-plane", "meshctl", "scale"])?;
    let mut scale = Command::new(target_dir()?.join("release/scale"));
    scale.args(&passed.flags).current_dir(repository()?);
    cargo::run(&mut scale)
}
