//! What operators see of the application beside the sidecar.

use prometheus::{IntGauge, Registry};

/// The families of the application. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(crate) struct ApplicationMetrics {
    waiting: IntGauge,
}

impl ApplicationMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of the names is taken in `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let waiting = IntGauge::new(
            "outrigger_application_ports_awaited",
            "Ports of --inbound at which the application has not accepted a connection since this process started; until \
             it is 0 the workload is announced as not ready",
        )?;
        registry.register(Box::new(waiting.clone()))?;
        Ok(Self { waiting })
    }

    /// So many ports have not accepted a connection yet.
    pub(crate) fn waiting_for(&self, ports: usize) {
        self.waiting.set(i64::try_from(ports).unwrap_or(i64::MAX));
    }
}
