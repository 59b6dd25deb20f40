//! How instances are asked whether they are well, in a TrafficPolicy: as written, and as read.

use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// How instances are asked whether they are well: by one of `http`, `grpc` and `tcp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HealthCheckSpec {
    /// By a GET, in the protocol of the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpHealthSpec>,
    /// By `grpc.health.v1.Health/Check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcHealthSpec>,
    /// By a connection, which is closed as soon as it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpHealthSpec>,
    /// From one question to the next, 1s to 10m; each is up to a tenth earlier or later. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// From a question, its connection included, to giving it up, 10ms to 1m and not longer than the interval. Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Good answers in a row after which an instance that was not well gets requests again, 1 to 100. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_threshold: Option<i32>,
    /// Bad answers in a row after which an instance gets no requests, 1 to 100. The first answer of all counts alone.
    /// Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_threshold: Option<i32>,
}

/// A GET.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HttpHealthSpec {
    /// The path, with its query: `/healthz`.
    pub path: String,
    /// The host that is asked for. Default: `localhost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The statuses that mean that it is well, at most 16. Default: 200 to 399, as in Kubernetes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected_statuses: Vec<i32>,
}

/// A question by gRPC's own protocol for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GrpcHealthSpec {
    /// The service that is asked about, as `shop.v1.Orders`. Default: the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// A connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TcpHealthSpec {}

/// How instances are asked whether they are well, as read. What is `None` is the sidecar's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub asks: Asks,
    /// From one question to the next.
    pub interval: Option<Duration>,
    /// From a question to giving it up.
    pub timeout: Option<Duration>,
    /// Good answers in a row.
    pub healthy_threshold: Option<NonZeroU32>,
    /// Bad answers in a row.
    pub unhealthy_threshold: Option<NonZeroU32>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// A GET.
    Http {
        /// The path, with its query.
        path: String,
        /// The host that is asked for.
        host: Option<String>,
        /// The statuses that mean that it is well; none: the sidecar's default.
        statuses: Vec<u16>,
    },
    /// gRPC's own question.
    Grpc {
        /// The service that is asked about; empty: the server as a whole.
        service: String,
    },
    /// A connection.
    Tcp,
}
