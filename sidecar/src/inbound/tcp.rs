//! An opaque connection: a connection to the application, and bytes both ways.

use super::Downstream;
use crate::connect::{self, Link, Prefixed, relay};
use crate::refusal::Refusal;
use crate::telemetry::{ConnectionProtocol, Direction, Side};
use mesh_mtls::Alpn;
use std::rc::Rc;
use tokio::io::AsyncWriteExt;

/// Connects to the application and relays until both sides have ended.
pub(super) async fn carry(downstream: &Rc<Downstream>, stream: Prefixed<Link>) {
    let place = &downstream.port.origin.place;
    let application = connect::open(&downstream.worker, place, Alpn::Tcp).await;
    relay(downstream, stream, application.map(Prefixed::from)).await;
}

/// Relays until both sides have ended, if the application could be reached.
pub(super) async fn relay(
    downstream: &Rc<Downstream>,
    mut stream: Prefixed<Link>,
    application: Result<Prefixed<Link>, Refusal>,
) {
    let worker = &downstream.worker;
    let connections = &worker.shared.config.families.connections;
    let _open = connections.open(Direction::Inbound, Side::Downstream, ConnectionProtocol::Tcp);
    let mut application = match application {
        Ok(application) => application,
        Err(refusal) => {
            worker.recorder.refused(Direction::Inbound, refusal.reason);
            let port = downstream.port.port;
            worker.complaints.say(refusal.reason, || {
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
