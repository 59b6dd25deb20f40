//! Requests that end in bytes: CONNECT, which opens a tunnel to a service's port for clients that know only proxies, and
//! upgrades, WebSocket first of all. Each has a connection of its own up to the endpoint.

use super::bound::BoundPort;
use super::request::{Accepted, Exchanged, Routed, copy, has_body};
use super::{Downstream, not_supported, tcp};
use crate::http::body::UpBody;
use crate::http::fields::Field;
use crate::http::{hop_by_hop, timeout, upgrade};
use crate::refusal::{Again, Refusal};
use crate::retry::FURTHER_ATTEMPTS;
use crate::snapshot::Affinity;
use crate::telemetry::Direction;
use http::header::HOST;
use http::uri::Uri;
use http::{HeaderValue, Response};
use mesh_balance::PickFor;
use std::rc::Rc;
use tokio::time::Instant;

/// Opens a tunnel to the service's port and answers 200.
///
/// # Errors
/// Where the entry is not the proxy port, or no endpoint can be reached.
pub(super) async fn connect(
    downstream: &Rc<Downstream>,
    accepted: &mut Accepted,
    bound: &BoundPort,
) -> Result<Box<Exchanged>, Refusal> {
    if !downstream.entry.is_proxy() {
        return Err(not_supported("CONNECT is for the proxy port only"));
    }
    let Some(upgrading) = accepted.upgrading.take() else {
        return Err(not_supported("this connection can't become a tunnel"));
    };
    let worker = downstream.worker.clone();
    let tunnel = tcp::open(&worker, bound, downstream.client).await?;
    let peer = tunnel.peer;
    let series = worker.recorder.tcp_opened(Direction::Outbound, &bound.label, peer);
    let (upstream, kept) = tunnel.into_parts();
    let permit = downstream.permit.clone();
    let session = upgrade::Session { worker: worker.clone(), series, permit, kept };
    worker.tasks.spawn_local("tunnel", upgrade::carry(session, upgrading, upstream));
    Ok(Exchanged::changing(Response::new(()), &bound.cluster, peer))
}

/// Asks one of the endpoints to change the protocol to `token`; relays if it agrees.
///
/// # Errors
/// `connection_limit`, or the refusal of the last endpoint tried.
pub(super) async fn upgrade(
    downstream: &Rc<Downstream>,
    accepted: &mut Accepted,
    routed: &Routed,
    token: HeaderValue,
) -> Result<Box<Exchanged>, Refusal> {
    let Some(upgrading) = accepted.upgrading.take() else {
        return Err(not_supported("this connection can't change its protocol"));
    };
    let worker = &downstream.worker;
    let mut body = accepted.body.take().filter(|body| has_body(body, &accepted.head.method));
    let sends_body = body.is_some();
    let Affinity { key, cookie } = routed.cluster.affinity(worker, &accepted.head, downstream.client);
    accepted.cookie = cookie;
    let place = routed.cluster.connect()?;
    let mut tried = Vec::new();
    loop {
        let pick_for = PickFor { key, tried: &tried };
        let mut picked = routed.cluster.pick(worker, Instant::now(), pick_for)?;
        let body = body.take().map_or(UpBody::Empty, |body| UpBody::Once(body, routed.bound.bytes.clone()));
        let mut request = copy(&accepted.head, body);
        *request.uri_mut() = origin_form(&accepted.head.uri);
        request.headers_mut().insert(HOST, routed.destination.host.clone());
        hop_by_hop::restore_upgrade(request.headers_mut(), token.clone());
        if accepted.fields.have(Field::Timeout) {
            timeout::strip(request.headers_mut());
        }
        match upgrade::ask(worker, &picked.origin.place, request, &accepted.interim).await {
            Ok((response, lease)) if upgrade::is_switching(&response) => {
                picked.load.answered();
                let series =
                    worker.recorder.tcp_opened(Direction::Outbound, &routed.bound.label, picked.peer);
                let (worker, permit) = (worker.clone(), downstream.permit.clone());
                let session = upgrade::Session { worker, series, permit, kept: (picked.load, place) };
                upgrade::join(session, upgrading, lease);
                return Ok(Exchanged::changing(response.map(drop), &routed.cluster, picked.peer));
            }
            Ok((response, lease)) => {
                picked.load.answered();
                let mut exchanged = Exchanged::new(response, &routed.cluster, picked.peer);
                exchanged.lease = Some(lease);
                exchanged.load = Some(picked.load);
                return Ok(exchanged);
            }
            Err(refusal) => {
                picked.load.failed();
                tried.push(picked.slot);
                let made = u32::try_from(tried.len()).unwrap_or(u32::MAX);
                let again = refusal.reason.row().again == Again::Unprocessed;
                if !again || sends_body || made > FURTHER_ATTEMPTS {
                    return Err(refusal);
                }
            }
        }
    }
}

/// The target without scheme and authority.
pub(super) fn origin_form(uri: &Uri) -> Uri {
    let target = uri.path_and_query().cloned();
    target.map_or_else(|| Uri::from_static("/"), Uri::from)
}
