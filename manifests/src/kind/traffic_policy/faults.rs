//! Failures made on purpose, as people write them in a TrafficPolicy and as the control plane reads them.

use crate::kind::route::Match;
use gateway_api::experimental::httproutes::HttpRouteRulesMatches;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Failures that callers' sidecars make on purpose, to see what callers do. The Service itself gets no request that is
/// aborted, and no instance is blamed for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FaultInjectionSpec {
    /// The failures, up to 16. The first rule that fits a request is for it, and no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<FaultRuleSpec>,
}

/// A failure, and requests it is for. A request may be delayed and then aborted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FaultRuleSpec {
    /// Requests it is for: those that fit any of these, as in an HTTPRoute. Default: every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<HttpRouteRulesMatches>,
    /// A pause before the request goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<FaultDelaySpec>,
    /// An answer in place of the Service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<FaultAbortSpec>,
}

/// A pause before the request goes on. It counts for the request's timeout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FaultDelaySpec {
    /// How long, 1ms to 5m.
    pub duration: String,
    /// For how many of the requests, in percent, 0 to 100. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<i32>,
}

/// An answer in place of the Service's: one of both statuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FaultAbortSpec {
    /// The status, 400 to 599; to a gRPC caller the gRPC status it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<i32>,
    /// The gRPC status, 1 to 16; to a caller that does not speak gRPC the HTTP status it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<i32>,
    /// For how many of the requests, in percent, 0 to 100. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<i32>,
}

/// A failure made on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRule {
    /// Requests it is for: those that fit any of these. Never empty.
    pub matches: Vec<Match>,
    /// A pause, and for how many percent of the requests.
    pub delay: Option<(Duration, u32)>,
    /// An answer, and for how many percent of the requests.
    pub abort: Option<(FaultAnswer, u32)>,
}

/// The answer of a failure made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAnswer {
    /// This status, 400 to 599.
    Http(u16),
    /// This gRPC status, 1 to 16.
    Grpc(u8),
}
