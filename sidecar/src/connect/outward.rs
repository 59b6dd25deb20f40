//! TLS with a place outside of the mesh, begun on behalf of an application. What enters is a TCP connection and what the
//! ExternalService says of the place; what leaves is a stream, or a refusal that says what did not fit.

use super::{Link, Place, Security, reach};
use crate::deadline;
use crate::pool::Wire;
use crate::refusal::{Reason, Refusal};
use crate::worker::Worker;
use mesh_mtls::{Alpn, Anchors, HandshakeFailure, Offer, OutwardError, OutwardStream};
use std::sync::Arc;
use tokio::net::TcpStream;

/// Who a place outside must prove to be, and who may vouch for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Outward {
    /// A host name, or an address.
    pub(crate) name: Box<str>,
    /// Whom we trust.
    pub(crate) anchors: Anchors,
}

/// What is offered to a place when this is to be spoken.
pub(super) fn offer(alpn: Alpn) -> Offer {
    match alpn {
        Alpn::H2 => Offer::Http2,
        Alpn::Http1 => Offer::Http1,
        Alpn::Tcp => Offer::Opaque,
    }
}

/// Opens a connection for HTTP, of the version the place chooses.
///
/// # Errors
/// A refusal that says which step failed.
pub(crate) async fn open_http(worker: &Worker, place: &Place) -> Result<(Link, Wire), Refusal> {
    let tcp = reach(worker, place).await?;
    let Security::Tls(outward) = &place.security else { return Ok((Link::Plain(tcp), Wire::Http1)) };
    let stream = handshake(worker, outward, tcp, Offer::Http).await?;
    let wire = if stream.alpn() == Some(Alpn::H2) { Wire::Http2 } else { Wire::Http1 };
    Ok((Link::Outward(Box::new(stream)), wire))
}

/// TLS on `tcp`.
///
/// # Errors
/// `upstream_certificate` with what did not fit, `invalid_backend` where nobody can be verified, `handshake_failed`.
pub(super) async fn handshake(
    worker: &Worker,
    outward: &Arc<Outward>,
    tcp: TcpStream,
    offer: Offer,
) -> Result<OutwardStream<TcpStream>, Refusal> {
    let shared = &worker.shared;
    let connections = &shared.config.families.connections;
    let handshake = shared.outward.connect(tcp, &outward.name, &outward.anchors, offer);
    match tokio::time::timeout(deadline::HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => {
            connections.external_handshake("ok");
            Ok(stream)
        }
        Ok(Err(error)) => {
            let (result, refusal) = judge(outward, error);
            connections.external_handshake(result);
            Err(refusal)
        }
        Err(_elapsed) => {
            connections.external_handshake("timeout");
            let sentence = format!("TLS with `{}` took too long", outward.name);
            Err(Refusal::because(Reason::HandshakeFailed, sentence))
        }
    }
}

/// The metric's label, and the refusal, with words that say what did not fit.
fn judge(outward: &Outward, error: OutwardError) -> (&'static str, Refusal) {
    let name = &outward.name;
    let (result, reason, sentence) = match &error {
        OutwardError::Anchors(problem) => {
            let sentence = format!("the TLS certificate of `{name}` cannot be verified: {problem}");
            ("no_trust", Reason::InvalidBackend, sentence)
        }
        OutwardError::Name(_) => {
            let sentence = format!("`{name}` can be no server's name: set `tls.originate.sni`");
            ("bad_name", Reason::InvalidBackend, sentence)
        }
        OutwardError::Handshake(error) => {
            let failure = error.failure();
            let reason = match failure {
                HandshakeFailure::WrongName { .. }
                | HandshakeFailure::UntrustedCertificate
                | HandshakeFailure::ExpiredCertificate
                | HandshakeFailure::NotYetValid => Reason::UpstreamCertificate,
                HandshakeFailure::Plaintext
                | HandshakeFailure::NoCertificate
                | HandshakeFailure::WrongIdentity { .. }
                | HandshakeFailure::BadIdentity(_)
                | HandshakeFailure::NoCommonProtocol
                | HandshakeFailure::PeerRefused(_)
                | HandshakeFailure::Protocol
                | HandshakeFailure::Closed
                | HandshakeFailure::Io
                | HandshakeFailure::NotReady => Reason::HandshakeFailed,
            };
            (failure.label(), reason, words(outward, failure))
        }
    };
    (result, Refusal::because(reason, sentence).caused_by(error))
}

fn words(outward: &Outward, failure: &HandshakeFailure) -> String {
    let name = &outward.name;
    match failure {
        HandshakeFailure::WrongName { .. } => format!(
            "the certificate of `{name}` is not for that name: set `tls.originate.sni` to one that it is for"
        ),
        HandshakeFailure::UntrustedCertificate => {
            let (who, mend) = match outward.anchors {
                Anchors::System => {
                    ("an authority this machine trusts", "give its CA in `tls.originate.caBundle`")
                }
                Anchors::File(_) | Anchors::Certificates(_) => {
                    ("the CA certificates in `tls.originate.caBundle`", "compare them with its issuer")
                }
            };
            format!("the certificate of `{name}` is not issued by {who}: {mend}")
        }
        HandshakeFailure::ExpiredCertificate => {
            format!("the certificate of `{name}` has expired; if it has not, this machine's clock is wrong")
        }
        HandshakeFailure::NotYetValid => {
            format!("the certificate of `{name}` is not valid yet; if it is, this machine's clock is wrong")
        }
        HandshakeFailure::Plaintext => format!("`{name}` does not speak TLS on this port: see `targetPort`"),
        HandshakeFailure::NoCommonProtocol => {
            format!("`{name}` does not agree to the HTTP version asked for: see the port's `protocol`")
        }
        HandshakeFailure::PeerRefused(alert) => format!("`{name}` refused the TLS connection: {alert}"),
        HandshakeFailure::NoCertificate
        | HandshakeFailure::WrongIdentity { .. }
        | HandshakeFailure::BadIdentity(_)
        | HandshakeFailure::Protocol
        | HandshakeFailure::Closed
        | HandshakeFailure::Io
        | HandshakeFailure::NotReady => format!("TLS with `{name}` failed"),
    }
}
