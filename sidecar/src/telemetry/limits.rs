//! Limits, how much of each is used, and failures made on purpose. What is used is read from the limits themselves when a
//! scrape asks, so that a request moves nothing and a limit that is gone is gone from the next scrape. Labels are
//! configured names and a few words; a sidecar without limits has no such series.

use super::requests::counter;
use crate::limit::Level;
use crate::snapshot::{ServiceState, Snapshot};
use mesh_names::Port;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use std::sync::Arc;
use tokio::sync::watch;

/// Counters of limits and failures made on purpose. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct LimitFamilies {
    /// Failures made on purpose, by service and what was made.
    pub faults: IntCounterVec,
}

impl LimitFamilies {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            faults: counter(
                registry,
                "outrigger_faults_injected_total",
                "Failures made on purpose because a TrafficPolicy asks for them; moves when one begins. `fault` is \
                 delay or abort.",
                &["service", "fault"],
            )?,
        })
    }
}

/// The gauges, from what is in force.
struct Limits {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    limit: IntGaugeVec,
    used: IntGaugeVec,
}

/// Registers the gauges of limits, which follow these snapshots.
///
/// # Errors
/// When one of the names is taken in `registry`.
pub fn register_limits(
    registry: &Registry,
    snapshots: watch::Receiver<Arc<Snapshot>>,
) -> Result<(), prometheus::Error> {
    let (limit, used) = gauges()?;
    registry.register(Box::new(Limits { snapshots, limit, used }))
}

fn gauges() -> Result<(IntGaugeVec, IntGaugeVec), prometheus::Error> {
    let labels = ["direction", "service", "port", "limit"];
    let limit = Opts::new(
        "outrigger_limit",
        "What a TrafficPolicy allows at once, or has come to allow where it follows latency: outbound for a port of a \
         service, inbound for a port of the application.",
    );
    let used = Opts::new("outrigger_limit_used", "What is under way or waits now, of the same limit.");
    Ok((IntGaugeVec::new(limit, &labels)?, IntGaugeVec::new(used, &labels)?))
}

/// The service for which requests to a port of the application are counted: the first by name.
fn served(snapshot: &Snapshot, port: Port) -> String {
    let workload = snapshot.workload.as_ref();
    let announced = workload.and_then(|workload| workload.ports.iter().find(|it| it.port == port));
    announced.and_then(|port| port.services.iter().min()).map(ToString::to_string).unwrap_or_default()
}

impl Collector for Limits {
    fn desc(&self) -> Vec<&Desc> {
        [self.limit.desc(), self.used.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Made anew, so that nothing that was ever limited has to be taken back.
        let Ok((limit, used)) = gauges() else { return Vec::new() };
        let say = |labels: [&str; 3], level: Level| {
            let Some(most) = level.limit else { return };
            let [direction, service, port] = labels;
            let labels = [direction, service, port, level.name];
            limit.with_label_values(&labels).set(most.into());
            used.with_label_values(&labels).set(level.used.into());
        };
        let snapshot = self.snapshots.borrow().clone();
        for (service, state) in &snapshot.services {
            let ServiceState::Known(view) = state else { continue };
            for port in &view.service.ports {
                let Some(breaker) = port.policy.as_ref().and_then(|it| it.breaker.as_ref()) else { continue };
                let (service, port) = (service.to_string(), port.port.to_string());
                breaker.levels().into_iter().for_each(|level| say(["outbound", &service, &port], level));
            }
        }
        for (port, limits) in snapshot.limits.iter() {
            let Some(concurrency) = &limits.concurrency else { continue };
            let (service, port) = (served(&snapshot, *port), port.to_string());
            concurrency.levels().into_iter().for_each(|level| say(["inbound", &service, &port], level));
        }
        [limit.collect(), used.collect()].concat()
    }
}
