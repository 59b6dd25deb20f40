//! One attempt: a connection to the picked endpoint, the head in the form it wants, the answer's head.

use super::request::{Accepted, Exchanged, Routed, head_copy};
use super::tries::Tries;
use crate::cluster::Picked;
use crate::connect::{Place, Security};
use crate::deadline::{self, Deadline};
use crate::inbound::ORIGINAL_HTTP;
use crate::pool::{self, SendFailure, Wire};
use crate::refusal::{Again, Fault, Reason, Refusal};
use crate::worker::Worker;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Scheme, Uri};
use http::{HeaderValue, Request, StatusCode, Version};
use mesh_names::AppProtocol;
use std::pin::pin;
use std::rc::Rc;
use tokio::time::Instant;

/// Sends the request to `picked` once.
///
/// # Errors
/// How it failed, and whether it may have been processed.
pub(super) async fn run(
    worker: &Rc<Worker>,
    accepted: &Accepted,
    routed: &Routed,
    tries: &mut Tries,
    picked: Picked,
    now: Instant,
) -> Result<Exchanged, Box<SendFailure>> {
    tries.picked(picked.slot);
    let deadline = routed.deadlines.of_attempt(now);
    // Pinned here: `within` would have room for it twice.
    let answer = pin!(answer(worker, accepted, routed, tries, picked, deadline));
    match deadline::within(deadline, answer).await {
        Ok(outcome) => outcome,
        Err(reason) => {
            let again = reason.row().again;
            Err(Box::new(SendFailure { refusal: reason.into(), again, unsent: None }))
        }
    }
}

async fn answer(
    worker: &Rc<Worker>,
    accepted: &Accepted,
    routed: &Routed,
    tries: &mut Tries,
    mut picked: Picked,
    deadline: Option<Deadline>,
) -> Result<Exchanged, Box<SendFailure>> {
    let wire = match wire(&picked.origin.place, routed.bound.app_protocol(), accepted) {
        Some(wire) => Ok(wire),
        // Boxed, as is what is rare.
        None => Box::pin(pool::choice(worker, &picked.origin)).await,
    };
    let wire = match wire {
        Ok(wire) => wire,
        Err(refusal) => {
            picked.load.failed();
            return Err(Box::new(SendFailure::before(refusal)));
        }
    };
    let mut lease = match pool::lease(worker, &picked.origin, wire).await {
        Ok(lease) => lease,
        Err(refusal) => {
            picked.load.failed();
            return Err(Box::new(SendFailure::before(refusal)));
        }
    };
    if lease.has_waited() {
        picked.load.sending();
    }
    let head = head(&accepted.head, routed, wire, &picked.origin.place, accepted)?;
    let request = Request::from_parts(head, tries.body());
    let response = match lease.send(request).await {
        Ok(response) => response,
        Err(mut failure) => {
            if failure.refusal.reason.row().fault != Fault::Downstream {
                picked.load.failed();
            }
            // The body is read anew by the next attempt, from what is kept of it.
            failure.unsent = None;
            return Err(failure);
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        picked.load.failed();
        let refusal = Refusal::because(
            Reason::UpstreamProtocol,
            "the endpoint changed protocols without being asked to",
        );
        return Err(Box::new(SendFailure { refusal, again: Again::Never, unsent: None }));
    }
    let mut exchanged = Exchanged::new(response, &routed.cluster, picked.peer);
    if matches!(exchanged.effective_status(), 502..=504) {
        picked.load.failed();
    } else {
        picked.load.answered();
    }
    if !picked.origin.place.is_meshed() {
        // Only a peer's sidecar says why; an application's header of that name is its own affair.
        exchanged.reason = None;
    }
    exchanged.lease = Some(lease);
    exchanged.load = Some(picked.load);
    exchanged.deadline = deadline;
    Ok(exchanged)
}

/// What is spoken to an endpoint: HTTP/2 to a sidecar, always; to an application what it declares; nothing: what a place
/// outside of the mesh chooses, with which TLS is spoken.
fn wire(place: &Place, protocol: AppProtocol, accepted: &Accepted) -> Option<Wire> {
    let is_chosen = match &place.security {
        Security::MutualTls { .. } => return Some(Wire::Http2),
        Security::Plaintext => false,
        Security::Tls(_) => matches!(protocol, AppProtocol::Http | AppProtocol::Tcp | AppProtocol::Detect),
    };
    let declared = match protocol {
        AppProtocol::H2c | AppProtocol::Grpc => Wire::Http2,
        AppProtocol::Http | AppProtocol::Tcp => Wire::Http1,
        AppProtocol::Detect if accepted.is_http2() => Wire::Http2,
        AppProtocol::Detect => Wire::Http1,
    };
    (!is_chosen).then_some(declared)
}

/// The head in the form the endpoint wants. A copy: another attempt may need the original, and there is no cheaper way
/// to have both, since hyper takes the head.
fn head(
    original: &Parts,
    routed: &Routed,
    wire: Wire,
    place: &Place,
    accepted: &Accepted,
) -> Result<Parts, Box<SendFailure>> {
    let mut head = head_copy(original);
    let destination = &routed.destination;
    match wire {
        Wire::Http2 => {
            let mut uri = std::mem::take(&mut head.uri).into_parts();
            let is_tls = matches!(place.security, Security::Tls(_));
            uri.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
            uri.authority = Some(destination.authority.clone());
            head.uri = Uri::from_parts(uri).map_err(bad_target)?;
            head.version = Version::HTTP_2;
            head.headers.remove(HOST);
            if place.is_meshed() && !accepted.is_http2() {
                head.headers.insert(ORIGINAL_HTTP, HeaderValue::from_static("1"));
            }
        }
        Wire::Http1 => {
            if head.uri.authority().is_some() {
                let mut uri = std::mem::take(&mut head.uri).into_parts();
                uri.scheme = None;
                uri.authority = None;
                head.uri = Uri::from_parts(uri).map_err(bad_target)?;
                head.headers.insert(HOST, destination.host.clone());
            } else if !head.headers.contains_key(HOST) {
                head.headers.insert(HOST, destination.host.clone());
            }
            head.version = Version::HTTP_11;
        }
    }
    Ok(head)
}

fn bad_target(error: http::uri::InvalidUriParts) -> Box<SendFailure> {
    Box::new(SendFailure::before(Refusal::new(Reason::BadRequest).caused_by(error)))
}
