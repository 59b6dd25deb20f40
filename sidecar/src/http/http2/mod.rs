//! HTTP/2 connections, on the engine of `mesh_http2` (RFC 9113). What enters is a stream of bytes; what leaves are
//! requests with their bodies (`serve`), or a body sent on a stream (`send`). A connection is one task and a request is
//! one; everything a request has to say at a time is queued before the connection's task writes, so that a head and the
//! body behind it share a write, and all streams of a connection share it too.
//!
//! Where requests go is not decided here; connections to upstream are kept by `pool::h2`.

mod alive;
mod send;
mod serve;
mod tunnel;

pub(crate) use alive::{Alive, Silence};
pub(crate) use send::{Sent, send_at_once, send_rest};
pub(crate) use serve::serve;
pub(crate) use tunnel::Opened;
