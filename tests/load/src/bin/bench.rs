//! `bench`: a sidecar pair side by side with Envoy and with no proxy.

use clap::Parser;
use std::process::ExitCode;

#[allow(clippy::print_stderr, reason = "the one place where this program reports why it failed")]
fn main() -> ExitCode {
    match mesh_load::bench::run(mesh_load::bench::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
