//! Which endpoints are left out for a while, and why. Ejections are rare, so these are shared counters, touched when one
//! happens; how many are out is said again before each scrape.

use super::requests::counter;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::cell::Cell;

/// The families of endpoints. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct EndpointFamilies {
    /// Ejections, by service and cause.
    pub ejections: IntCounterVec,
    /// Endpoints out at present, by service.
    pub ejected: IntGaugeVec,
}

/// One worker's part of the number of ejected endpoints of a service; taken back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    gauge: IntGauge,
    said: Cell<i64>,
}

impl EndpointFamilies {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let ejected = IntGaugeVec::new(
            Opts::new(
                "outrigger_endpoints_ejected",
                "Endpoints left out at present for what they did, added up over the sidecar's workers, each of which \
                 judges by its own requests.",
            ),
            &["service"],
        )?;
        registry.register(Box::new(ejected.clone()))?;
        let ejections = counter(
            registry,
            "outrigger_endpoint_ejections_total",
            "Endpoints left out for a while; moves when a worker begins to, by the detector that struck.",
            &["service", "cause"],
        )?;
        Ok(Self { ejections, ejected })
    }

    /// A worker's part of the number of ejected endpoints of `service`.
    pub(crate) fn share(&self, service: &str) -> Share {
        Share { gauge: self.ejected.with_label_values(&[service]), said: Cell::new(0) }
    }
}

impl Share {
    pub(crate) fn set(&self, ejected: usize) {
        let ejected = i64::try_from(ejected).unwrap_or(i64::MAX);
        self.gauge.add(ejected - self.said.replace(ejected));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gauge.sub(self.said.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up_and_one_that_lets_go_takes_its_part_back() {
        let families = EndpointFamilies::register(&Registry::new()).unwrap();
        let (one, two) = (families.share("shop/a"), families.share("shop/a"));
        let seen = || families.ejected.with_label_values(&["shop/a"]).get();
        one.set(2);
        two.set(1);
        one.set(1);
        assert_eq!(seen(), 2);
        drop(one);
        assert_eq!(seen(), 1);
    }
}
