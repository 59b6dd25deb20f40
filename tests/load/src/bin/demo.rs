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

#[expect(clippy::print_stderr, reason = "the one place where a failure is reported")]
fn main() -> ExitCode {
    match run(&Arguments::parse().options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
