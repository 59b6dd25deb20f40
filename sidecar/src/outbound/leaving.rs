//! A captured connection to an address that nobody knows. What is spoken on it decides: HTTP goes by its hosts, and
//! everything else where the application dialled, if egress is allowed.

use super::connection::Detected;
use super::tcp::{self, Session};
use super::{Downstream, external};
use crate::detect::{Spoken, either};
use crate::refusal::{Reason, Refusal};
use crate::telemetry::Direction;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::TcpStream;

/// Finds out what is spoken. Where egress is allowed the dialled address is connected to meanwhile, so that a server
/// that speaks first is heard at once.
pub(super) async fn detect(downstream: &Rc<Downstream>, stream: TcpStream, dialled: SocketAddr) -> Detected {
    let worker = &downstream.worker;
    let bound = match external::unregistered(worker, dialled) {
        Ok(bound) => bound,
        Err(refusal) => return refused(downstream, &refusal),
    };
    let opening = async {
        external::may_leave(&worker.current.pin(), None, dialled)?;
        tcp::open(worker, &bound).await
    };
    match either(&downstream.activity, stream, opening).await {
        Spoken::Http(wire, stream) => Detected::Http(wire, stream),
        Spoken::Opaque(client, tunnel) => {
            Detected::Opaque(Box::new(Session::new(bound.clone(), client, tunnel)))
        }
        Spoken::Nothing => Detected::Gone,
    }
}

/// Nothing can be done: counted, said, closed.
fn refused(downstream: &Downstream, refusal: &Refusal) -> Detected {
    let reason: Reason = refusal.reason;
    downstream.worker.recorder.refused(Direction::Outbound, reason);
    let complaints = &downstream.worker.complaints;
    complaints.say(reason, || {
        tracing::info!(reason = reason.word(), "captured connection refused: {}", refusal.sentence);
    });
    Detected::Gone
}
