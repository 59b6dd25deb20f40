//! Starts the simulation of many sidecars, a program of its own, on a release build.

use crate::cargo::{self, repository, target_dir};
use anyhow::Result;
use clap::Args;
use std::process::Command;

/// The flags of `scale`: all are the simulation's own.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Flags of the simulation; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// Builds the control plane and the simulation, then measures.
///
/// # Errors
/// The build fails, or a change does not come to every sidecar.
pub(crate) fn run(options: &Options) -> Result<()> {
    cargo::release_binaries(["control-plane", "meshctl", "scale"])?;
    let mut scale = Command::new(target_dir()?.join("release/scale"));
    scale.args(&options.flags).current_dir(repository()?);
    cargo::run(&mut scale)
}
