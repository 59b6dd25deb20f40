//! Captured plaintext: a connection that was opened to one of the application's ports, and that the kernel led here. How
//! the port meets plain text decides: strictly, and it is closed; permissively, and it goes on to the application, with
//! nobody vouched for. A connection that is open stays open when the mode changes.
//!
//! ```text
//! original port ─> mode ─┬─ strict ─────> closed, counted as `plaintext`
//!                        └─ permissive ─> counted by source ─> HTTP as from a peer, but nobody's; anything else relayed
//! ```
//!
//! The kernel tells how it led the connection here. Redirected, it goes on to the application on loopback, as from a peer.
//! Handed over by TPROXY, it keeps both its addresses, and it goes on between the same two: from the caller's address to
//! the one that was dialled, so that the application sees who calls.

use super::port::application;
use super::{Downstream, spoken};
use crate::connect::{self, Link, Prefixed, relay, tune};
use crate::dial::Caller;
use crate::http::authority::LastAuthority;
use crate::intercept::{Mark, is_probe};
use crate::limit::Permit;
use crate::listen::accept;
use crate::listen::original_dst::OriginalDst;
use crate::refusal::Reason;
use crate::telemetry::{ConnectionProtocol, Direction, LabelId, Side};
use crate::worker::Worker;
use mesh_mtls::Alpn;
use mesh_names::Port;
use mesh_protocol::mtls::MtlsMode;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream};

/// Takes captured connections until the drain.
pub(crate) async fn listen(worker: Rc<Worker>, listener: TcpListener) {
    let drain = worker.shared.config.drain.clone();
    let own = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    accept::accept_until(listener, &worker.inbound, drain.draining(), |stream, source, permit| {
        let worker_ = worker.clone();
        let connection = async move {
            let Some(dialled) = dialled(&stream, source, own) else { return };
            connection(worker_, stream, source, dialled, permit).await;
        };
        worker.tasks.spawn_local("plaintext-connection", connection);
    })
    .await;
}

/// What was called.
struct Dialled {
    port: Port,
    /// Who calls and where, if it goes on so.
    caller: Option<(Caller, SocketAddr)>,
}

/// What was called; nothing if the connection was opened to us, or is a probe.
fn dialled(stream: &TcpStream, source: SocketAddr, own: u16) -> Option<Dialled> {
    let not_own = |port| Port::new(port).filter(|port| port.number() != own);
    if let Some(original) = OriginalDst::of(stream) {
        // One of `sidecar intercept`: it has seen what it wanted, and is no caller. By TPROXY what it wants to see is that
        // it is counted here.
        if is_probe(source.ip().to_canonical(), original.addr().ip().to_canonical()) {
            return None;
        }
        return Some(Dialled { port: not_own(original.addr().port())?, caller: None });
    }
    // By TPROXY the connection keeps the address it was opened to.
    let local = stream.local_addr().ok()?;
    let port = not_own(local.port())?;
    let caller = Mark::new(own.into()).and_then(|mark| Caller::of(source, mark));
    let address = SocketAddr::new(local.ip().to_canonical(), local.port());
    Some(Dialled { port, caller: caller.map(|caller| (caller, address)) })
}

async fn connection(
    worker: Rc<Worker>,
    stream: TcpStream,
    source: SocketAddr,
    dialled: Dialled,
    permit: Permit,
) {
    let Dialled { port, caller } = dialled;
    tune(&stream);
    let mode = worker.current.pin().snapshot.workload.as_ref().map(|workload| workload.mtls.mode_of(port));
    let connections = &worker.shared.config.families.connections;
    match mode {
        Some(MtlsMode::Permissive) => connections.plaintext(source.ip(), "accepted"),
        Some(MtlsMode::Strict) | None => {
            connections.plaintext(source.ip(), "refused");
            worker.recorder.refused(Direction::Inbound, Reason::Plaintext);
            worker.complaints.say(Reason::Plaintext, || {
                tracing::warn!(
                    peer = %source, %port, reason = Reason::Plaintext.word(),
                    "connection refused: plain text where mutual TLS is required; let the caller go through a \
                     sidecar, or make an exception with a PeerAuthentication of mode Permissive"
                );
            });
            return;
        }
    }
    let Some(known) = worker.inbound_ports.of(&worker, port) else {
        return unannounced(&worker, stream, port, caller).await;
    };
    let known = match caller {
        Some((caller, address)) => known.called_by(&worker, caller, address),
        None => known,
    };
    let downstream = Rc::new(Downstream {
        peer: LabelId::NONE,
        voucher: None,
        client: worker.shared.secret,
        activity: worker.watch.connection(),
        permit: Rc::new(permit),
        last: LastAuthority::default(),
        port: known,
        worker,
    });
    spoken::carry(&downstream, Link::Plain(stream)).await;
}

/// To a port that the workload has not announced: another program on this machine, that is captured too.
async fn unannounced(
    worker: &Rc<Worker>,
    stream: TcpStream,
    port: Port,
    caller: Option<(Caller, SocketAddr)>,
) {
    let here = || SocketAddr::new(worker.shared.config.application, port.number());
    let place = caller.map_or_else(|| application(here(), None), |(who, at)| application(at, Some(who)));
    let connections = &worker.shared.config.families.connections;
    match connect::open(worker, &place, Alpn::Tcp).await {
        Ok(link) => {
            let (mut stream, mut link) = (Prefixed::from(Link::Plain(stream)), Prefixed::from(link));
            let _open = connections.open(Direction::Inbound, Side::Downstream, ConnectionProtocol::Tcp);
            let series = worker.recorder.tcp_opened(Direction::Inbound, &"".into(), LabelId::NONE);
            relay::relay(&mut stream, &mut link, &worker.buffers, &series).await;
        }
        Err(refusal) => worker.recorder.refused(Direction::Inbound, refusal.reason),
    }
}
