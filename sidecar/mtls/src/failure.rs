//! Why a handshake failed, in terms an operator can act on. Made from what the TLS library reports; where the data
//! goes next: a metric label ([`HandshakeFailure::label`]) and a sentence (`Display`).

use crate::Alert;
use mesh_names::{NameError, SpiffeId, TrustDomain};
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use std::io;
use std::sync::Arc;

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFailure {
    /// The peer does not speak TLS.
    #[error("the peer speaks plaintext where mutual TLS is required: let it connect through its own sidecar")]
    Plaintext,
    /// The peer showed no certificate.
    #[error("the peer shows no certificate: let it connect through its own sidecar")]
    NoCertificate,
    /// The peer's certificate was not issued under our trust bundle, or not for this purpose.
    #[error(
        "the peer's certificate is not issued under our trust bundle: compare the CA certificates of both sides"
    )]
    UntrustedCertificate,
    /// The peer's certificate was valid once.
    #[error("the peer's certificate has expired: see why the peer did not renew it, and compare clocks")]
    ExpiredCertificate,
    /// The peer's certificate is of the future.
    #[error("the peer's certificate is not valid yet: compare the clocks of both machines")]
    NotYetValid,
    /// The peer proved to be somebody else.
    #[error("the peer is {presented}, not {expected}: another workload answers at this address")]
    WrongIdentity {
        /// Who was to be reached.
        expected: SpiffeId,
        /// Who answered.
        presented: SpiffeId,
    },
    /// The server's certificate is not for the host name it was reached by.
    #[error("the server's certificate is not for the name {expected}")]
    WrongName {
        /// The name it was reached by.
        expected: String,
    },
    /// The peer's certificate is trusted but names no workload of this mesh.
    #[error("the peer's certificate names no workload of this mesh: {0}")]
    BadIdentity(BadIdentity),
    /// No application protocol in common.
    #[error("the peer offers none of the application protocols spoken here")]
    NoCommonProtocol,
    /// The peer refused and said why with this alert.
    #[error("the peer refused the connection with the TLS alert {0}: its log says more")]
    PeerRefused(Alert),
    /// The peer broke the TLS protocol, or speaks a version older than TLS 1.3.
    #[error("the peer breaks the TLS 1.3 protocol or does not speak it")]
    Protocol,
    /// The peer closed the connection before the handshake was done.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// The network failed.
    #[error("the connection failed during the handshake")]
    Io,
    /// We have no certificate of our own yet.
    #[error("this process has no certificate yet: it asks the control plane for one")]
    NotReady,
}

/// Why a trusted certificate names no workload of this mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// No URI among its names.
    #[error("it has no URI name, so no SPIFFE ID")]
    NoUri,
    /// More than one URI: which of them is the identity would be a guess (X509-SVID §2).
    #[error("it has {0} URI names, exactly one is allowed")]
    SeveralUris(usize),
    /// One URI, which is not of the form the mesh issues.
    #[error("{0}")]
    NotSpiffe(NameError),
    /// A SPIFFE ID of somebody else's trust domain.
    #[error("it belongs to the trust domain {presented}, not {expected}")]
    ForeignTrustDomain {
        /// Ours.
        expected: TrustDomain,
        /// The certificate's.
        presented: TrustDomain,
    },
    /// Its names can't be read.
    #[error("its names can't be read")]
    Unreadable,
}

/// A failed handshake: why, and what the TLS library or the network said.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct HandshakeError {
    failure: HandshakeFailure,
    source: Option<io::Error>,
}

impl HandshakeError {
    /// Why.
    pub fn failure(&self) -> &HandshakeFailure {
        &self.failure
    }

    /// Gives away why.
    pub fn into_failure(self) -> HandshakeFailure {
        self.failure
    }
}

impl From<HandshakeFailure> for HandshakeError {
    fn from(failure: HandshakeFailure) -> Self {
        Self { failure, source: None }
    }
}

impl From<io::Error> for HandshakeError {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "another crate's enum: what is not named is of one kind"
    )]
    fn from(error: io::Error) -> Self {
        let failure = HandshakeFailure::of_stream_error(&error).unwrap_or(match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                HandshakeFailure::Closed
            }
            _ => HandshakeFailure::Io,
        });
        Self { failure, source: Some(error) }
    }
}

impl HandshakeFailure {
    /// A short stable name for metrics and the `outrigger-reason` header.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::NoCertificate => "no_certificate",
            Self::UntrustedCertificate => "untrusted_certificate",
            Self::ExpiredCertificate => "expired_certificate",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongIdentity { .. } => "wrong_identity",
            Self::WrongName { .. } => "wrong_name",
            Self::BadIdentity(_) => "bad_identity",
            Self::NoCommonProtocol => "no_common_protocol",
            Self::PeerRefused(_) => "peer_refused",
            Self::Protocol => "tls_protocol",
            Self::Closed => "handshake_closed",
            Self::Io => "handshake_io",
            Self::NotReady => "not_ready",
        }
    }

    /// Why TLS broke a stream, if TLS did and not the network. In TLS 1.3 a client has finished its handshake before
    /// the server judges the client's certificate, so a refusal reaches the client as an error of its first read:
    /// this tells it from a lost connection.
    pub fn of_stream_error(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<rustls::Error>().map(Self::of_tls)
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "another crate's enum: what is not named is of one kind"
    )]
    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::Error;
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::Plaintext,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::NoApplicationProtocol | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                Self::NoCommonProtocol
            }
            Error::AlertReceived(description) => Self::PeerRefused((*description).into()),
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            _ => Self::Protocol,
        }
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "another crate's enum: what is not named is of one kind"
    )]
    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::ExpiredCertificate,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForNameContext { expected, .. } => {
                Self::WrongName { expected: expected.to_str().into_owned() }
            }
            CertificateError::NotValidForName => Self::WrongName { expected: String::new() },
            CertificateError::Other(other) => {
                other.0.downcast_ref::<Self>().cloned().unwrap_or(Self::UntrustedCertificate)
            }
            _ => Self::UntrustedCertificate,
        }
    }

    /// As an error of the verification, which comes back from the handshake as this same failure.
    #[allow(clippy::wildcard_enum_match_arm, reason = "all but three travel as they are")]
    pub(crate) fn into_tls(self) -> rustls::Error {
        match self {
            Self::ExpiredCertificate => CertificateError::Expired,
            Self::NotYetValid => CertificateError::NotValidYet,
            Self::UntrustedCertificate => CertificateError::UnknownIssuer,
            other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
        }
        .into()
    }
}
