//! A captured connection: the application dialled an address, and the kernel led the connection here. What the control
//! plane says of that address decides. A service's virtual address is that service, with all that belongs to it; an
//! endpoint's own address is that endpoint and no other; what the mesh does not know is left alone, if egress allows it.
//!
//! ```text
//! original destination ─> what is there? ─┬─ a service ────> as if it came by an upstream: detect, route, pick …
//!  (asked once, then held)                ├─ an endpoint ──> mutual TLS with its sidecar, bytes both ways
//!                                         ├─ registered ───> what its ExternalService says is spoken there
//!                                         ├─ not known ────> the host decides (`leaving`)
//!                                         └─ nobody's virtual address ──> refused: its service is gone
//! ```

use super::entry::Entry;
use super::external;
use crate::cluster;
use crate::connect::{self, Link, Place, Prefixed, Security, relay};
use crate::limit::Permit;
use crate::listen::original_dst::OriginalDst;
use crate::refusal::{Reason, Refusal};
use crate::snapshot::{AddressState, LastUsed, Registered, Snapshot};
use crate::telemetry::{ConnectionProtocol, Direction, LabelId, Side};
use crate::worker::{Patience, Worker};
use mesh_mtls::Alpn;
use mesh_names::Port;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What is wrong when a captured connection is our own.
const CIRCLE: &str = "this sidecar opened the captured connection itself: run it as the user that `sidecar intercept \
                      install --sidecar-uid` was given, or with `sidecar run --mark` and the mark that --sidecar-mark \
                      was, or install the rules again for its user or mark";

/// Where a captured connection goes.
enum Way {
    /// As if it had come in here.
    Entry(Rc<Entry>),
    /// To this place and no other, counted as `service`.
    Direct { place: Box<Place>, service: Arc<str>, peer: LabelId },
}

/// One captured connection.
pub(super) async fn connection(
    worker: Rc<Worker>,
    original: OriginalDst,
    stream: TcpStream,
    source: SocketAddr,
    permit: Permit,
) {
    let way = match worker.circle.closes(source, original.addr()) {
        true => Err(Refusal::because(Reason::LoopDetected, CIRCLE)),
        false => way(&worker, original.addr()).await,
    };
    match way {
        Ok(Way::Entry(entry)) => super::connection(worker, entry, stream, source.ip(), permit).await,
        Ok(Way::Direct { place, service, peer }) => {
            // Boxed, as its path is long and most connections go to services.
            Box::pin(direct(&worker, stream, &place, &service, peer, permit)).await;
        }
        Err(refusal) => super::connection(worker, Entry::nowhere(refusal), stream, source.ip(), permit).await,
    }
}

/// Decides where a connection to `dialled` goes. Waits for the control plane where the address is new, bounded; while it
/// is away not at all, but for a virtual address, of which nobody else can say whose it is.
async fn way(worker: &Worker, dialled: SocketAddr) -> Result<Way, Refusal> {
    let port = Port::new(dialled.port()).ok_or(Reason::ConnectFailed)?;
    let mut patience = Patience::default();
    loop {
        let changed = worker.current.changed();
        let pinned = worker.current.pin();
        let snapshot = &pinned.snapshot;
        let view = snapshot.address(dialled.ip());
        if let Some(view) = view {
            view.last_used.touch(worker.nanos(Instant::now()).0 / 1_000_000_000);
        }
        match (view.map(|view| (&view.state, &view.last_used)), snapshot.owner(dialled.ip())) {
            // A service that has the address is news to an answer of before.
            (Some((AddressState::Service(service), _)), _)
            | (Some((AddressState::Unknown, _)) | None, Some(service)) => {
                return Ok(Way::Entry(worker.entries.captured(service, port)));
            }
            (Some((AddressState::Registered(registered), last_used)), _) => {
                return known(worker, registered, last_used, dialled, port);
            }
            (Some((AddressState::Unknown, _)), None) => return unknown(snapshot, dialled),
            (None, None) => {}
        }
        let (is_told, demand) = (snapshot.received, &worker.shared.config.demand);
        let is_virtual = is_virtual(snapshot, dialled);
        demand.ask_address(dialled.ip());
        if is_told && !is_virtual && !demand.is_heard() {
            return Ok(Way::Entry(Entry::dialled(dialled)));
        }
        let until = worker.patience(&mut patience, &pinned);
        if tokio::time::timeout_at(until, changed).await.is_err() {
            if is_told {
                // It is cut off, or has other things to do: whoever comes next need not find out again.
                demand.is_silent();
            }
            if !is_told || is_virtual {
                return Err(cluster::not_told(&pinned));
            }
            // Most likely a place outside.
            return Ok(Way::Entry(Entry::dialled(dialled)));
        }
    }
}

