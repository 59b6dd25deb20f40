//! THE PAGE: from the mesh to the application, the steps in order.
//!
//! ```text
//! accept ─> terminate ─> port ──h2, http/1.1──> normalise ─> vouch ─> limit ─> forward ─> response
//!           (mutual TLS)         └─outrigger-tcp──> spoken: as above if it is HTTP, else tcp: connect ─> relay
//! ```
//! The handshake proves who the peer is; the server name says which of the application's ports it wants, the protocol
//! agreed in the handshake says what flows. Everything after it is a few steps to a socket on this machine.

mod admit;
mod forward;
pub(crate) mod plaintext;
pub(crate) mod port;
mod request;
mod spoken;
mod tcp;
mod terminate;

use crate::connect::{Link, Prefixed};
use crate::http::authority::LastAuthority;
use crate::http::body::{DownBody, WireBody};
use crate::http::interim::Interim;
use crate::http::normalise::normalise;
use crate::http::settings::Hop;
use crate::http::{http1, http2};
use crate::limit::Permit;
use crate::listen::accept;
use crate::listen::activity::Activity;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::{ConnectionProtocol, Direction, LabelId, Side};
use crate::worker::Worker;
use http::header::HeaderName;
use http::{HeaderValue, Method, Request, Response};
use mesh_balance::HashKey;
use mesh_mtls::Alpn;
use mesh_names::SpiffeId;
use port::InboundPort;
use request::{Accepted, Exchanged};
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream};

/// Set between sidecars on requests that came as HTTP/1: an application whose port declares no protocol is asked in the
/// one its caller used. Taken out before the application sees the request.
pub(crate) const ORIGINAL_HTTP: HeaderName = HeaderName::from_static("outrigger-http");

/// Who the peer is, told to the application; whatever the peer sent under this name is taken out.
pub(crate) const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// A connection from a peer, and what its requests need of it.
pub(crate) struct Downstream {
    pub(crate) worker: Rc<Worker>,
    pub(crate) port: Rc<InboundPort>,
    pub(crate) peer: LabelId,
    /// `URI=spiffe://…`, as the application is told; nothing for a peer without a certificate.
    pub(crate) voucher: Option<HeaderValue>,
    /// Who it is as limits tell clients apart.
    pub(crate) client: HashKey,
    pub(crate) permit: Rc<Permit>,
    pub(crate) activity: Rc<Activity>,
    pub(crate) last: LastAuthority,
}

/// Takes connections from peers until the drain.
pub(crate) async fn listen(worker: Rc<Worker>, listener: TcpListener) {
    let drain = worker.shared.config.drain.clone();
    accept::accept_until(listener, &worker.inbound, drain.draining(), |stream, address, permit| {
        worker.tasks.spawn_local("inbound-connection", connection(worker.clone(), stream, address, permit));
    })
    .await;
}

/// One connection: who it is, where it goes, what flows.
async fn connection(worker: Rc<Worker>, stream: TcpStream, address: SocketAddr, permit: Permit) {
    let Some(stream) = terminate::terminate(&worker, stream, address).await else { return };
    let Some(port) = terminate::wanted_port(&worker, &stream, address) else { return };
    let downstream = Rc::new(Downstream {
        peer: worker.recorder.label(&stream.peer().to_string()),
        voucher: Some(voucher(stream.peer())),
        client: HashKey::of(stream.peer().to_string().as_bytes()).and(worker.shared.secret),
        activity: worker.watch.connection(),
        permit: Rc::new(permit),
        last: LastAuthority::default(),
        worker,
        port,
    });
    let alpn = stream.alpn();
    let stream = Link::Accepted(Box::new(stream));
    match alpn {
        Alpn::H2 => serve_http2(&downstream, stream.into(), Hop::Mesh).await,
        Alpn::Http1 => serve_http1(&downstream, stream.into()).await,
        Alpn::Tcp => spoken::carry(&downstream, stream).await,
    }
}

/// Serves HTTP/1.1: on a connection made for one upgrade, or where bytes turned out to be it.
async fn serve_http1(downstream: &Rc<Downstream>, stream: Prefixed<Link>) {
    let answer = |received, interim| request(downstream.clone(), received, interim);
    http1::serve(&downstream.worker, Direction::Inbound, &downstream.activity, stream, answer).await;
}

/// Serves HTTP/2, many requests at once.
async fn serve_http2(downstream: &Rc<Downstream>, stream: Prefixed<Link>, hop: Hop) {
    let config = &downstream.worker.shared.config;
    let connections = &config.families.connections;
    let _open = connections.open(Direction::Inbound, Side::Downstream, ConnectionProtocol::Http2);
    let answer = |received, interim| request(downstream.clone(), received, interim);
    if let Err(error) = http2::serve(stream, hop, config.drain.draining(), answer).await {
        tracing::debug!(%error, "downstream connection ended");
    }
}

/// One request: whatever happens, there is an answer. Not an async function, whose future would have room for the
/// request twice.
fn request(
    downstream: Rc<Downstream>,
    request: Request<WireBody>,
    interim: Interim,
) -> impl Future<Output = Response<DownBody>> {
    let mut accepted = Accepted::new(&downstream, request, interim);
    async move {
        let outcome = exchange(&downstream, &mut accepted).await;
        accepted.finish(&downstream, outcome)
    }
}

/// The steps of a request.
async fn exchange(downstream: &Rc<Downstream>, accepted: &mut Accepted) -> Result<Exchanged, Refusal> {
    let normalised = normalise(&mut accepted.head, accepted.fields, &downstream.last)?;
    if accepted.head.method == Method::CONNECT {
        // Sidecars open tunnels by their own protocol; to an application CONNECT would mean to be a proxy.
        let sentence = "a tunnel to this application is not opened by CONNECT";
        return Err(Refusal::because(Reason::MethodNotSupported, sentence));
    }
    let original = accepted.vouch(downstream);
    if let Some(limits) = accepted.limits.take() {
        // Boxed, as few ports have limits.
        let turn = Box::pin(admit::admit(downstream, &accepted.head, &limits)).await?;
        accepted.turn = turn.map(Box::new);
    }
    match normalised.upgrade {
        Some(token) => Box::pin(forward::upgrade(downstream, accepted, normalised.authority, token)).await,
        None => forward::forward(downstream, accepted, normalised.authority, original).await,
    }
}

/// What the application is told about the peer, in the form Envoy made common.
fn voucher(peer: &SpiffeId) -> HeaderValue {
    let text = format!("URI={peer}");
    // A SPIFFE ID is visible ASCII, so that this can't fail; nobody is vouched for if it did.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
