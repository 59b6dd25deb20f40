//! gRPC for sidecars: discovery, certificate signing, and what replicas ask each other, on one port. A connection lives on
//! one thread, from its handshake to its end, and so does all that it asks for: ten thousand of them wait most of the
//! time, and what one costs while it waits is its TLS session, its HTTP/2 state and what its sidecar subscribes to.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`workers`] | the threads |
//! | `connection` | one connection: its calls, whether its client is alive |
//! | `unary` | calls with one request and one answer, answered by tonic's services |
//! | [`streaming`] | the two ends of a call that is a stream |
//! | [`message`] | messages and their frames, pure |
//!
//! Enters: a bound listener and the services. Leaves: answered calls. Never here: what is answered; that is `xds`, `ca` and
//! `replicas`.

mod connection;
pub mod message;
pub mod streaming;
mod unary;
pub mod workers;

#[cfg(test)]
pub(crate) use connection::serve;

use crate::xds::Discovery;
use std::sync::Arc;
use tonic::service::Routes;

/// What is answered, by all threads.
#[derive(Debug, Clone)]
pub struct Services {
    /// The one call that is a stream.
    pub discovery: Arc<Discovery>,
    /// All others.
    pub unary: Routes,
}
