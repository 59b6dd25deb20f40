//! To the application: over a connection that is kept, in the protocol its port declares. A kept connection may be
//! closed by the application just as the request leaves; then the request is sent again, once, over a new one, if it was
//! not sent at all, or if it is idempotent and has no body.

use super::Downstream;
use super::request::{Accepted, Exchanged, Original};
use crate::http::body::UpBody;
use crate::http::{hop_by_hop, upgrade};
use crate::pool::{self, Wire};
use crate::refusal::{Again, Reason, Refusal};
use crate::retry;
use crate::telemetry::Direction;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderValue, Request, StatusCode, Version};
use http_body::Body as _;
use mesh_names::AppProtocol;
use std::rc::Rc;

/// Stale connections a request may meet; the pool can hold several that the application closed together.
const STALE_MAX: u32 = 3;

/// Sends the request to the application.
///
/// # Errors
/// `app_refused`, `app_timeout`, `app_closed`, `upstream_protocol`.
pub(super) async fn forward(
    downstream: &Downstream,
    accepted: &mut Accepted,
    authority: Option<HeaderValue>,
    original: Original,
) -> Result<Exchanged, Refusal> {
    let worker = &downstream.worker;
    let port = &downstream.port;
    let wire = wire(port.app_protocol, original);
    fit(&mut accepted.head, wire, authority)?;
    let body = accepted.body.take().filter(|body| !body.is_end_stream());
    let replayable = body.is_none() && retry::is_idempotent(&accepted.head.method);
    let mut body = body.map(|body| UpBody::Once(body, port.counted(worker).bytes));
    let (mut unsent, mut is_kept, mut stale) = (None, true, 0);
    loop {
        let mut lease = pool::lease(worker, &port.origin, wire).await?;
        let keep = replayable && lease.is_reused();
        let request = match unsent.take() {
            Some(request) => request,
            None => sending(&mut accepted.head, body.take().unwrap_or(UpBody::Empty), keep),
        };
        if keep && !is_kept {
            (accepted.head.uri, accepted.head.headers) = (request.uri().clone(), request.headers().clone());
        }
        is_kept = keep;
        match lease.send(request, &accepted.interim).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let sentence = "the application changed protocols without being asked to";
                return Err(Refusal::because(Reason::UpstreamProtocol, sentence));
            }
            Ok(response) => return Ok(Exchanged { response: response.map(Some), lease: Some(lease) }),
            Err(failure) => {
                stale += 1;
                unsent = match failure.again {
                    Again::Unprocessed => failure.unsent,
                    Again::MaybeProcessed | Again::Never => None,
                };
                let again = unsent.is_some() || (failure.again == Again::MaybeProcessed && is_kept);
                if !again || stale > STALE_MAX {
                    return Err(failure.refusal);
                }
            }
        }
    }
}

/// Asks the application to change the protocol; relays if it agrees.
///
/// # Errors
/// As [`forward`].
pub(super) async fn upgrade(
    downstream: &Rc<Downstream>,
    accepted: &mut Accepted,
    authority: Option<HeaderValue>,
    token: HeaderValue,
) -> Result<Exchanged, Refusal> {
    let worker = &downstream.worker;
    let counted = downstream.port.counted(worker);
    fit(&mut accepted.head, Wire::Http1, authority)?;
    hop_by_hop::restore_upgrade(&mut accepted.head.headers, token);
    let body = accepted.body.take().filter(|body| !body.is_end_stream());
    let body = body.map_or(UpBody::Empty, |body| UpBody::Once(body, counted.bytes));
    let place = &downstream.port.origin.place;
    let request = sending(&mut accepted.head, body, false);
    let (response, lease) = upgrade::ask(worker, place, request, &accepted.interim).await?;
    if !upgrade::is_switching(&response) {
        return Ok(Exchanged { response: response.map(Some), lease: Some(lease) });
    }
    let Some(upgrading) = accepted.upgrading.take() else { return Err(Reason::BadRequest.into()) };
    let series = worker.recorder.tcp_opened(Direction::Inbound, &counted.label, downstream.peer);
    let (worker, permit) = (worker.clone(), downstream.permit.clone());
    upgrade::join(upgrade::Session { worker, series, permit, kept: () }, upgrading, lease);
    Ok(Exchanged { response: response.map(|_| None), lease: None })
}

fn wire(protocol: AppProtocol, original: Original) -> Wire {
    match (protocol, original) {
        (AppProtocol::H2c | AppProtocol::Grpc, _) | (AppProtocol::Detect, Original::Http2) => Wire::Http2,
        (AppProtocol::Http | AppProtocol::Tcp, _) | (AppProtocol::Detect, Original::Http1) => Wire::Http1,
    }
}

/// Gives the head the form the application wants.
fn fit(head: &mut Parts, wire: Wire, authority: Option<HeaderValue>) -> Result<(), Refusal> {
    let bad = |error: http::Error| Refusal::new(Reason::BadRequest).caused_by(error);
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    match wire {
        Wire::Http1 => {
            uri.scheme = None;
            uri.authority = None;
            if let Some(authority) = authority {
                head.headers.insert(HOST, authority);
            }
            head.version = Version::HTTP_11;
        }
        Wire::Http2 => {
            if uri.authority.is_none() {
                let host = authority.as_ref().map_or(&b"localhost"[..], |host| host.as_bytes());
                uri.authority = Some(Authority::try_from(host).map_err(|e| bad(e.into()))?);
            }
            uri.scheme = Some(Scheme::HTTP);
            head.headers.remove(HOST);
            head.version = Version::HTTP_2;
        }
    }
    head.uri = Uri::from_parts(uri).map_err(|e| bad(e.into()))?;
    Ok(())
}

/// The request as it is sent once: with a copy of its head where it may be sent again though it may have been processed,
/// else with the head itself.
fn sending(head: &mut Parts, body: UpBody, keep: bool) -> Request<UpBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.version_mut() = head.version;
    if keep {
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
    } else {
        *request.uri_mut() = std::mem::take(&mut head.uri);
        *request.headers_mut() = std::mem::take(&mut head.headers);
    }
    request
}
