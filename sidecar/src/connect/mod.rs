//! Opening a connection to where a request goes: TCP, and on it mutual TLS where the place has a sidecar, or TLS where an
//! ExternalService asks for it. What enters is a [`Place`]; what leaves is a [`Link`], or a refusal that says at which step it failed. Nothing is pooled here.

mod link;
mod outward;
pub(crate) mod relay;
mod unpaced;

pub(crate) use link::{Link, Prefixed};
pub(crate) use outward::{Outward, open_http};
pub(crate) use unpaced::unpace;

use crate::deadline;
use crate::dial::Caller;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::Direction;
use crate::worker::Worker;
use mesh_mtls::{Alpn, HandshakeError, HandshakeFailure};
use mesh_names::{Port, SpiffeId};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Unacknowledged data for longer means that the peer's machine or the way to it is gone (RFC 5482); without it the
/// kernel tries for a quarter of an hour.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A silent connection is probed after this long, and then every [`PROBE_INTERVAL`].
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Where a connection goes and how: everything that makes two connections interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The socket to connect to.
    pub(crate) address: SocketAddr,
    /// How it is secured.
    pub(crate) security: Security,
    /// As whom we go there.
    pub(crate) direction: Direction,
    /// In whose name, where it is not our own.
    pub(crate) caller: Option<Caller>,
}

/// How a connection is secured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Security {
    /// Not at all: the application beside us, or an endpoint without a sidecar.
    Plaintext,
    /// By mutual TLS with the sidecar there, which leads to `port` of its application.
    MutualTls {
        /// Who must answer.
        identity: SpiffeId,
        /// The application's port.
        port: Port,
    },
    /// By TLS with a place outside of the mesh.
    Tls(Arc<Outward>),
}

impl Place {
    /// Whether there is a sidecar.
    pub(crate) fn is_meshed(&self) -> bool {
        matches!(self.security, Security::MutualTls { .. })
    }
}

/// Opens a connection; with mutual TLS, to speak `alpn` on it.
///
/// # Errors
/// A refusal that says which step failed; none of the request has been sent.
pub(crate) async fn open(worker: &Worker, place: &Place, alpn: Alpn) -> Result<Link, Refusal> {
    let shared = &worker.shared;
    let tcp = reach(worker, place).await?;
    let (identity, port) = match &place.security {
        Security::Plaintext => return Ok(Link::Plain(tcp)),
        Security::Tls(outward) => {
            // Boxed, as is what is rare.
            let stream = Box::pin(outward::handshake(worker, outward, tcp, outward::offer(alpn))).await?;
            return Ok(Link::Outward(Box::new(stream)));
        }
        Security::MutualTls { identity, port } => (identity, port),
    };
    let sni = mesh_mtls::sni_for_port(*port, &shared.config.trust_domain);
    // HTTP/2 connections live long, so that keeping their tickets would only cost memory.
    let endpoint = match alpn {
        Alpn::H2 => None,
        Alpn::Http1 | Alpn::Tcp => Some(place.address),
    };
    let handshake = shared.connector.connect(tcp, identity, &sni, alpn, endpoint);
    let connections = &shared.config.families.connections;
    match tokio::time::timeout(deadline::HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => {
            connections.handshake(place.direction, if stream.is_resumed() { "resumed" } else { "ok" });
            Ok(Link::Tls(Box::new(stream)))
        }
        Ok(Err(error)) => {
            connections.handshake(place.direction, error.failure().label());
            Err(handshake_refusal(error))
        }
        Err(_elapsed) => {
            connections.handshake(place.direction, "timeout");
            Err(Refusal::because(Reason::HandshakeFailed, "mutual TLS with the endpoint took too long"))
        }
    }
}

/// A TCP connection to the place.
async fn reach(worker: &Worker, place: &Place) -> Result<TcpStream, Refusal> {
    if place.direction == Direction::Outbound && worker.shared.own.contain(place.address) {
        return Err(Reason::LoopDetected.into());
    }
    tcp(worker, place).await.map_err(|reason| match (place.direction, reason.0) {
        (Direction::Inbound, Reason::ConnectTimeout) => with_source(Reason::AppTimeout, reason.1),
        (Direction::Inbound, _) => with_source(Reason::AppRefused, reason.1),
        (Direction::Outbound, outbound) => with_source(outbound, reason.1),
    })
}

fn with_source(reason: Reason, source: Option<io::Error>) -> Refusal {
    let refusal = Refusal::new(reason);
    match source {
        Some(source) => refusal.caused_by(source),
        None => refusal,
    }
}

fn handshake_refusal(error: HandshakeError) -> Refusal {
    let reason = match error.failure() {
        HandshakeFailure::WrongIdentity { .. } | HandshakeFailure::BadIdentity(_) => Reason::IdentityMismatch,
        HandshakeFailure::NotReady => Reason::NotReady,
        HandshakeFailure::Plaintext
        | HandshakeFailure::NoCertificate
        | HandshakeFailure::UntrustedCertificate
        | HandshakeFailure::ExpiredCertificate
        | HandshakeFailure::NotYetValid
        | HandshakeFailure::WrongName { .. }
        | HandshakeFailure::NoCommonProtocol
        | HandshakeFailure::PeerRefused(_)
        | HandshakeFailure::Protocol
        | HandshakeFailure::Closed
        | HandshakeFailure::Io => Reason::HandshakeFailed,
    };
    Refusal::new(reason).caused_by(error)
}

async fn tcp(worker: &Worker, place: &Place) -> Result<TcpStream, (Reason, Option<io::Error>)> {
    let opening = async {
        match place.caller {
            Some(caller) => caller.tcp(place.address).await,
            None => worker.shared.config.dial.tcp(place.address).await,
        }
    };
    let stream = match tokio::time::timeout(deadline::CONNECT, opening).await {
        Err(_elapsed) => return Err((Reason::ConnectTimeout, None)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err((Reason::ConnectRefused, Some(error)));
        }
        Ok(Err(error)) => return Err((Reason::ConnectFailed, Some(error))),
        Ok(Ok(stream)) => stream,
    };
    tune(&stream);
    unpace(&stream, place.address);
    Ok(stream)
}

/// Options that only make things better: where the system refuses one, the connection works without it.
pub(crate) fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    stream.set_nodelay(true).ok();
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT)).ok();
    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive).ok();
}
