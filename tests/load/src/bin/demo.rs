//! `demo`: started by `cargo xtask demo`, which builds what it needs.

use clap::Parser;
use mesh_load::demo::{Options, main as run};
use std::process::ExitCode;

/// A mesh on this machine with real traffic: a canary shifts, an instance dies, nobody notices
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> anyhow::Result<ExitCode> {
    let held = run(&Arguments::parse().options)?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
