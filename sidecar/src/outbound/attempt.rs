//! One attempt: a connection to the picked endpoint, the head in the form it wants, the answer's head.

use super::request::{Accepted, Exchanged, Routed, copy};
use super::tries::Tries;
use super::tunnel::origin_form;
use crate::cluster::Picked;
use crate::connect::{Place, Security};
use crate::deadline::{self, Deadline, Ends};
use crate::http::body::UpBody;
use crate::http::fields::Field;
use crate::http::timeout;
use crate::inbound::ORIGINAL_HTTP;
use crate::pool::{self, SendFailure, Wire};
use crate::refusal::{Again, Fault, Reason, Refusal};
use crate::worker::Worker;
use http::header::HOST;
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
    tries: &Tries,
    picked: Picked,
    now: Instant,
) -> Result<Box<Exchanged>, Box<SendFailure>> {
    let deadline = routed.deadlines.of_attempt(now);
    // Pinned here: `within` would have room for it twice.
    let answer = pin!(answer(worker, accepted, routed, tries, picked, deadline));
    let outcome = match &tries.idle {
        None => deadline::within(deadline, answer).await,
        // Boxed, as is what is rare.
        Some(idle) => Box::pin(deadline::lively(idle, deadline::within(deadline, answer))).await,
    };
    match outcome {
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
    tries: &Tries,
    mut picked: Picked,
    deadline: Option<Deadline>,
) -> Result<Box<Exchanged>, Box<SendFailure>> {
    if let Some(by) = deadline.filter(|by| routed.deadlines.are_owed(*by, accepted.started, Instant::now())) {
        picked.load.owes(by.at);
    }
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
    let lease = pool::lease(worker, &picked.origin, wire);
    let lease = deadline::connecting(routed.cluster.connect_timeout(), lease).await;
    let mut lease = match lease {
        Ok(lease) => lease,
        Err(refusal) => {
            picked.load.failed();
            return Err(Box::new(SendFailure::before(refusal)));
        }
    };
    if lease.has_waited() {
        picked.load.sending();
    }
    let mut request = copy(&accepted.head, tries.body());
    fit(&mut request, accepted, routed, wire, &picked.origin.place)?;
    if deadline.is_some() || accepted.fields.have(Field::Timeout) {
        let left = deadline.map(|deadline| deadline.at.saturating_duration_since(Instant::now()));
        timeout::tell(request.headers_mut(), left, picked.origin.place.is_meshed());
    }
    let response = match lease.send(request, &accepted.interim).await {
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
    picked.load.speaks(accepted.spoken());
    if !picked.origin.place.is_meshed() {
        // Only a peer's sidecar says why; an application's header of that name is its own affair.
        exchanged.reason = None;
    }
    match exchanged.reason.filter(|reason| reason.is_shed()) {
        Some(_) => picked.load.shed(),
        None => picked.load.answered_with(exchanged.effective_status()),
    }
    exchanged.lease = Some(lease);
    exchanged.load = Some(picked.load);
    exchanged.ends = Ends::new(deadline, tries.idle.clone());
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

/// Gives the request's copy the form the endpoint wants. A copy: another attempt may need the original, and there is no
/// cheaper way to have both, since whoever sends takes the head.
fn fit(
    request: &mut Request<UpBody>,
    accepted: &Accepted,
    routed: &Routed,
    wire: Wire,
    place: &Place,
) -> Result<(), Box<SendFailure>> {
    let original = &accepted.head.uri;
    let destination = &routed.destination;
    match wire {
        Wire::Http2 => {
            let mut uri = http::uri::Parts::default();
            let is_tls = matches!(place.security, Security::Tls(_));
            uri.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
            uri.authority = Some(destination.authority.clone());
            uri.path_and_query = original.path_and_query().cloned();
            *request.uri_mut() = Uri::from_parts(uri).map_err(bad_target)?;
            *request.version_mut() = Version::HTTP_2;
            if accepted.fields.have(Field::Host) {
                request.headers_mut().remove(HOST);
            }
            if place.is_meshed() && !accepted.is_http2() {
                request.headers_mut().insert(ORIGINAL_HTTP, HeaderValue::from_static("1"));
            }
        }
        Wire::Http1 => {
            let is_named = original.authority().is_some();
            *request.uri_mut() = if is_named { origin_form(original) } else { original.clone() };
            if is_named || !accepted.fields.have(Field::Host) {
                request.headers_mut().insert(HOST, destination.host.clone());
            }
        }
    }
    Ok(())
}

fn bad_target(error: http::uri::InvalidUriParts) -> Box<SendFailure> {
    Box::new(SendFailure::before(Refusal::new(Reason::BadRequest).caused_by(error)))
}
