//! THE table: what each reason means to the other side, to metrics and to the retry loop. One row per reason, held
//! complete by an exhaustive match.

use super::{Again, Fault, GrpcCode, Reason, Row};

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
                "the request took longer than it may, or than its caller waits",
            ),
            Self::AttemptTimeout => row(
                "attempt_timeout",
                504,
                DeadlineExceeded,
                Upstream,
                MaybeProcessed,
                "the endpoint took longer than one attempt may",
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
                "the request's head is too large: at most 64 KiB, and in HTTP/1.1 100 fields",
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
            Self::EgressRefused => row(
                "egress_refused",
                502,
                PermissionDenied,
                Configuration,
                Never,
                "the mesh does not know this place, and only registered places may be called",
            ),
            Self::UnknownAddress => row(
                "unknown_address",
                502,
                Unavailable,
                Downstream,
                Never,
                "the virtual address belongs to no service: it was deleted, or never existed",
            ),
            Self::NameNotResolved => row(
                "name_not_resolved",
                502,
                Unavailable,
                Upstream,
                Never,
                "the place's name could not be looked up by DNS",
            ),
            Self::UpstreamCertificate => row(
                "upstream_certificate",
                502,
                Unavailable,
                Upstream,
                Unprocessed,
                "the place outside of the mesh could not prove who it is",
            ),
            Self::ConnectionLimit => row(
                "connection_limit",
                503,
                ResourceExhausted,
                Upstream,
                Never,
                "as many connections to this service are open as its TrafficPolicy allows",
            ),
            Self::RequestLimit => row(
                "request_limit",
                503,
                ResourceExhausted,
                Upstream,
                Never,
                "as many requests to this service are under way and wait as its TrafficPolicy allows",
            ),
            Self::PendingTimeout => row(
                "pending_timeout",
                503,
                ResourceExhausted,
                Upstream,
                Never,
                "the request has waited for its turn as long as the service's TrafficPolicy allows",
            ),
            Self::ConcurrencyLimit => row(
                "concurrency_limit",
                503,
                ResourceExhausted,
                Upstream,
                Never,
                "as many requests are under way and wait here as the TrafficPolicy allows",
            ),
            Self::ConcurrencyTimeout => row(
                "concurrency_timeout",
                503,
                ResourceExhausted,
                Upstream,
                Never,
                "the request has waited here for its turn as long as the TrafficPolicy allows",
            ),
            Self::RateLimited => row(
                "rate_limited",
                429,
                ResourceExhausted,
                Downstream,
                Never,
                "more requests came than the TrafficPolicy allows",
            ),
            Self::FaultInjected => row(
                "fault_injected",
                503,
                Unavailable,
                Configuration,
                Never,
                "a TrafficPolicy asks for requests to fail",
            ),
            Self::IdleTimeout => row(
                "idle_timeout",
                504,
                DeadlineExceeded,
                Upstream,
                Never,
                "no byte of the request or its response passed for longer than is allowed",
            ),
        }
    }
}
