//! The load generator. A plan enters (protocol, target, arrival rate or closed loop); one report leaves. Latency is
//! counted from the moment a request was due, not from when it could be sent, so that a server that stalls cannot
//! hide the requests it kept waiting. Every answer is checked; nothing is retried unless HTTP says that it is safe and
//! would hide no failure of the server, and then it is counted.
//!
//! ```text
//! arrival (when is a request due) ─> http1 | http2 | grpc | tcp (one slot per request in flight) ─> record ─> report
//! ```
//!
//! One thread, one runtime: the generator shares a core with what it measures against.

pub mod arrival;
mod bulk;
mod expect;
mod grpc;
mod http1;
mod http2;
pub mod pattern;
pub mod plan;
mod record;
pub mod report;
mod run;
mod tcp;

pub use plan::{Options, Protocol};
pub use report::Report;
pub use run::run;
