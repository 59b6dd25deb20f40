//! A connection that changes its protocol (RFC 9110 §7.8): the request goes over a connection of its own, and once the
//! other side has answered 101, bytes flow both ways until either side ends.

use super::body::{UpBody, WireBody};
use super::http2::Opened;
use super::interim::Interim;
use crate::connect::{Link, Place, Prefixed, relay};
use crate::limit::Permit;
use crate::pool::{self, Lease};
use crate::refusal::Refusal;
use crate::telemetry::TcpSeries;
use crate::worker::Worker;
use http::{Request, Response, StatusCode};
use mesh_http1::{OnUpgrade, Upgraded};
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Asks `place` for an upgrade. The lease is of no pool: it is held until the answer has passed, or becomes the stream.
///
/// # Errors
/// A refusal that says at which step it failed.
pub(crate) async fn ask(
    worker: &Rc<Worker>,
    place: &Place,
    request: Request<UpBody>,
    interim: &Interim,
) -> Result<(Response<WireBody>, Lease), Refusal> {
    let mut lease = pool::alone(worker, place).await?;
    match lease.send(request, interim).await {
        Ok(response) => Ok((response, lease)),
        Err(failure) => Err(failure.refusal),
    }
}

/// Whether an answer changes the protocol.
pub(crate) fn is_switching(response: &Response<WireBody>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// The downstream's side of a connection that is about to change its protocol.
#[derive(Debug)]
pub(crate) enum Upgrading {
    /// An HTTP/1 connection: after a 101, or the 200 to a CONNECT.
    Http1(OnUpgrade<Link>),
    /// One stream of an HTTP/2 connection, after the 200 to its CONNECT.
    Http2(Opened),
}

impl Upgrading {
    /// What a request allows the connection to become, if anything.
    pub(crate) fn of(body: WireBody) -> (Option<Self>, Option<WireBody>) {
        match body {
            WireBody::Tunnel(opened) => (Some(Self::Http2(opened)), None),
            WireBody::Http1(mut body) => (body.take_upgrade().map(Self::Http1), Some(WireBody::Http1(body))),
            WireBody::Http2 { .. } => (None, Some(body)),
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
pub(crate) fn join<K: 'static>(session: Session<K>, downstream: Upgrading, upstream: Lease) {
    let Some(upstream) = upstream.into_stream() else { return };
    let worker = session.worker.clone();
    worker.tasks.spawn_local("upgraded", carry(session, downstream, upstream));
}

/// Relays between a downstream that is about to change its protocol and an upstream that is ready.
pub(crate) async fn carry<K, U>(session: Session<K>, downstream: Upgrading, mut upstream: U)
where
    U: AsyncRead + AsyncWrite + Unpin,
{
    let Session { worker, series, permit: _permit, kept: _kept } = session;
    match downstream {
        Upgrading::Http1(on_upgrade) => match on_upgrade.await {
            Some(Upgraded { io, read }) => {
                let mut downstream = Prefixed::new(read, io);
                relay::relay(&mut downstream, &mut upstream, &worker.buffers, &series).await;
            }
            None => tracing::debug!("upgrade came to nothing"),
        },
        Upgrading::Http2(opened) => match opened.tunnel().await {
            Some(mut downstream) => {
                relay::relay(&mut downstream, &mut upstream, &worker.buffers, &series).await;
            }
            None => tracing::debug!("the client gave its tunnel up"),
        },
    }
}
