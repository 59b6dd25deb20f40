//! Where the repository and its build are, and how cargo and other programs are started.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The flags of a command that are all those of the program it starts.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Passed {
    /// Flags of the program that is started; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) flags: Vec<String>,
}

/// The repository's folder.
pub(crate) fn repository() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).context("xtask lies in the repository")
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(repository()?.join(dir)),
        None => Ok(repository()?.join("target")),
    }
}

/// Cargo, started in the repository.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository()?);
    Ok(command)
}

/// What the demo and the benchmark both start.
const MESH: [&str; 5] = ["control-plane", "meshctl", "sidecar", "origin", "load"];

/// Builds the release binaries of a mesh and the program that drives it. Nothing else: each binary is optimised as a
/// whole, which is most of the time a first build takes.
pub(crate) fn release_build(driver: &str) -> Result<()> {
    // The benchmark's floor is a program of its own.
    let floor = (driver == "bench").then_some("relay");
    release_binaries(MESH.into_iter().chain([driver]).chain(floor))
}

/// Builds these release binaries.
///
/// # Errors
/// The build fails.
pub(crate) fn release_binaries<'a>(binaries: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut build = cargo()?;
    build.args(["build", "--release"]);
    for binary in binaries {
        build.args(["--bin", binary]);
    }
    run(&mut build)
}

/// Runs a command to its end, its output passed on.
///
/// # Errors
/// It cannot be started, or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("starting {program}"))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_else(|| command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
