//! An opaque connection from a peer: a connection to the application, and bytes both ways.

use super::Downstream;
use super::terminate::PeerStream;
use crate::connect::{self, relay};
use crate::telemetry::{ConnectionProtocol, Direction, Side};
use mesh_mtls::Alpn;
use std::rc::Rc;
use tokio::io::AsyncWriteExt;

/// Relays until both sides have ended.
pub(super) async fn carry(downstream: &Rc<Downstream>, mut stream: PeerStream) {
    let worker = &downstream.worker;
    let connections = &worker.shared.config.families.connections;
    let _open = connections.open(Direction::Inbound, Side::Downstream, ConnectionProtocol::Tcp);
    let mut application = match connect::open(worker, &downstream.port.origin.place, Alpn::Tcp).await {
        Ok(application) => application,
        Err(refusal) => {
            worker.recorder.refused(Direction::Inbound, refusal.reason);
            let port = downstream.port.port;
            worker.complaints.say(|| {
                tracing::warn!(%port, reason = refusal.reason.word(), "connection refused: {}", refusal.sentence);
            });
            // The caller reads an end, not a broken TLS connection; it may be gone already.
            stream.shutdown().await.ok();
            return;
        }
    };
    let _up = connections.open(Direction::Inbound, Side::Upstream, ConnectionProtocol::Tcp);
    let label = downstream.port.counted(worker).label;
    let series = worker.recorder.tcp_opened(Direction::Inbound, &label, downstream.peer);
    relay::relay(&mut stream, &mut application, &worker.buffers, &series).await;
}
