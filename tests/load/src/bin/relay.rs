//! `relay`: bytes into mutual TLS, or out of it, and nothing else. The benchmark's floor.

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[allow(clippy::print_stderr, reason = "the one place where this program reports why it failed")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match mesh_load::relay::run(mesh_load::relay::Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}
