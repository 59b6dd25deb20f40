//! What is counted of etcd.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

/// The metrics of a store in etcd. Clones share them.
#[derive(Clone)]
pub(super) struct Metrics {
    pub(super) seconds: Histogram,
    pub(super) failures: IntCounter,
    pub(super) is_following: IntGauge,
    pub(super) is_leader: IntGauge,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        // From a member beside us to one that is about to be given up.
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];
        let metrics = Self {
            seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "outrigger_control_store_etcd_request_seconds",
                    "Time from a request to a member of etcd to its answer",
                )
                .buckets(buckets),
            )?,
            failures: IntCounter::new(
                "outrigger_control_store_etcd_failures_total",
                "Connections to members of etcd that were given up because a request failed",
            )?,
            is_following: IntGauge::new(
                "outrigger_control_store_etcd_following",
                "Whether what etcd tells arrives (1), or what was known last is served (0)",
            )?,
            is_leader: IntGauge::new(
                "outrigger_control_leader",
                "Whether this control plane writes statuses and derived objects for all (1)",
            )?,
        };
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.is_following.clone()))?;
        registry.register(Box::new(metrics.is_leader.clone()))?;
        Ok(metrics)
    }
}
