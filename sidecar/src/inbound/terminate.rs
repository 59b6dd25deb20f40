//! Mutual TLS ends here: the handshake with its deadline, why it failed if it did, and which port the peer wants.

use super::port::InboundPort;
use crate::connect::tune;
use crate::deadline;
use crate::refusal::Reason;
use crate::telemetry::Direction;
use crate::worker::Worker;
use mesh_mtls::{HandshakeFailure, ServerStream};
use std::net::SocketAddr;
use std::rc::Rc;
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
