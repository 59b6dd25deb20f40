//! HTTP/2 (RFC 9113, RFC 7541) for a data path where a connection lives on one thread: no lock, no atomic, no copy of a
//! head on its way. What enters is a stream of bytes (`AsyncRead + AsyncWrite`) and a [`Config`]; what leaves are requests
//! and responses of the `http` crate with their bodies. The protocol itself is a state machine without a socket; a
//! connection is a future around it that reads, has it act, and writes all that is ready at once.
//!
//! Not here: push and prioritisation, which nobody uses between services, extended CONNECT, upgrades from HTTP/1.1,
//! timers. Whoever drives a connection bounds it in time, with [`Pulse`] for what it needs to know.
//!
//! ```text
//! server: bytes ──> Server::poll_accept ──> Request<RecvStream>, Responder ──> SendStream
//! client: Opener::send ──> ResponseFuture ──> Response<RecvStream>;  Client is the connection's future
//! ```

mod client;
mod config;
mod connection;
mod engine;
mod error;
mod frame;
mod head;
mod hpack;
mod pulse;
mod server;
mod streams;

pub use client::{Client, Head, Opener, ResponseFuture, connect};
pub use config::Config;
pub use error::{Broken, Error, ErrorCode, Violation};
pub use head::Truncated;
pub use hpack::{HpackError, Malformed};
pub use pulse::Pulse;
pub use server::{Accepted, Interim, Responder, Server, serve};
pub use streams::{RecvStream, SendStream};
