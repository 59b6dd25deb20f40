//! What operators see of the application beside the sidecar.

use mesh_names::Port;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::BTreeMap;

/// The families of the application. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(crate) struct ApplicationMetrics {
    waiting: IntGauge,
    answers: IntCounterVec,
    healthy: IntGaugeVec,
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
        let answers = IntCounterVec::new(
            Opts::new(
                "outrigger_health_checks_total",
                "Questions to the application whether it is well, by its port and how they were answered; moves where a \
                 TrafficPolicy has a healthCheck",
            ),
            &["port", "result"],
        )?;
        registry.register(Box::new(answers.clone()))?;
        let healthy = IntGaugeVec::new(
            Opts::new(
                "outrigger_health_check_healthy",
                "Whether the application is well by the health checks of this port: 0 once enough answers in a row were \
                 bad; while any port has 0, the workload is announced as not ready",
            ),
            &["port"],
        )?;
        registry.register(Box::new(healthy.clone()))?;
        Ok(Self { waiting, answers, healthy })
    }

    /// A question was answered, well or not.
    pub(crate) fn answered(&self, port: Port, is_good: bool) {
        let result = if is_good { "passed" } else { "failed" };
        self.answers.with_label_values(&[port.to_string().as_str(), result]).inc();
    }

    /// The ports that are asked, and whether each is well; a port is only if all its checks say so.
    pub(crate) fn checked(&self, ports: impl Iterator<Item = (Port, bool)>) {
        let mut all = BTreeMap::new();
        for (port, is_healthy) in ports {
            *all.entry(port).or_insert(true) &= is_healthy;
        }
        self.healthy.reset();
        for (port, is_healthy) in all {
            self.healthy.with_label_values(&[port.to_string().as_str()]).set(i64::from(is_healthy));
        }
    }

    /// So many ports have not accepted a connection yet.
    pub(crate) fn waiting_for(&self, ports: usize) {
        self.waiting.set(i64::try_from(ports).unwrap_or(i64::MAX));
    }
}
