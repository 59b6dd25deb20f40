//! Developer commands. `cargo xtask test` is what continuous integration runs.
//!
//! This crate builds in seconds and starts other programs; what needs more than that is a program of its own.

mod bench;
mod cargo;
mod codegen;
mod demo;
mod dist;
mod fuzz;
mod layout;
mod scale;
mod test;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Developer commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A whole mesh on this machine with real traffic: a canary shifts, an instance dies, nobody notices
    Demo(cargo::Passed),
    /// Everything continuous integration checks: format, lints, tidy, unit, end-to-end and interop tests
    Test(test::Options),
    /// The project's own rules on sources, names, crates and documents
    Tidy,
    /// The programs as they are shipped, the sidecar compiled by a profile of what it executes: in target/dist
    Dist,
    /// A sidecar pair side by side with other proxies and with none; with --dist as the first flag, as it is shipped
    Bench(cargo::Passed),
    /// Many simulated sidecars against one control plane: what they cost it, and how fast they follow
    Scale(cargo::Passed),
    /// Feed everything that reads what others send with inputs, guided by what of it they reach
    Fuzz(fuzz::Options),
    /// Generate Rust from the .proto files
    Codegen(codegen::Options),
    /// Record which functions a sidecar executes, and write the order in which the linker puts them
    Layout,
}

#[allow(clippy::print_stderr, reason = "the one place where a failure is reported")]
fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Tidy => tidy_all(),
        Command::Dist => dist::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Scale(options) => scale::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Codegen(options) => codegen::run(&options),
        Command::Layout => layout::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tidy_all() -> Result<()> {
    let findings = tidy::check(&cargo::repository()?)?;
    tidy::report(&findings)
}
