//! Why a request, a connection or a handshake was turned away: the closed list of reasons and the one table that says
//! what each means to the other side (HTTP status, gRPC code), to metrics (the word), to a person (whose fault) and to
//! the retry loop. What enters is a decision made elsewhere; what leaves is a [`Refusal`] that `http::reply` turns into
//! an answer. Nothing here is sent, counted or logged.

mod table;

use std::borrow::Cow;
use std::error::Error;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

/// Why. The word of each is stable: it stands in the `outrigger-reason` header, in metrics, logs and traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The host names no service of the mesh.
    UnknownHost,
    /// The service exists, the port does not.
    UnknownPort,
    /// The service has routes and none fits the request.
    NoRoute,
    /// The route's backend can't work as it is written.
    InvalidBackend,
    /// The backend has no endpoint at all.
    NoEndpoints,
    /// The backend has endpoints, none of which takes traffic.
    NoHealthyEndpoint,
    /// The endpoint refused the TCP connection.
    ConnectRefused,
    /// The endpoint did not accept in time.
    ConnectTimeout,
    /// The connection failed in another way: unreachable, reset.
    ConnectFailed,
    /// Mutual TLS with the endpoint failed.
    HandshakeFailed,
    /// The endpoint proved to be somebody else.
    IdentityMismatch,
    /// The route's request timeout ran out.
    RequestTimeout,
    /// The route's timeout for one attempt ran out on the last attempt.
    AttemptTimeout,
    /// The endpoint reset the stream or the connection.
    UpstreamReset,
    /// The endpoint closed the connection before it answered.
    UpstreamClosed,
    /// The endpoint answered in something that is not HTTP.
    UpstreamProtocol,
    /// Too many requests wait for this service.
    QueueFull,
    /// The request's head is larger than allowed.
    HeadersTooLarge,
    /// The request's target is longer than allowed.
    UriTooLong,
    /// The request breaks HTTP.
    BadRequest,
    /// The other side did not send its request's head in time.
    HeaderTimeout,
    /// The control plane did not tell about the service in time.
    DiscoveryTimeout,
    /// The sidecar has no configuration or no certificate yet.
    NotReady,
    /// The sidecar is shutting down.
    Draining,
    /// The endpoint is this sidecar's own listener.
    LoopDetected,
    /// The method is not supported here: CONNECT to something that is not a service.
    MethodNotSupported,
    /// The peer spoke in the clear to the mutual-TLS port.
    Plaintext,
    /// The peer's certificate is from another authority.
    UntrustedCertificate,
    /// The peer's certificate has expired.
    ExpiredCertificate,
    /// The peer's certificate is not valid yet.
    CertificateNotYetValid,
    /// The peer's identity is not one that may be here.
    WrongIdentity,
    /// The peer showed no certificate.
    NoCertificate,
    /// The peer's handshake broke TLS.
    HandshakeProtocol,
    /// The peer's handshake took too long.
    HandshakeTimeout,
    /// The peer asked for a port that the workload has not announced.
    UnknownInboundPort,
    /// The local application refuses connections on its port.
    AppRefused,
    /// The local application did not accept in time.
    AppTimeout,
    /// The local application closed or reset the connection before it answered.
    AppClosed,
    /// The downstream went away before it had its answer.
    DownstreamClosed,
    /// The mesh does not know the place, and only registered ones may be called.
    EgressRefused,
    /// The virtual address belongs to no service.
    UnknownAddress,
    /// DNS knows no address of the place outside of the mesh, or can't be asked.
    NameNotResolved,
    /// The certificate of the place outside of the mesh does not fit.
    UpstreamCertificate,
    /// A TrafficPolicy's limit of connections to the service is reached.
    ConnectionLimit,
    /// A TrafficPolicy's limit of requests to the service is reached, and as many as may wait do.
    RequestLimit,
    /// The request has waited for its turn, under such a limit, as long as it may.
    PendingTimeout,
    /// The limit of requests at once at the application's port is reached, and others wait with more right.
    ConcurrencyLimit,
    /// The request has waited for its turn there as long as it may.
    ConcurrencyTimeout,
    /// More requests came than a TrafficPolicy's limit of the rate allows.
    RateLimited,
    /// A TrafficPolicy asks for requests to fail.
    FaultInjected,
    /// No byte of the request or its response passed for longer than is allowed.
    IdleTimeout,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Whoever sent the request.
    Downstream,
    /// Whoever wrote the manifests.
    Configuration,
    /// Whoever runs the service called.
    Upstream,
    /// This sidecar or its control plane.
    Mesh,
}

/// What the failure says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The request was never processed: any method may be sent again.
    Unprocessed,
    /// It may have been processed: only idempotent methods, or where the route asks for it.
    MaybeProcessed,
    /// Trying again changes nothing.
    Never,
}

/// gRPC status codes that answers of our own carry (<https://grpc.io/docs/guides/status-codes/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GrpcCode {
    /// CANCELLED
    Cancelled = 1,
    /// DEADLINE_EXCEEDED
    DeadlineExceeded = 4,
    /// PERMISSION_DENIED
    PermissionDenied = 7,
    /// RESOURCE_EXHAUSTED
    ResourceExhausted = 8,
    /// UNIMPLEMENTED
    Unimplemented = 12,
    /// INTERNAL
    Internal = 13,
    /// UNAVAILABLE
    Unavailable = 14,
    /// UNAUTHENTICATED
    Unauthenticated = 16,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The stable word.
    pub word: &'static str,
    /// The status of the HTTP answer.
    pub status: u16,
    /// The code of the gRPC answer.
    pub grpc: GrpcCode,
    /// Who has to act.
    pub fault: Fault,
    /// May it be retried.
    pub again: Again,
    /// The sentence used when the place of the failure has nothing more precise to say.
    pub sentence: &'static str,
}

