//! Captured plaintext: a connection that was opened to one of the application's ports, and that the kernel led here. How
//! the port meets plain text decides: strictly, and it is closed; permissively, and it goes on to the application, with
//! nobody vouched for. A connection that is open stays open when the mode changes.
//!
//! ```text
//! original port ─> mode ─┬─ strict ─────> closed, counted as `plaintext`
//!                        └─ permissive ─> counted by source ─> HTTP as from a peer, but nobody's; anything else relayed
//! ```

use super::{Downstream, spoken};
use crate::connect::{self, Link, Place, Prefixed, Security, relay, tune};
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
            let Some(port) = dialled(&stream, own) else { return };
            connection(worker_, stream, source, port, permit).await;
        };
        worker.tasks.spawn_local("plaintext-connection", connection);
    })
    .await;
}

/// The port that was dialled; nothing if the connection was opened to us.
fn dialled(stream: &TcpStream, own: u16) -> Option<Port> {
    let local = stream.local_addr().ok()?;
    // By TPROXY the connection keeps the address it was opened to.
    let dialled = OriginalDst::of(stream).map_or(local, OriginalDst::addr).port();
    Port::new(dialled).filter(|port| port.number() != own)
}

async fn connection(worker: Rc<Worker>, stream: TcpStream, source: SocketAddr, port: Port, permit: Permit) {
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
        return unannounced(&worker, stream, port).await;
    };
    let downstream = Rc::new(Downstream {
        peer: LabelId::NONE,
        voucher: None,
        activity: worker.watch.connection(),
        permit: Rc::new(permit),
        port: known,
        worker,
    });
    spoken::carry(&downstream, Link::Plain(stream)).await;
}

/// To a port that the workload has not announced: another program on this machine, that is captured too.
async fn unannounced(worker: &Rc<Worker>, stream: TcpStream, port: Port) {
    let address = SocketAddr::new(worker.shared.config.application, port.number());
    let place = Place { address, security: Security::Plaintext, direction: Direction::Inbound };
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