/// Whether nobody but a service can be there.
fn is_virtual(snapshot: &Snapshot, dialled: SocketAddr) -> bool {
    snapshot.mesh.as_ref().is_some_and(|mesh| mesh.is_virtual(dialled.ip()))
}

/// To an address of which the mesh knows nothing.
///
/// # Errors
/// `unknown_address`: nobody else can be there.
fn unknown(snapshot: &Snapshot, dialled: SocketAddr) -> Result<Way, Refusal> {
    if !is_virtual(snapshot, dialled) {
        return Ok(Way::Entry(Entry::dialled(dialled)));
    }
    let sentence = format!(
        "{} is a virtual address that belongs to no service: the service was deleted, or never existed; look its name \
         up again",
        dialled.ip()
    );
    Err(Refusal::because(Reason::UnknownAddress, sentence))
}

/// To an address at which the mesh knows something.
fn known(
    worker: &Worker,
    registered: &Registered,
    last_used: &Arc<LastUsed>,
    dialled: SocketAddr,
    port: Port,
) -> Result<Way, Refusal> {
    if let Some((endpoint, service_port)) = registered.endpoint(port)
        && let Some(place) = cluster::place(endpoint, service_port)
    {
        let service = endpoint.service.to_string().into();
        let peer = match &place.security {
            Security::MutualTls { identity, .. } => worker.recorder.label(&identity.to_string()),
            Security::Plaintext | Security::Tls(_) => LabelId::NONE,
        };
        return Ok(Way::Direct { place: Box::new(place), service, peer });
    }
    let external = registered.external(port, &worker.shared.config.namespace);
    match external.and_then(|external| Some((external, external.port(port)?))) {
        Some((external, there)) => {
            let bound = external::of_address(worker, dialled, external, there, last_used)?;
            Ok(Way::Entry(Entry::place(bound)))
        }
        None => Ok(Way::Entry(Entry::dialled(dialled))),
    }
}

/// Connects to the one place, and relays until both sides have ended.
async fn direct(
    worker: &Rc<Worker>,
    stream: TcpStream,
    place: &Place,
    service: &Arc<str>,
    peer: LabelId,
    _permit: Permit,
) {
    let connections = &worker.shared.config.families.connections;
    let (mut stream, mut link) = match connect::open(worker, place, Alpn::Tcp).await {
        Ok(link) => (Prefixed::from(Link::Plain(stream)), Prefixed::from(link)),
        Err(refusal) => {
            worker.recorder.refused(Direction::Outbound, refusal.reason);
            worker.complaints.say(refusal.reason, || {
                tracing::info!(
                    service = &**service,
                    reason = refusal.reason.word(),
                    source = refusal.source.as_deref().map(|e| e as &dyn std::error::Error),
                    "captured connection refused: {}",
                    refusal.sentence
                );
            });
            return;
        }
    };
    let _down = connections.open(Direction::Outbound, Side::Downstream, ConnectionProtocol::Tcp);
    let _up = connections.open(Direction::Outbound, Side::Upstream, ConnectionProtocol::Tcp);
    let series = worker.recorder.tcp_opened(Direction::Outbound, service, peer);
    relay::relay(&mut stream, &mut link, &worker.buffers, &series).await;
}

#[cfg(test)]
mod tests;
