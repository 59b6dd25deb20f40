//! What operators count of discovery.

use mesh_protocol::resource::ResourceType;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// The metrics of all streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DiscoveryMetrics {
    streams: IntGauge,
    pushes: IntCounterVec,
    nacks: IntCounterVec,
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
            snapshot_revision: IntGauge::new(
                "outrigger_control_snapshot_revision",
                "Store revision that the newest snapshot reflects",
            )?,
        };
        registry.register(Box::new(metrics.streams.clone()))?;
        registry.register(Box::new(metrics.pushes.clone()))?;
        registry.register(Box::new(metrics.nacks.clone()))?;
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

    pub(super) fn refused(&self, kind: ResourceType) {
        self.nacks.with_label_values(&[kind.as_str()]).inc();
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
