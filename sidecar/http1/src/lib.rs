//! HTTP/1.1 (RFC 9112) for the data path. What enters is a stream of bytes; what leaves are requests with their bodies
//! ([`Server`]) or an answer with its body ([`Client`]). A connection carries one request at a time, so that no task, no
//! channel and no lock is needed: whoever polls a body reads the socket.
//!
//! ```text
//! bytes ─> reader ─> head ─> fields, framing ─> Request / Response + Incoming ─> decoder ─> frames
//! frames ─> outgoing ─> out ─> bytes                    (a head and what its body has ready leave in one write)
//! ```
//! Messages are read strictly: whatever two readers could understand differently is an error with a name ([`BadHead`],
//! [`BodyError`]), since that is how requests are smuggled. Never here: where requests go, what a field means to anybody
//! but the two ends of the connection, timers.

mod client;
mod connection;
mod decoder;
mod encode;
mod error;
mod fields;
mod framing;
mod head;
mod incoming;
mod out;
mod outgoing;
mod reader;
mod server;
mod upgrade;
#[cfg(test)]
mod world;

pub use client::{Answer, Client, Failure, Rest, Sending};
pub use error::{BadHead, BodyError, BoxError, HeadError, SendError};
pub use head::{FIELDS_MAX, HEAD_MAX};
pub use incoming::Incoming;
pub use server::{After, Interim, Server};
pub use upgrade::{OnUpgrade, Upgraded};
