//! How connections come in: sockets that every worker has its own of, bound before anything is served; the accept loop
//! with its triage of errors; and how many may be open. What leaves is an accepted, tuned TCP stream. Nothing here
//! reads a byte.

pub(crate) mod accept;
pub(crate) mod activity;
pub(crate) mod original_dst;
mod socket;
pub(crate) mod sockets;

pub use socket::{Addresses, BindError, Capture, Listeners, Taking, Upstream, bind};
pub(crate) use socket::{WorkerListeners, bind_or_inherit};
