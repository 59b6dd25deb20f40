//! A connection that changes its protocol (RFC 9110 §7.8): the request goes over a connection of its own, and once the
//! other side has answered 101, bytes flow both ways until either side ends.

use super::body::UpBody;
use super::settings;
use crate::connect::{self, Place, relay};
use crate::limit::Permit;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::{ConnectionProtocol, Side, TcpSeries};
use crate::worker::Worker;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mesh_mtls::Alpn;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Asks `place` for an upgrade.
///
/// # Errors
/// A refusal that says at which step it failed.
pub(crate) async fn ask(
    worker: &Rc<Worker>,
    place: &Place,
    request: Request<UpBody>,
) -> Result<Response<Incoming>, Refusal> {
    let link = connect::open(worker, place, Alpn::Http1).await?;
    let handshake = settings::http1_client().handshake(TokioIo::new(link)).await;
    let (mut sender, connection) =
        handshake.map_err(|error| Refusal::new(Reason::ConnectFailed).caused_by(error))?;
    let connections = &worker.shared.config.families.connections;
    let open = connections.open(place.direction, Side::Upstream, ConnectionProtocol::Http1);
    worker.tasks.spawn_local("upstream-upgrade", async move {
        let _open = open;
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    let response = sender.send_request(request).await;
    response.map_err(|error| {
        let reason = if error.is_parse() { Reason::UpstreamProtocol } else { Reason::UpstreamClosed };
        Refusal::new(reason).caused_by(error)
    })
}

/// Whether an answer changes the protocol.
pub(crate) fn is_switching(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// What stays open while bytes flow.
pub(crate) struct Session<K> {
    pub(crate) worker: Rc<Worker>,
    pub(crate) series: Rc<TcpSeries>,
    pub(crate) permit: Rc<Permit>,
    /// Dropped at the end.
    pub(crate) kept: K,
}

/// Relays between a downstream that is about to change its protocol and an upstream that has answered 101.
pub(crate) fn join<K: 'static>(
    session: Session<K>,
    downstream: OnUpgrade,
    response: &mut Response<Incoming>,
) {
    let upstream = hyper::upgrade::on(response);
    let worker = session.worker.clone();
    worker.tasks.spawn_local("upgraded", async move {
        match upstream.await {
            Ok(upstream) => carry(session, downstream, TokioIo::new(upstream)).await,
            Err(error) => tracing::debug!(%error, "upgrade came to nothing"),
        }
    });
}

/// Relays between a downstream that is about to change its protocol and an upstream that is ready.
pub(crate) async fn carry<K, U>(session: Session<K>, downstream: OnUpgrade, mut upstream: U)
where
    U: AsyncRead + AsyncWrite + Unpin,
{
    match downstream.await {
        Ok(downstream) => {
            let Session { worker, series, permit: _permit, kept: _kept } = session;
            let mut downstream = TokioIo::new(downstream);
            relay::relay(&mut downstream, &mut upstream, &worker.buffers, &series).await;
        }
        Err(error) => tracing::debug!(%error, "upgrade came to nothing"),
    }
}
