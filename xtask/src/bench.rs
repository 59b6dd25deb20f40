//! Starts the benchmark, a program of the load crate, on a release build.

use crate::cargo::{self, repository, target_dir};
use anyhow::Result;
use clap::Args;
use std::process::Command;

/// The flags of `bench`: all are the benchmark's own.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Flags of the benchmark; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// Builds what is measured and what measures, then measures.
///
/// # Errors
/// The build fails, or the benchmark does: an answer was wrong, or a hop was not mutual TLS.
pub(crate) fn run(options: &Options) -> Result<()> {
    cargo::release_build("bench")?;
    let target = target_dir()?;
    let mut bench = Command::new(target.join("release/bench"));
    bench.arg("--out").arg(target.join("bench")).args(&options.flags).current_dir(repository()?);
    cargo::run(&mut bench)
}
