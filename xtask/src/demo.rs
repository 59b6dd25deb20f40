//! Builds the release binaries and starts the demo, a program of the load crate.

use crate::cargo::{self, repository, target_dir};
use anyhow::Result;
use clap::Args;
use std::process::Command;

/// The flags of `demo`: all are the demo's own.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Flags of the demo; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// Builds and runs. Cargo shows its progress on stderr, so stdout is the demo's alone.
///
/// # Errors
/// The build fails, or something that the demo shows did not hold.
pub(crate) fn run(options: &Options) -> Result<()> {
    cargo::release_build("demo")?;
    let target = target_dir()?;
    let mut demo = Command::new(target.join("release/demo"));
    demo.arg("--bin-dir").arg(target.join("release")).arg("--work-dir").arg(target.join("demo"));
    demo.arg("--manifests").arg(repository()?.join("manifests/examples")).args(&options.flags);
    cargo::run(&mut demo)
}
