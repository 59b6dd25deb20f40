//! Outlier detection as people write it in a TrafficPolicy. The names are Envoy's where it has one.

use serde::{Deserialize, Serialize};

/// Instances that fail are left out for a while. Each worker of each calling sidecar judges by the requests it sends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetectionSpec {
    /// Failures in a row that leave an instance out, answers of 500 and the like included; up to 1000, 0 is off. Default: 0,
    /// since a 500 says as much of the request as of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_failures: Option<i32>,
    /// The same for failures that mean the instance: unreachable, broken off, 502, 503, 504. 0 is off. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_gateway_failures: Option<i32>,
    /// Instances whose success rate is far below the others'. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRateSpec>,
    /// Instances that fail a share of their requests. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_percentage: Option<FailurePercentageSpec>,
    /// Instances that are slower than the others. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencySpec>,
    /// From one comparison of the instances to the next, 1s to 10m, in whole seconds; for the three above. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How long an instance is left out the first time, 100ms to 1h; twice as long each time after. Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_ejection_time: Option<String>,
    /// How long it is left out at most, 100ms to 24h. Default: 60s, or the first time if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ejection_time: Option<String>,
    /// How many of the ready instances may be out together, in percent, 0 to 100; rounded up, and never all. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<i32>,
}

/// Instances whose success rate is far below the others'.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SuccessRateSpec {
    /// How many standard deviations below the mean, in thousandths, 100 to 10000. Default: 1900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_deviation_factor: Option<i32>,
    /// Instances with enough requests that a comparison needs, 2 to 1000. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<i32>,
    /// Requests of an instance in an interval without which it is not judged, 1 to 1000000. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<i32>,
}

/// Instances that fail a share of their requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FailurePercentageSpec {
    /// From this share on, in percent, 1 to 100. Default: 85.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<i32>,
    /// Instances with enough requests that a comparison needs, 2 to 1000. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<i32>,
    /// Requests of an instance in an interval without which it is not judged, 1 to 1000000. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<i32>,
}

/// Instances that are slower than the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LatencySpec {
    /// From this multiple of the median of the others on, in percent, 110 to 10000. Default: 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<i32>,
    /// And only if it is slower by this much, up to 1h. Default: 10ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excess: Option<String>,
    /// Instances with enough requests that a comparison needs, 2 to 1000. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<i32>,
    /// Requests of an instance in an interval without which it is not judged, 1 to 1000000. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<i32>,
}
