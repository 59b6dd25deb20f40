//! How requests are attempted, as people write it in a TrafficPolicy and as the control plane reads it: timeouts, retries,
//! hedging. The only part of a policy that may be for a route.

use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// How long a request may take, and each part of it. Nothing is limited by default but connecting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimeoutsSpec {
    /// From the last byte of the request's head to the last byte of the response, retries and pauses included; up to 24h, `0s`
    /// is no limit. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The same for one attempt, from its start; up to 24h and at most `request`, `0s` is no limit. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<String>,
    /// From the last byte that passed, of the request or the response, to the next; up to 24h, `0s` is no limit. Default: no
    /// limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    /// From the moment an attempt needs a connection that is not there until it is open, TLS included; 1ms to 15s. For Services
    /// alone. Default: 5s for the connection and 10s for TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
}

/// Which failed attempts are made again, on another instance if there is one. Without it: twice, what was never processed,
/// whatever its method, and what may have been if its method is idempotent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RetrySpec {
    /// Further attempts after the first, 0 to 100; 0 is no retry of any kind. What was never processed is tried twice more
    /// at least. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,
    /// Failures without an answer that are retried: `ConnectFailure`, `RefusedStream`, `Reset`, `Timeout` (of one attempt).
    /// Default: all four.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Vec<RetryOn>>,
    /// Statuses of answers that are retried, 400 to 599. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<i32>,
    /// gRPC statuses of answers without a message that are retried, whatever the method: a gRPC call is always a POST.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grpc_statuses: Vec<GrpcStatus>,
    /// Methods that are retried though they may have been processed already. Naming POST or PATCH means that the application
    /// can bear them twice. Default: those that are idempotent (RFC 9110): GET, HEAD, OPTIONS, PUT, DELETE, TRACE.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The pause before a retry: a random part of a time that doubles with each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffSpec>,
    /// An answer's `Retry-After` is waited for if it is at most this, up to 5m; if it is more, there is no retry. `0s`: it is
    /// not looked at. Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retry_after: Option<String>,
    /// How many retries a sidecar's worker may make. Default: 20 percent, and 10 a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetSpec>,
}

/// The pause before a retry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BackoffSpec {
    /// The longest first pause, 1ms to 1m. Default: 25ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The longest pause at all, 1ms to 10m. Default: ten times the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
}

/// How many further attempts there may be within any ten seconds, counted by each worker of each sidecar for each Service it
/// sends to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BudgetSpec {
    /// This share of the requests, in percent, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// And this many a second on top, for Services with few requests, 0 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_per_second: Option<i32>,
}

/// A second attempt on another instance when the first has not answered for twice as long as usual. The first answer
/// counts, the other attempt is cancelled. Only requests whose method is idempotent and whose body, if any, is at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HedgingSpec {
    /// What is usual: this percentile of the latencies of the last 10 to 20 seconds, 50 to 99. Default: 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<i32>,
    /// The first attempt is given this long at least, 1ms to 1m. Default: 1ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_delay: Option<String>,
    /// How many second attempts there may be. Default: 5 percent, and none on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetSpec>,
}

/// A failure without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum RetryOn {
    /// No connection could be made.
    ConnectFailure,
    /// The instance, or the sidecar beside it, says that it has not processed the request.
    RefusedStream,
    /// The connection or the stream broke before the answer.
    Reset,
    /// The attempt took longer than `timeouts.backendRequest`.
    Timeout,
}

/// A gRPC status that is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[repr(u8)]
pub enum GrpcStatus {
    /// 1
    Cancelled = 1,
    /// 2
    Unknown = 2,
    /// 3
    InvalidArgument = 3,
    /// 4
    DeadlineExceeded = 4,
    /// 5
    NotFound = 5,
    /// 6
    AlreadyExists = 6,
    /// 7
    PermissionDenied = 7,
    /// 8
    ResourceExhausted = 8,
    /// 9
    FailedPrecondition = 9,
    /// 10
    Aborted = 10,
    /// 11
    OutOfRange = 11,
    /// 12
    Unimplemented = 12,
    /// 13
    Internal = 13,
    /// 14
    Unavailable = 14,
    /// 15
    DataLoss = 15,
    /// 16
    Unauthenticated = 16,
}

/// How long a request may take. None: not said; zero: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's head to the response's end.
    pub request: Option<Duration>,
    /// The same for one attempt.
    pub attempt: Option<Duration>,
    /// From a byte to the next.
    pub idle: Option<Duration>,
    /// Until a connection is open; never zero, and only where a Service is the target.
    pub connect: Option<Duration>,
}

/// Which failed attempts are made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Further attempts after the first.
    pub attempts: Option<u32>,
    /// Failures without an answer, each once; none: all.
    pub failures: Option<Vec<RetryOn>>,
    /// Statuses, each once.
    pub statuses: Vec<u16>,
    /// gRPC statuses, each once.
    pub grpc_statuses: Vec<GrpcStatus>,
    /// Methods that may be sent twice, in capitals; empty: those that are idempotent.
    pub methods: Vec<String>,
    /// The longest first pause.
    pub backoff: Option<Duration>,
    /// The longest pause.
    pub backoff_most: Option<Duration>,
    /// How long `Retry-After` is waited for; zero: it is not looked at.
    pub retry_after_most: Option<Duration>,
    /// How many retries there may be.
    pub budget: Budget,
}

/// How many further attempts there may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// In percent of the requests.
    pub percent: Option<u32>,
    /// In attempts a second.
    pub least_per_second: Option<u32>,
}

/// A second attempt when the first takes long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hedging {
    /// Which percentile is usual.
    pub percentile: Option<NonZeroU32>,
    /// What is never too long.
    pub least_delay: Option<Duration>,
    /// How many there may be.
    pub budget: Budget,
}
