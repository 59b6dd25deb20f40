//! What operators see of endpoints without a sidecar, which their callers ask whether they are well.

use mesh_names::ServiceName;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use std::collections::BTreeMap;

/// The families of these questions. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(crate) struct EndpointHealthMetrics {
    answers: IntCounterVec,
    failing: IntGaugeVec,
}

impl EndpointHealthMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of the names is taken in `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let answers = IntCounterVec::new(
            Opts::new(
                "outrigger_endpoint_health_checks_total",
                "Questions to endpoints without a sidecar whether they are well, by the service called and how they were \
                 answered; moves where a TrafficPolicy has a healthCheck and such an endpoint is called",
            ),
            &["service", "result"],
        )?;
        registry.register(Box::new(answers.clone()))?;
        let failing = IntGaugeVec::new(
            Opts::new(
                "outrigger_endpoint_health_checks_failing",
                "Health checks of a service's endpoints without a sidecar that enough bad answers in a row have failed; \
                 those endpoints get no requests from here while others are ready",
            ),
            &["service"],
        )?;
        registry.register(Box::new(failing.clone()))?;
        Ok(Self { answers, failing })
    }

    /// A question was answered, well or not.
    pub(crate) fn answered(&self, service: &ServiceName, is_good: bool) {
        let result = if is_good { "passed" } else { "failed" };
        self.answers.with_label_values(&[service.to_string().as_str(), result]).inc();
    }

    /// The services whose endpoints are asked, and how many of their checks fail.
    pub(crate) fn failing(&self, services: BTreeMap<&ServiceName, usize>) {
        self.failing.reset();
        for (service, count) in services {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.failing.with_label_values(&[service.to_string().as_str()]).set(count);
        }
    }
}
