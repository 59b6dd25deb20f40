//! A captured connection to an address that nobody knows. What is spoken on it decides:
//!
//! ```text
//! TLS ─────────> its server name is registered? ─┬─ yes ─> a tunnel to that place, nothing of the TLS touched
//! HTTP ────────> its first host is known? ───────┼─ yes ─> served: each request goes by its host
//! else, or a server that speaks first            └─ no ──> where the application dialled, if egress is allowed
//! ```
//! What leaves the mesh unregistered is not read any further: bytes both ways.

use super::bound::BoundPort;
use super::connection::Detected;
use super::foreign::{Foreign, Found, Otherwise};
use super::tcp::{self, Session};
use super::{Downstream, external};
use crate::connect::{Link, Prefixed};
use crate::detect::{Host, Look, Observed, Seen, host, see};
use crate::http::authority;
use crate::pool::Wire;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::Direction;
use mesh_names::Port;
use std::net::SocketAddr;
use std::rc::Rc;

/// Finds out what is spoken, and where it goes. Where egress is allowed the dialled address is connected to meanwhile, so
/// that a server that speaks first is heard at once.
pub(super) async fn detect(downstream: &Rc<Downstream>, stream: Link, dialled: SocketAddr) -> Detected {
    let worker = &downstream.worker;
    let bound = match external::unregistered(worker, dialled) {
        Ok(bound) => bound,
        Err(refusal) => return refused(downstream, &refusal),
    };
    let opening = async {
        external::may_leave(&worker.current.pin(), None, dialled)?;
        tcp::open(worker, &bound, downstream.client).await
    };
    let mut opening = std::pin::pin!(opening);
    let learned = &bound.cluster.learned;
    let seen = see(&downstream.activity, stream, learned, opening.as_mut(), Look::HttpOrTls).await;
    let (client, server) = match seen {
        Seen::Nothing => return Detected::Gone,
        Seen::Http(wire, client, server) => {
            if wire == Wire::Http2 || goes_by_host(downstream, &client, dialled).await {
                learned.saw(server.unneeded());
                return Detected::Http(wire, client);
            }
            learned.saw(Observed::ClientFirst);
            (client, server)
        }
        Seen::Tls(name, client, server) => match by_server_name(downstream, &name, dialled).await {
            Ok(None) => {
                learned.saw(Observed::ClientFirst);
                (client, server)
            }
            Ok(Some(bound)) => {
                learned.saw(server.unneeded());
                let tunnel = tcp::open(worker, &bound, downstream.client).await;
                return Detected::Opaque(Box::new(Session::new(bound, client, tunnel)));
            }
            Err(refusal) => return refused(downstream, &refusal),
        },
        Seen::Opaque(client, server, observed) => {
            if let Some(observed) = observed {
                learned.saw(observed);
            }
            (client, server)
        }
    };
    let tunnel = server.finish(opening).await;
    Detected::Opaque(Box::new(Session::new(bound.clone(), client, tunnel)))
}

/// Whether HTTP/1 is served here, each request by its host, and not left alone.
async fn goes_by_host(downstream: &Downstream, client: &Prefixed<Link>, dialled: SocketAddr) -> bool {
    let worker = &downstream.worker;
    let Some(written) = first_host(client.first()) else { return true };
    let found = Foreign::of_host(worker, written, Otherwise::Dialled(dialled)).find(worker).await;
    match found {
        Ok((pinned, Found::Nothing(_))) => external::may_leave(&pinned, None, dialled).is_err(),
        Ok(_) | Err(_) => true,
    }
}

/// The host of a first request whose head has come at once, as nearly all do.
fn first_host(first: &[u8]) -> Option<&str> {
    match host(first) {
        Host::Named(text) => authority::parse(text.as_bytes()).ok().map(|parts| parts.host),
        Host::More | Host::None => None,
    }
}

/// The registered place a TLS client asks for; nothing: the connection goes where it was dialled.
async fn by_server_name(
    downstream: &Downstream,
    name: &str,
    dialled: SocketAddr,
) -> Result<Option<Rc<BoundPort>>, Refusal> {
    let worker = &downstream.worker;
    let foreign = Foreign::of_server_name(worker, name, dialled);
    let (pinned, found) = foreign.find(worker).await?;
    let Found::External(service, last_used) = found else {
        external::may_leave(&pinned, Some(name), dialled)?;
        return Ok(None);
    };
    let port = Port::new(dialled.port());
    let there = port.and_then(|port| service.port(port));
    if there.is_some_and(|there| there.originate.is_some()) {
        let sentence = format!(
            "the ExternalService {} adds TLS for `{name}` on port {}, and the application speaks TLS itself: let it \
             speak in the clear, or remove `tls.originate`",
            service.name,
            dialled.port()
        );
        return Err(Refusal::because(Reason::InvalidBackend, sentence));
    }
    if there.is_none() {
        external::may_leave(&pinned, Some(name), dialled)?;
        return Ok(None);
    }
    last_used.touch(worker.nanos(tokio::time::Instant::now()).0 / 1_000_000_000);
    external::of_host(worker, &pinned, &foreign, port, &service, &last_used).map(Some)
}

/// Nothing can be done: counted, said, closed.
fn refused(downstream: &Downstream, refusal: &Refusal) -> Detected {
    let reason = refusal.reason;
    downstream.worker.recorder.refused(Direction::Outbound, reason);
    downstream.worker.complaints.say(reason, || {
        tracing::info!(reason = reason.word(), "captured connection refused: {}", refusal.sentence);
    });
    Detected::Gone
}

#[cfg(test)]
mod tests;
