//! What operators see of the certificate.

use prometheus::{Gauge, IntCounterVec, Opts, Registry};
use std::time::{SystemTime, UNIX_EPOCH};

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
