//! The connected sidecars as metrics, counted when somebody scrapes.

use super::Directory;
use super::directory::Census;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge, IntGaugeVec, Opts, Registry};

/// Most versions that are told apart: a sidecar says its own, and may say anything.
const VERSIONS_MAX: usize = 20;
/// What the others are counted as.
const OTHER: &str = "other";

/// Registers the gauges of the connected sidecars.
///
/// # Errors
/// When one of the names is taken in `registry`.
pub fn register_fleet(registry: &Registry, directory: Directory) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Fleet { directory, gauges: Gauges::new()? }))
}

struct Fleet {
    directory: Directory,
    gauges: Gauges,
}

struct Gauges {
    versions: IntGaugeVec,
    behind: IntGauge,
    longest_behind: Gauge,
    refusing: IntGauge,
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let versions = Opts::new("outrigger_control_proxies", "Connected sidecars, by version");
        Ok(Self {
            versions: IntGaugeVec::new(versions, &["version"])?,
            behind: IntGauge::new(
                "outrigger_control_proxies_behind",
                "Connected sidecars that have not acknowledged all they were sent",
            )?,
            longest_behind: Gauge::new(
                "outrigger_control_proxies_behind_longest_seconds",
                "For how long the one of them has not that waits longest",
            )?,
            refusing: IntGauge::new(
                "outrigger_control_proxies_refusing",
                "Connected sidecars that refused something and go on with what they had",
            )?,
        })
    }

    fn all(&self) -> [&dyn Collector; 4] {
        [&self.versions, &self.behind, &self.longest_behind, &self.refusing]
    }

    fn set(&self, census: &Census) {
        for (place, (agent, count)) in census.agents.iter().enumerate() {
            let version = if place < VERSIONS_MAX { agent } else { OTHER };
            self.versions.with_label_values(&[version]).add(*count);
        }
        self.behind.set(census.behind);
        self.longest_behind.set(census.longest_behind.as_secs_f64());
        self.refusing.set(census.refusing);
    }
}

impl Collector for Fleet {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Made anew, so that a version nobody has any more is not told of.
        let Ok(gauges) = Gauges::new() else { return Vec::new() };
        gauges.set(&self.directory.census());
        gauges.all().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sidecars_call_themselves_makes_no_series_without_end() {
        let gauges = Gauges::new().unwrap();
        let agents = (0..100).map(|n| (format!("sidecar {n:03}"), 2)).collect();
        gauges.set(&Census { agents, ..Census::default() });
        let families = gauges.versions.collect();
        let series = families[0].get_metric();
        assert_eq!(series.len(), VERSIONS_MAX + 1);
        assert_eq!(gauges.versions.with_label_values(&[OTHER]).get(), 160);
    }
}
