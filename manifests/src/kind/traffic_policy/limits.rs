//! Limits as people write them in a TrafficPolicy, and as the control plane reads them. The names are Envoy's where it
//! has one.

use crate::kind::route::Match;
use gateway_api::experimental::httproutes::HttpRouteRulesMatches;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// How much each calling sidecar has under way with the Service at most, all its workers together. What is more waits, or
/// is refused at once, so that one slow Service does not take all of a caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreakerSpec {
    /// Connections that carry one thing each: opaque bytes, upgrades, CONNECT. 1 to 1000000. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i32>,
    /// Requests under way, until the last byte of the answer. 1 to 1000000. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<i32>,
    /// Requests that wait while `maxRequests` are under way. 0 to 100000; at 0 none waits. Default: 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<i32>,
    /// How long one of them waits before it is refused, 1ms to 60s. Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_time: Option<String>,
    /// Requests that are being tried again, beside the retry budget. 0 to 1000000; at 0 none is. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i32>,
}

/// How many requests each instance's sidecar lets in at once, all callers together. What is more waits its turn, and the
/// caller that has least under way comes first, so that nobody is starved by another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConcurrencySpec {
    /// The limit, 1 to 1000000; with `adaptive` the most it may become, and then 1000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<i32>,
    /// The limit follows latency: it grows as long as more at once takes no longer. Default: it is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<AdaptiveSpec>,
    /// Requests that wait while the limit is reached. 0 to 10000; at 0 none waits. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<i32>,
    /// How long one of them waits before it is refused, 1ms to 60s. Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_time: Option<String>,
}

/// How a limit follows latency (a gradient: the usual latency by the latency now).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AdaptiveSpec {
    /// It never falls below, 1 to 1000000. Default: 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<i32>,
    /// Where it begins, 1 to 1000000. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_requests: Option<i32>,
    /// How much longer than usual requests may take before it falls, in percent, 100 to 1000. Default: 150.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<i32>,
    /// How long latencies are gathered before it changes, 100ms to 60s; and at least ten of them. Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

/// How often requests are let in by each instance's sidecar. What is more is answered with 429 at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RateLimitSpec {
    /// The limits, up to 16. A request needs a token of each that fits it; they are asked in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RateLimitRuleSpec>,
}

/// One limit: a bucket of tokens, or one for each client.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RateLimitRuleSpec {
    /// Requests it is for: those that fit any of these, as in an HTTPRoute. Default: every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<HttpRouteRulesMatches>,
    /// What has a bucket of its own. Default: all requests share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RateLimitKeySpec>,
    /// How many in each unit of time, 1 to 1000000.
    pub requests: i32,
    /// `Second`, `Minute` or `Hour`. Default: `Second`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<RateUnit>,
    /// How many at once after a pause: the tokens that the bucket holds, 1 to 1000000. Default: as many as `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<i32>,
}

/// What has a bucket of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RateLimitKeySpec {
    /// `ClientIdentity`: each SPIFFE ID that calls; callers in plain text share one. `Header`: each value of a header;
    /// requests without it share one.
    #[serde(rename = "type")]
    pub kind: RateLimitKeyType,
    /// The name of the header, for `Header` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// By what requests are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum RateLimitKeyType {
    /// By who calls.
    ClientIdentity,
    /// By a header.
    Header,
}

/// What a rate is measured in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum RateUnit {
    /// A second.
    #[default]
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

/// How much a caller has under way at most. What is `None` is the sidecar's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Connections that carry one thing each.
    pub connections: Option<NonZeroU32>,
    /// Requests.
    pub requests: Option<NonZeroU32>,
    /// Requests that wait.
    pub pending: Option<u32>,
    /// How long one waits.
    pub pending_time: Option<Duration>,
    /// Requests that are being tried again.
    pub retries: Option<u32>,
}

/// How many requests are let in at once. What is `None` is the sidecar's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Concurrency {
    /// The limit; where it adapts, the most it may become.
    pub requests: Option<NonZeroU32>,
    /// It follows latency; none: it is fixed.
    pub adaptive: Option<Adaptive>,
    /// Requests that wait.
    pub pending: Option<u32>,
    /// How long one waits.
    pub pending_time: Option<Duration>,
}

/// How a limit follows latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Adaptive {
    /// It never falls below.
    pub least: Option<NonZeroU32>,
    /// Where it begins.
    pub initial: Option<NonZeroU32>,
    /// Latency that is still good, in percent of the usual.
    pub tolerance: Option<NonZeroU32>,
    /// How long samples are gathered.
    pub window: Option<Duration>,
}

/// How often requests are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests it is for: those that fit any of these. Never empty.
    pub matches: Vec<Match>,
    /// What has a bucket of its own; none: all requests share one.
    pub key: Option<RateLimitKey>,
    /// How many in each unit.
    pub requests: NonZeroU32,
    /// In how long.
    pub unit: RateUnit,
    /// How many at once after a pause; none: as many as `requests`.
    pub burst: Option<NonZeroU32>,
}

/// What has a bucket of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateLimitKey {
    /// Each SPIFFE ID.
    ClientIdentity,
    /// Each value of this header, its name in lower case.
    Header(String),
}
