//! Generated Rust: written anew from the .proto files, or compared with them.

use crate::cargo::{self, repository, target_dir};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::Path;

/// The program that generates; a workspace of its own, so that no other build waits for it.
const GENERATOR: &str = "control-plane/protocol/protogen/Cargo.toml";
/// Folders of generated files.
const GENERATED: [&str; 4] = [
    "control-plane/protocol/src/generated",
    "control-plane/src/store/etcd/generated",
    "control-plane/src/replicas/generated",
    "tests/load/src/generated",
];

/// The flags of `codegen`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only compare: fail if a generated file is not what its .proto file makes
    #[arg(long)]
    pub(crate) check: bool,
}

/// Whether the generator's crates are here or can be fetched.
pub(crate) fn can_build() -> Result<bool> {
    let mut command = cargo::cargo()?;
    command.args(["fetch", "--quiet", "--locked", "--manifest-path", GENERATOR]);
    Ok(command.status().context("starting cargo")?.success())
}

/// Writes all generated files under `target`.
///
/// # Errors
/// The generator fails.
fn generate(target: &Path) -> Result<()> {
    let mut command = cargo::cargo()?;
    command.args(["run", "--quiet", "--locked", "--manifest-path", GENERATOR, "--"]).arg(target);
    cargo::run(&mut command)
}

/// Generates, or compares.
///
/// # Errors
/// As [`generate`]; with `--check`, also files that differ, by name.
pub(crate) fn run(options: &Options) -> Result<()> {
    let repository = repository()?;
    if !options.check {
        return generate(&repository);
    }
    let fresh = target_dir()?.join("codegen");
    generate(&fresh)?;
    let mut stale = Vec::new();
    for folder in GENERATED {
        for entry in fs::read_dir(fresh.join(folder)).with_context(|| format!("reading {folder}"))? {
            let name = entry?.file_name();
            let path = Path::new(folder).join(&name);
            if fs::read(repository.join(&path)).ok() != fs::read(fresh.join(&path)).ok() {
                stale.push(path.display().to_string());
            }
        }
    }
    if !stale.is_empty() {
        bail!("not what the .proto files make: {}; run `cargo xtask codegen`", stale.join(", "));
    }
    Ok(())
}
