//! What is sent: one row per workload, as flags of `load`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// HTTP/1.1 GET of 100 bytes on 32 connections
    H1Get,
    /// HTTP/1.1 POST of 10 KiB, echoed, on 32 connections
    #[value(name = "h1-post-10k")]
    #[serde(rename = "h1-post-10k")]
    H1Post10k,
    /// HTTP/2 GET of 100 bytes, 4 connections of 100 streams
    H2Get,
    /// gRPC unary, 4 connections of 25 streams
    GrpcUnary,
    /// TCP echo of 1 KiB on 32 connections
    #[value(name = "tcp-echo-1k")]
    #[serde(rename = "tcp-echo-1k")]
    TcpEcho1k,
    /// TCP, a new connection each, on which the server speaks first and nothing is declared; a tenth of the rate
    TcpGreeting,
    /// TCP, one connection, as fast as it goes
    TcpBulk,
}

/// The origins, each behind an entry of its own in every pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    H1,
    H2,
    Grpc,
    Tcp,
    Greeting,
    Bulk,
}

impl Entry {
    pub(super) const ALL: [Self; 6] = [Self::H1, Self::H2, Self::Grpc, Self::Tcp, Self::Greeting, Self::Bulk];

    /// The name of its port.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::H1 => "web",
            Self::H2 => "web2",
            Self::Grpc => "grpc",
            Self::Tcp => "echo",
            Self::Greeting => "greeter",
            Self::Bulk => "bulk",
        }
    }

    /// Whether requests enter by it, not bytes.
    pub(super) fn is_http(self) -> bool {
        match self {
            Self::H1 | Self::H2 | Self::Grpc => true,
            Self::Tcp | Self::Greeting | Self::Bulk => false,
        }
    }

    /// The protocol its origin speaks, as `--inbound` says it; a Service's appProtocol says the same, or nothing for
    /// `detect`.
    pub(super) fn app_protocol(self) -> &'static str {
        match self {
            Self::H1 => "http",
            Self::H2 => "h2c",
            Self::Grpc => "grpc",
            Self::Greeting => "detect",
            Self::Tcp | Self::Bulk => "tcp",
        }
    }

    /// The flags of `origin` that serve it.
    pub(super) fn origin(self) -> &'static [&'static str] {
        match self {
            Self::H1 | Self::H2 => &["http"],
            Self::Grpc => &["grpc"],
            Self::Tcp => &["tcp", "--raw"],
            Self::Greeting => &["tcp", "--greeting", "ready"],
            Self::Bulk => &["tcp", "--sink"],
        }
    }
}

impl Workload {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::H1Get,
        Self::H1Post10k,
        Self::H2Get,
        Self::GrpcUnary,
        Self::TcpEcho1k,
        Self::TcpGreeting,
        Self::TcpBulk,
    ];

    /// As it is called on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::H1Get => "h1-get",
            Self::H1Post10k => "h1-post-10k",
            Self::H2Get => "h2-get",
            Self::GrpcUnary => "grpc-unary",
            Self::TcpEcho1k => "tcp-echo-1k",
            Self::TcpGreeting => "tcp-greeting",
            Self::TcpBulk => "tcp-bulk",
        }
    }

    pub(super) fn entry(self) -> Entry {
        match self {
            Self::H1Get | Self::H1Post10k => Entry::H1,
            Self::H2Get => Entry::H2,
            Self::GrpcUnary => Entry::Grpc,
            Self::TcpEcho1k => Entry::Tcp,
            Self::TcpGreeting => Entry::Greeting,
            Self::TcpBulk => Entry::Bulk,
        }
    }

    /// The flags of `load` that make it.
    pub(super) fn load(self) -> &'static [&'static str] {
        match self {
            Self::H1Get => &["http1", "--connections", "32", "--expect-bytes", "100"],
            Self::H1Post10k => &["http1", "--connections", "32", "--path", "/echo", "--post-bytes", "10240"],
            Self::H2Get => &["http2", "--connections", "4", "--streams", "100", "--expect-bytes", "100"],
            Self::GrpcUnary => &["grpc", "--connections", "4", "--streams", "25"],
            Self::TcpEcho1k => &["tcp", "--connections", "32", "--payload-bytes", "1024"],
            Self::TcpGreeting => &["tcp", "--connections", "32", "--greeting-only"],
            Self::TcpBulk => &["bulk"],
        }
    }
}
