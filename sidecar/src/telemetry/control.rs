//! What operators see of the control side: the certificate in force, the configuration in force, and the link to the
//! control plane.

use crate::xds::session::Rejection;
use mesh_protocol::resource::ResourceType;
use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The families of the certificate. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(crate) struct IdentityMetrics {
    expiry: Gauge,
    renewals: IntCounterVec,
}

impl IdentityMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of the names is taken in `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let expiry = Gauge::new(
            "outrigger_certificate_expiry_timestamp_seconds",
            "When the certificate in force expires, in seconds since 1970; 0 without one",
        )?;
        let renewals = IntCounterVec::new(
            Opts::new(
                "outrigger_certificate_renewals_total",
                "Moves with each attempt to get a certificate, the first one included; result is ok or failed",
            ),
            &["result"],
        )?;
        for result in ["ok", "failed"] {
            renewals.with_label_values(&[result]).reset();
        }
        registry.register(Box::new(expiry.clone()))?;
        registry.register(Box::new(renewals.clone()))?;
        Ok(Self { expiry, renewals })
    }

    /// A certificate is in force until `not_after`.
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
    pub(crate) fn in_force(&self, not_after: SystemTime) {
        self.expiry.set(not_after.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as f64);
    }

    /// An attempt ended.
    pub(crate) fn renewed(&self, worked: bool) {
        self.renewals.with_label_values(&[if worked { "ok" } else { "failed" }]).inc();
    }
}

/// The families of the configuration and of the link to the control plane. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(crate) struct DiscoveryMetrics {
    revision: Gauge,
    age: Gauge,
    connected: IntGauge,
    rejected: IntCounterVec,
}

impl DiscoveryMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of the names is taken in `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            revision: Gauge::new(
                "outrigger_config_revision",
                "The control plane's revision of the configuration in force",
            )?,
            age: Gauge::new(
                "outrigger_config_age_seconds",
                "Time since the control plane last confirmed the configuration in force; near 0 while connected",
            )?,
            connected: IntGauge::new(
                "outrigger_control_plane_connected",
                "1 while the discovery stream is up, else 0",
            )?,
            rejected: IntCounterVec::new(
                Opts::new(
                    "outrigger_config_rejected_total",
                    "Moves with each resource from the control plane that cannot be used; the last good one stays",
                ),
                &["type"],
            )?,
        };
        for kind in ResourceType::ALL {
            metrics.rejected.with_label_values(&[kind.as_str()]).reset();
        }
        registry.register(Box::new(metrics.revision.clone()))?;
        registry.register(Box::new(metrics.age.clone()))?;
        registry.register(Box::new(metrics.connected.clone()))?;
        registry.register(Box::new(metrics.rejected.clone()))?;
        Ok(metrics)
    }

    /// The configuration in force is of this revision. One that is no number is shown as 0.
    pub(crate) fn revision(&self, revision: &str) {
        self.revision.set(revision.parse().unwrap_or(0.0));
    }

    /// It was confirmed this long ago.
    pub(crate) fn age(&self, age: Duration) {
        self.age.set(age.as_secs_f64());
    }

    /// The stream is up, or not.
    pub(crate) fn connected(&self, up: bool) {
        self.connected.set(up.into());
    }

    /// The stream is up.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.get() == 1
    }

    /// A resource was refused.
    pub(crate) fn rejected(&self, rejection: &Rejection) {
        let kind = rejection.kind.map_or("unknown", ResourceType::as_str);
        self.rejected.with_label_values(&[kind]).inc();
    }
}