impl Reason {
    /// Every reason, in the order of the enum; [`Reason::index`] is the place in it.
    pub const ALL: [Self; 51] = [
        Self::UnknownHost,
        Self::UnknownPort,
        Self::NoRoute,
        Self::InvalidBackend,
        Self::NoEndpoints,
        Self::NoHealthyEndpoint,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::HandshakeFailed,
        Self::IdentityMismatch,
        Self::RequestTimeout,
        Self::AttemptTimeout,
        Self::UpstreamReset,
        Self::UpstreamClosed,
        Self::UpstreamProtocol,
        Self::QueueFull,
        Self::HeadersTooLarge,
        Self::UriTooLong,
        Self::BadRequest,
        Self::HeaderTimeout,
        Self::DiscoveryTimeout,
        Self::NotReady,
        Self::Draining,
        Self::LoopDetected,
        Self::MethodNotSupported,
        Self::Plaintext,
        Self::UntrustedCertificate,
        Self::ExpiredCertificate,
        Self::CertificateNotYetValid,
        Self::WrongIdentity,
        Self::NoCertificate,
        Self::HandshakeProtocol,
        Self::HandshakeTimeout,
        Self::UnknownInboundPort,
        Self::AppRefused,
        Self::AppTimeout,
        Self::AppClosed,
        Self::DownstreamClosed,
        Self::EgressRefused,
        Self::UnknownAddress,
        Self::NameNotResolved,
        Self::UpstreamCertificate,
        Self::ConnectionLimit,
        Self::RequestLimit,
        Self::PendingTimeout,
        Self::ConcurrencyLimit,
        Self::ConcurrencyTimeout,
        Self::RateLimited,
        Self::FaultInjected,
        Self::IdleTimeout,
    ];

    /// Its place in [`Reason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The stable word.
    pub const fn word(self) -> &'static str {
        self.row().word
    }

    /// Whether a peer's sidecar did not let the request in by a limit: that says nothing of its application's health.
    pub const fn is_shed(self) -> bool {
        matches!(self, Self::ConcurrencyLimit | Self::ConcurrencyTimeout | Self::RateLimited)
    }
}

/// A failure as a step reports it: the reason, one sentence for the other side, and what caused it for the log.
///
/// The sentence never holds an upstream's address or certificate details: it leaves the machine.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What the other side reads.
    pub sentence: Cow<'static, str>,
    /// What caused it, for our own log.
    pub source: Option<Rc<dyn Error>>,
    /// What its answer is beyond its reason's row; boxed, as is what is rare.
    pub terms: Option<Box<Terms>>,
}

/// What one answer says otherwise than its reason's row, or beyond it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// The status of the HTTP answer, and the code of the gRPC answer.
    pub answer: Option<(u16, u8)>,
    /// When to come again, in seconds (RFC 9110 §10.2.3).
    pub retry_after: Option<NonZeroU32>,
}

impl Refusal {
    /// A refusal with its reason's own sentence.
    pub fn new(reason: Reason) -> Self {
        Self { reason, sentence: Cow::Borrowed(reason.row().sentence), source: None, terms: None }
    }

    /// A refusal with a sentence of its own.
    pub fn because(reason: Reason, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, sentence: sentence.into(), source: None, terms: None }
    }

    /// Adds what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Error + 'static) -> Self {
        self.source = Some(Rc::new(source));
        self
    }

    /// Says when to come again: in whole seconds, and never too early.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.terms.get_or_insert_default().retry_after = NonZeroU32::new(seconds.max(1));
        self
    }

    /// Is answered with this status and this gRPC code instead of its reason's.
    #[must_use]
    pub fn answered_as(mut self, status: u16, grpc: u8) -> Self {
        self.terms.get_or_insert_default().answer = Some((status, grpc));
        self
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason.word(), self.sentence)
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_word_and_a_place() {
        let words: HashSet<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason:?}");
            let row = reason.row();
            assert!(row.word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", row.word);
            assert!((400..600).contains(&row.status), "{reason:?}");
            assert!(!row.sentence.ends_with('.'), "{reason:?}");
        }
    }

    #[test]
    fn every_reason_is_explained_to_people() {
        let explained: Vec<_> = mesh_protocol::refusal::EXPLANATIONS.iter().map(|row| row.word).collect();
        let words: Vec<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(explained, words, "mesh_protocol::refusal has one row for each reason, in this order");
    }

    #[test]
    fn every_word_is_explained_to_people_and_no_other() {
        let words: HashSet<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        let explained: HashSet<_> = mesh_protocol::refusal::EXPLANATIONS.iter().map(|e| e.word).collect();
        assert_eq!(words, explained);
    }

    #[test]
    fn a_backend_that_is_down_is_unavailable_in_grpc() {
        for reason in [
            Reason::ConnectRefused,
            Reason::ConnectTimeout,
            Reason::NoEndpoints,
            Reason::NoHealthyEndpoint,
            Reason::AppRefused,
            Reason::UpstreamClosed,
        ] {
            assert_eq!(reason.row().grpc, GrpcCode::Unavailable, "{reason:?}");
        }
    }
}
