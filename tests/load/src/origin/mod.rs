//! Origin servers: what stands behind a sidecar in tests, benchmarks and the demo. A command line enters; a listening
//! server that has printed `origin ready: addr=…` is what leaves. They know nothing of the mesh.
//!
//! | mode | speaks |
//! | --- | --- |
//! | [`http`] | HTTP/1.1 and HTTP/2 by prior knowledge on one port |
//! | [`grpc`] | `outrigger.demo.Greeter` |
//! | [`tcp`] | lines, raw bytes, or a sink that checks what it receives |
//! | [`front`] | HTTP whose answers come from the greeter and the echo, called through a proxy |

pub mod front;
pub mod grpc;
pub mod http;
pub mod listen;
pub mod misbehave;
pub mod tcp;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;

/// The command line of `origin`.
#[derive(Debug, Parser)]
#[command(name = "origin", about = "Servers to put behind a proxy", version)]
pub struct Options {
    /// What to serve.
    #[command(subcommand)]
    pub mode: Mode,
}

/// What to serve.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// HTTP/1.1 and HTTP/2 by prior knowledge: / /echo /status/N /delay/MS /bytes/N /headers /trailers /grpc-status/N /ws
    Http(http::Options),
    /// The gRPC service outrigger.demo.Greeter
    Grpc(grpc::Options),
    /// TCP: echoes lines, echoes bytes, or counts and checks what it receives
    Tcp(tcp::Options),
    /// HTTP whose answers come from a greeter and an echo reached through a proxy
    Front(front::Options),
}

/// Where and as whom to serve: the flags all modes share.
#[derive(Debug, Clone, Args)]
pub struct Listen {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Name this instance answers with
    #[arg(long, default_value = "origin")]
    pub name: String,
    /// Serving threads, each with its own socket
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
}

/// Serves until SIGTERM or SIGINT, then finishes what is in flight.
///
/// # Errors
/// The address cannot be bound, or a flag's value cannot work.
pub fn run(options: Options) -> Result<()> {
    match options.mode {
        Mode::Http(options) => http::run(options),
        Mode::Grpc(options) => grpc::run(options),
        Mode::Tcp(options) => tcp::run(options),
        Mode::Front(options) => front::run(options),
    }
}
