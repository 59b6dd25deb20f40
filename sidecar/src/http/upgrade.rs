//! A connection that changes its protocol (RFC 9110 §7.8): the request goes over a connection of its own, and once the
//! other side has answered 101, bytes flow both ways until either side ends.

use super::body::{UpBody, WireBody};
use super::http2::Opened;
use super::settings;
use crate::connect::{self, Place, relay};
use crate::limit::Permit;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::{ConnectionProtocol, Side, TcpSeries};
use crate::worker::Worker;
use http::{Extensions, Request, Response, StatusCode};
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
) -> Result<Response<WireBody>, Refusal> {
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
    response.map(|response| response.map(WireBody::Http1)).map_err(|error| {
        let reason = if error.is_parse() { Reason::UpstreamProtocol } else { Reason::UpstreamClosed };
        Refusal::new(reason).caused_by(error)
    })
}

/// Whether an answer changes the protocol.
pub(crate) fn is_switching(response: &Response<WireBody>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// The downstream's side of a connection that is about to change its protocol.
#[derive(Debug)]
pub(crate) enum Upgrading {
    /// An HTTP/1 connection: after a 101, or the 200 to a CONNECT.
    Http1(OnUpgrade),
    /// One stream of an HTTP/2 connection, after the 200 to its CONNECT.
    Http2(Opened),
}

impl Upgrading {
    /// What a request's head and body allow the connection to become, if anything.
    pub(crate) fn of(extensions: &mut Extensions, body: WireBody) -> (Option<Self>, Option<WireBody>) {
        match body {
            WireBody::Tunnel(opened) => (Some(Self::Http2(opened)), None),
            WireBody::Http1(_) | WireBody::Http2 { .. } => {
                (extensions.remove::<OnUpgrade>().map(Self::Http1), Some(body))
            }
        }
    }
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
    downstream: Upgrading,
    response: &mut Response<WireBody>,
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
pub(crate) async fn carry<K, U>(session: Session<K>, downstream: Upgrading, mut upstream: U)
where
    U: AsyncRead + AsyncWrite + Unpin,
{
    let Session { worker, series, permit: _permit, kept: _kept } = session;
    match downstream {
        Upgrading::Http1(on_upgrade) => match on_upgrade.await {
            Ok(downstream) => {
                let mut downstream = TokioIo::new(downstream);
                relay::relay(&mut downstream, &mut upstream, &worker.buffers, &series).await;
            }
            Err(error) => tracing::debug!(%error, "upgrade came to nothing"),
        },
        Upgrading::Http2(opened) => match opened.tunnel().await {
            Some(mut downstream) => {
                relay::relay(&mut downstream, &mut upstream, &worker.buffers, &series).await;
            }
            None => tracing::debug!("the client gave its tunnel up"),
        },
    }
}
