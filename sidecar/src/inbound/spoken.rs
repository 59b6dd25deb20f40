//! A connection of which only its bytes are known: captured plain text, or a peer's opaque one. What the application's port
//! declares is spoken on it, or what its first bytes show: HTTP is served request by request like any other, so that
//! nobody slips a request past the vouching for peers by not calling it one; anything else is relayed.

use super::{Downstream, tcp};
use crate::connect::{self, Link, Prefixed};
use crate::detect::{Early, More, Spoken, either, http_only};
use crate::http::settings::Hop;
use crate::pool::Wire;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::Direction;
use mesh_mtls::Alpn;
use mesh_names::AppProtocol;
use std::rc::Rc;

/// Carries the connection to its end.
pub(super) async fn carry(downstream: &Rc<Downstream>, stream: Link) {
    match downstream.port.app_protocol {
        AppProtocol::Tcp => tcp::carry(downstream, stream.into()).await,
        AppProtocol::Http | AppProtocol::H2c | AppProtocol::Grpc => {
            let closing = downstream.worker.shared.config.closing(Direction::Inbound);
            match http_only(&downstream.activity, closing, stream).await {
                Ok((wire, stream)) => serve(downstream, wire, stream).await,
                Err(More::Late { begun: true }) => {
                    downstream.worker.recorder.refused(Direction::Inbound, Reason::HeaderTimeout);
                }
                Err(More::Late { begun: false } | More::Gone | More::Read) => {}
            }
        }
        AppProtocol::Detect => {
            let learned = &downstream.port.learned;
            match either(&downstream.activity, stream, learned, application(downstream)).await {
                Spoken::Http(wire, stream) => serve(downstream, wire, stream).await,
                Spoken::Opaque(stream, application) => {
                    tcp::relay(downstream, stream, application.map(Early::into_stream)).await;
                }
                Spoken::Nothing => {}
            }
        }
    }
}

async fn serve(downstream: &Rc<Downstream>, wire: Wire, stream: Prefixed<Link>) {
    match wire {
        Wire::Http1 => super::serve_http1(downstream, stream).await,
        Wire::Http2 => super::serve_http2(downstream, stream, Hop::Local).await,
    }
}

async fn application(downstream: &Downstream) -> Result<Early, Refusal> {
    connect::open(&downstream.worker, &downstream.port.origin.place, Alpn::Tcp).await.map(Early::new)
}
