//! What `load` prints: one JSON object per line.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The outcome of a run, or of one interval of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `total` or `interval`.
    pub kind: String,
    /// Length of the measured time.
    pub seconds: f64,
    /// Requests that came to an end, well or not.
    pub sent: u64,
    /// Requests answered as expected: status, length and content.
    pub ok: u64,
    /// Requests that were not.
    pub failed_total: u64,
    /// The same by cause: `connect`, `closed`, `timeout`, `status-503`, `grpc-14`, `body`, `overflow`, `unanswered` …
    pub failed: BTreeMap<String, u64>,
    /// The first few failures in words.
    pub failure_examples: Vec<String>,
    /// Requests sent again because their connection had closed before anything of them was answered (RFC 9110 §9.2.2,
    /// RFC 9113 §8.7). They count as one request.
    pub resent: u64,
    /// Failures before the measured time.
    pub warmup_failed: u64,
    /// Good answers per second.
    pub requests_per_second: f64,
    /// Bytes of the bodies or payloads answered.
    pub bytes: u64,
    /// Latency from the moment a request was due to the end of its answer, in microseconds.
    pub latency_us: Latency,
    /// Answers by `x-instance`, or by the greeter's instance.
    pub instances: BTreeMap<String, u64>,
    /// Answers by `x-greeter`.
    pub greeters: BTreeMap<String, u64>,
}

/// Latency in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Longest.
    pub max: f64,
}

impl Report {
    /// Whether every request of the run, warm-up included, was answered as expected, and there were any.
    pub fn is_clean(&self) -> bool {
        self.failed_total == 0 && self.warmup_failed == 0 && self.ok > 0
    }
}
