//! Mutual TLS ends here: the handshake with its deadline, why it failed if it did, which port the peer wants, and HTTP
//! served on what is left.

use super::Downstream;
use super::port::InboundPort;
use crate::connect::tune;
use crate::deadline;
use crate::http::body::WireBody;
use crate::http::explain::Explained;
use crate::http::http2;
use crate::http::settings::{self, Hop};
use crate::listen::activity::Watched;
use crate::refusal::Reason;
use crate::telemetry::{ConnectionProtocol, Direction, Side};
use crate::worker::Worker;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_mtls::{HandshakeFailure, ServerStream};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A peer's connection after the handshake.
pub(super) type PeerStream = ServerStream<TcpStream>;

/// Shakes hands. Nothing is answered to a peer that fails: its own sidecar says why, and a stranger learns nothing.
pub(super) async fn terminate(worker: &Worker, stream: TcpStream, address: SocketAddr) -> Option<PeerStream> {
    tune(&stream);
    let shared = &worker.shared;
    let handshake = shared.acceptor.accept(stream);
    let connections = &shared.config.families.connections;
    let (label, reason, error) = match tokio::time::timeout(deadline::HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => {
            connections.handshake(Direction::Inbound, if stream.is_resumed() { "resumed" } else { "ok" });
            return Some(stream);
        }
        Ok(Err(error)) => (error.failure().label(), reason(error.failure()), Some(error)),
        Err(_elapsed) => ("timeout", Some(Reason::HandshakeTimeout), None),
    };
    connections.handshake(Direction::Inbound, label);
    if let Some(reason) = reason {
        worker.recorder.refused(Direction::Inbound, reason);
        let why = error.as_ref().map_or_else(String::new, ToString::to_string);
        worker.complaints.say(reason, || {
            tracing::warn!(peer = %address, reason = reason.word(), "connection refused: {why}");
        });
    }
    None
}

/// The reason a failed handshake is counted under; none for a peer that only went away, as port scanners and health
/// checks do.
fn reason(failure: &HandshakeFailure) -> Option<Reason> {
    match failure {
        HandshakeFailure::Plaintext => Some(Reason::Plaintext),
        HandshakeFailure::NoCertificate => Some(Reason::NoCertificate),
        HandshakeFailure::UntrustedCertificate => Some(Reason::UntrustedCertificate),
        HandshakeFailure::ExpiredCertificate => Some(Reason::ExpiredCertificate),
        HandshakeFailure::NotYetValid => Some(Reason::CertificateNotYetValid),
        HandshakeFailure::WrongIdentity { .. }
        | HandshakeFailure::BadIdentity(_)
        | HandshakeFailure::WrongName { .. } => Some(Reason::WrongIdentity),
        HandshakeFailure::NoCommonProtocol
        | HandshakeFailure::PeerRefused(_)
        | HandshakeFailure::Protocol => Some(Reason::HandshakeProtocol),
        HandshakeFailure::NotReady => Some(Reason::NotReady),
        HandshakeFailure::Closed | HandshakeFailure::Io => None,
    }
}

/// The application's port the peer wants, by its server name.
pub(super) fn wanted_port(
    worker: &Worker,
    stream: &PeerStream,
    address: SocketAddr,
) -> Option<Rc<InboundPort>> {
    let wanted = stream.sni().and_then(mesh_mtls::port_of_sni);
    let found = wanted.and_then(|port| worker.inbound_ports.of(worker, port));
    if found.is_none() {
        worker.recorder.refused(Direction::Inbound, Reason::UnknownInboundPort);
        let (sni, identity) = (stream.sni().unwrap_or("none"), stream.peer());
        worker.complaints.say(Reason::UnknownInboundPort, || {
            let reason = Reason::UnknownInboundPort.word();
            tracing::warn!(peer = %address, %identity, sni, reason, "connection refused: the workload has not \
                           announced this port; start the sidecar with --inbound PORT to serve it");
        });
    }
    found
}

/// Serves HTTP/2, many requests at once.
pub(super) async fn serve_http2<IO>(downstream: &Rc<Downstream>, stream: IO, hop: Hop)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let connections = &downstream.worker.shared.config.families.connections;
    let _open = connections.open(Direction::Inbound, Side::Downstream, ConnectionProtocol::Http2);
    let context = downstream.clone();
    let drain = &downstream.worker.shared.config.drain;
    let answer = |request| super::request(context.clone(), request);
    if let Err(error) = http2::serve(stream, hop, drain.draining(), answer).await {
        tracing::debug!(%error, "downstream connection ended");
    }
}

/// Serves HTTP/1.1: on a connection made for one upgrade, or captured plaintext.
pub(super) async fn serve_http1<IO>(downstream: &Rc<Downstream>, stream: IO)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connections = &downstream.worker.shared.config.families.connections;
    let _open = connections.open(Direction::Inbound, Side::Downstream, ConnectionProtocol::Http1);
    let context = downstream.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let context = context.clone();
        async move {
            let mut response = super::request(context.clone(), request.map(WireBody::Http1)).await;
            context.worker.shared.config.say_last(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let io = Explained::new(Watched::new(stream, &downstream.activity), downstream.activity.owed());
    let connection = settings::http1_server().serve_connection(TokioIo::new(io), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let drain = &downstream.worker.shared.config.drain;
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = downstream.activity.overdue() => return,
        () = drain.draining() => {
            if !downstream.worker.shared.config.handed_over.is_draining() {
                connection.as_mut().graceful_shutdown();
            }
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "downstream connection ended");
    }
    if let Some(reason) = downstream.activity.owed().refused() {
        downstream.worker.recorder.refused(Direction::Inbound, reason);
    }
}
