//! Why a request, a connection or a handshake was turned away: the closed list of reasons and the one table that says
//! what each means to the other side (HTTP status, gRPC code), to metrics (the word), to a person (whose fault) and to
//! the retry loop. What enters is a decision made elsewhere; what leaves is a [`Refusal`] that `http::reply` turns into
//! an answer. Nothing here is sent, counted or logged.

use std::borrow::Cow;
use std::error::Error;
use std::rc::Rc;

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

const fn row(
    word: &'static str,
    status: u16,
    grpc: GrpcCode,
    fault: Fault,
    again: Again,
    sentence: &'static str,
) -> Row {
    Row { word, status, grpc, fault, again, sentence }
}

impl Reason {
    /// Every reason, in the order of the enum; [`Reason::index`] is the place in it.
    pub const ALL: [Self; 39] = [
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
    ];

    /// Its place in [`Reason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The stable word.
    pub const fn word(self) -> &'static str {
        self.row().word
    }

    /// What it means to everybody.
    ///
    /// 502 is for an upstream that failed, 503 for one that can't be asked now, 504 for one that was too slow, 500 for
    /// manifests that can't work (Gateway API asks for it). Whatever keeps a backend from being reached is
    /// `UNAVAILABLE` in gRPC, so that clients back off and retry.
    pub const fn row(self) -> Row {
        use Again::{MaybeProcessed, Never, Unprocessed};
        use Fault::{Configuration, Downstream, Mesh, Upstream};
        use GrpcCode::{
            Cancelled, DeadlineExceeded, Internal, PermissionDenied, ResourceExhausted, Unauthenticated,
            Unavailable, Unimplemented,
        };
        match self {
            Self::UnknownHost => row(
                "unknown_host",
                502,
                Unavailable,
                Downstream,
                Never,
                "the host names no service of the mesh",
            ),
            Self::UnknownPort => {
                row("unknown_port", 502, Unavailable, Downstream, Never, "the service has no such port")
            }
            Self::NoRoute => {
                row("no_route", 404, Unimplemented, Configuration, Never, "no route fits the request")
            }
            Self::InvalidBackend => row(
                "invalid_backend",
                500,
                Internal,
                Configuration,
                Never,
                "the route has no backend that works",
            ),
            Self::NoEndpoints => {
                row("no_endpoints", 503, Unavailable, Upstream, Never, "the service has no endpoints")
            }
            Self::NoHealthyEndpoint => {
                row("no_healthy_endpoint", 503, Unavailable, Upstream, Never, "no endpoint takes traffic")
            }
            Self::ConnectRefused => row(
                "connect_refused",
                502,
                Unavailable,
                Upstream,
                Unprocessed,
                "the endpoint refused the connection",
            ),
            Self::ConnectTimeout => row(
                "connect_timeout",
                504,
                Unavailable,
                Upstream,
                Unprocessed,
                "the endpoint did not accept the connection in time",
            ),
            Self::ConnectFailed => row(
                "connect_failed",
                502,
                Unavailable,
                Upstream,
                Unprocessed,
                "the endpoint could not be reached",
            ),
            Self::HandshakeFailed => row(
                "handshake_failed",
                502,
                Unavailable,
                Mesh,
                Unprocessed,
                "mutual TLS with the endpoint failed",
            ),
            Self::IdentityMismatch => row(
                "identity_mismatch",
                502,
                Unavailable,
                Mesh,
                Unprocessed,
                "the endpoint could not prove the expected identity",
            ),
            Self::RequestTimeout => row(
                "request_timeout",
                504,
                DeadlineExceeded,
                Upstream,
                Never,
                "the request took longer than its route allows",
            ),
            Self::AttemptTimeout => row(
                "attempt_timeout",
                504,
                DeadlineExceeded,
                Upstream,
                MaybeProcessed,
                "the endpoint took longer than the route allows for one attempt",
            ),
            Self::UpstreamReset => row(
                "upstream_reset",
                502,
                Unavailable,
                Upstream,
                MaybeProcessed,
                "the endpoint reset the request",
            ),
            Self::UpstreamClosed => row(
                "upstream_closed",
                502,
                Unavailable,
                Upstream,
                MaybeProcessed,
                "the endpoint closed the connection before it answered",
            ),
            Self::UpstreamProtocol => row(
                "upstream_protocol",
                502,
                Internal,
                Upstream,
                Never,
                "the endpoint's answer is not valid HTTP",
            ),
            Self::QueueFull => row(
                "queue_full",
                503,
                ResourceExhausted,
                Upstream,
                Never,
                "too many requests wait for this service",
            ),
            Self::HeadersTooLarge => row(
                "headers_too_large",
                431,
                ResourceExhausted,
                Downstream,
                Never,
                "the request's head is too large",
            ),
            Self::UriTooLong => row(
                "uri_too_long",
                414,
                ResourceExhausted,
                Downstream,
                Never,
                "the request's target is too long",
            ),
            Self::BadRequest => {
                row("bad_request", 400, Internal, Downstream, Never, "the request is not valid HTTP")
            }
            Self::HeaderTimeout => row(
                "header_timeout",
                408,
                DeadlineExceeded,
                Downstream,
                Never,
                "the request's head did not arrive in time",
            ),
            Self::DiscoveryTimeout => row(
                "discovery_timeout",
                503,
                Unavailable,
                Mesh,
                Never,
                "the control plane has not said yet where this service is",
            ),
            Self::NotReady => row("not_ready", 503, Unavailable, Mesh, Never, "the sidecar is not ready yet"),
            Self::Draining => {
                row("draining", 503, Unavailable, Mesh, Unprocessed, "the sidecar is shutting down")
            }
            Self::LoopDetected => row(
                "loop_detected",
                508,
                Internal,
                Configuration,
                Never,
                "the service leads back to this sidecar's own listener",
            ),
            Self::MethodNotSupported => row(
                "method_not_supported",
                501,
                Unimplemented,
                Downstream,
                Never,
                "the method is not supported here",
            ),
            Self::Plaintext => {
                row("plaintext", 400, Unauthenticated, Downstream, Never, "mutual TLS is required")
            }
            Self::UntrustedCertificate => row(
                "untrusted_certificate",
                403,
                Unauthenticated,
                Downstream,
                Never,
                "the certificate is not from this mesh's authority",
            ),
            Self::ExpiredCertificate => row(
                "expired_certificate",
                403,
                Unauthenticated,
                Downstream,
                Never,
                "the certificate has expired",
            ),
            Self::CertificateNotYetValid => row(
                "certificate_not_yet_valid",
                403,
                Unauthenticated,
                Downstream,
                Never,
                "the certificate is not valid yet",
            ),
            Self::WrongIdentity => row(
                "wrong_identity",
                403,
                PermissionDenied,
                Downstream,
                Never,
                "the identity is not allowed here",
            ),
            Self::NoCertificate => row(
                "no_certificate",
                403,
                Unauthenticated,
                Downstream,
                Never,
                "a client certificate is required",
            ),
            Self::HandshakeProtocol => {
                row("handshake_protocol", 400, Unauthenticated, Downstream, Never, "the TLS handshake failed")
            }
            Self::HandshakeTimeout => row(
                "handshake_timeout",
                408,
                DeadlineExceeded,
                Downstream,
                Never,
                "the TLS handshake took too long",
            ),
            Self::UnknownInboundPort => row(
                "unknown_inbound_port",
                502,
                Unavailable,
                Configuration,
                Never,
                "the workload has not announced this port",
            ),
            Self::AppRefused => row(
                "app_refused",
                502,
                Unavailable,
                Upstream,
                Unprocessed,
                "the application refuses connections on its port",
            ),
            Self::AppTimeout => row(
                "app_timeout",
                504,
                Unavailable,
                Upstream,
                Unprocessed,
                "the application did not accept the connection in time",
            ),
            Self::AppClosed => row(
                "app_closed",
                502,
                Unavailable,
                Upstream,
                MaybeProcessed,
                "the application closed the connection before it answered",
            ),
            Self::DownstreamClosed => row(
                "downstream_closed",
                499,
                Cancelled,
                Downstream,
                Never,
                "the caller went away before it had its answer",
            ),
        }
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
}

impl Refusal {
    /// A refusal with its reason's own sentence.
    pub fn new(reason: Reason) -> Self {
        Self { reason, sentence: Cow::Borrowed(reason.row().sentence), source: None }
    }

    /// A refusal with a sentence of its own.
    pub fn because(reason: Reason, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, sentence: sentence.into(), source: None }
    }

    /// Adds what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Error + 'static) -> Self {
        self.source = Some(Rc::new(source));
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
