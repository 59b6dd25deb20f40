//! What operators count of discovery.

use mesh_protocol::resource::ResourceType;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};
use std::time::Duration;

/// The metrics of all streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DiscoveryMetrics {
    streams: IntGauge,
    pushes: IntCounterVec,
    nacks: IntCounterVec,
    acknowledgements: Histogram,
    /// For [`crate::index::spawn`].
    pub snapshot_revision: IntGauge,
}

/// Counts a stream for as long as it is held.
#[derive(Debug)]
pub(super) struct OpenStream(IntGauge);

impl DiscoveryMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When a metric of one of these names is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let of_type = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["type"]);
        let metrics = Self {
            streams: IntGauge::new("outrigger_control_streams", "Discovery streams that are open now")?,
            pushes: of_type(
                "outrigger_control_pushes_total",
                "Responses sent to sidecars, by resource type",
            )?,
            nacks: of_type(
                "outrigger_control_nacks_total",
                "Responses that sidecars refused, by resource type",
            )?,
            acknowledgements: Histogram::with_opts(
                HistogramOpts::new(
                    "outrigger_control_push_seconds",
                    "From a response to its acknowledgement or refusal",
                )
                // From a sidecar beside to one that is counted as silent.
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0]),
            )?,
            snapshot_revision: IntGauge::new(
                "outrigger_control_snapshot_revision",
                "Store revision that the newest snapshot reflects",
            )?,
        };
        registry.register(Box::new(metrics.streams.clone()))?;
        registry.register(Box::new(metrics.pushes.clone()))?;
        registry.register(Box::new(metrics.nacks.clone()))?;
        registry.register(Box::new(metrics.acknowledgements.clone()))?;
        registry.register(Box::new(metrics.snapshot_revision.clone()))?;
        for kind in ResourceType::ALL {
            // So that the first refusal is seen as a rise.
            metrics.pushes.with_label_values(&[kind.as_str()]).reset();
            metrics.nacks.with_label_values(&[kind.as_str()]).reset();
        }
        Ok(metrics)
    }

    pub(super) fn opened(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }

    pub(super) fn pushed(&self, type_url: &str) {
        // Answers about types that are not served are not pushes.
        if let Some(kind) = ResourceType::of_url(type_url) {
            self.pushes.with_label_values(&[kind.as_str()]).inc();
        }
    }

    pub(super) fn acknowledged(&self, took: Duration) {
        self.acknowledgements.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, kind: ResourceType) {
        self.nacks.with_label_values(&[kind.as_str()]).inc();
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
