//! What the sidecars counted, read from their metrics: who talks to whom, how often it worked, how long it took.

use crate::mesh::Mesh;
use crate::scrape::Samples;
use std::collections::BTreeMap;

/// The last scrape of each sidecar. One that was killed keeps what it had counted before.
#[derive(Debug, Default)]
pub struct Observation {
    sidecars: BTreeMap<String, Samples>,
}

/// Requests from one identity to another.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Conversation {
    /// The caller, as the called sidecar verified it.
    pub from: String,
    /// The Service that was called.
    pub service: String,
    /// The instances that answered.
    pub to: Vec<String>,
    /// Requests, or TCP connections.
    pub requests: u64,
}

/// One route, as the calling sidecars saw it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Route {
    /// The Service called.
    pub service: String,
    /// The HTTPRoute that decided, or empty.
    pub route: String,
    /// Requests.
    pub requests: u64,
    /// Share of them that did not fail, 0 to 1.
    pub success: f64,
    /// Median latency in milliseconds, interpolated within its histogram bucket.
    pub p50_ms: f64,
    /// 99th percentile, likewise.
    pub p99_ms: f64,
}

impl Observation {
    /// Scrapes every sidecar that answers.
    pub fn update(&mut self, mesh: &Mesh) {
        for member in mesh.members() {
            if let Ok(samples) = member.scrape() {
                self.sidecars.insert(member.name.clone(), samples);
            }
        }
    }

    /// The sum of a metric over all sidecars.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        whole(self.sidecars.values().map(|samples| samples.sum(name, labels)).sum())
    }

    /// Inbound requests of each instance.
    pub fn endpoints(&self) -> BTreeMap<String, u64> {
        let inbound = [("direction", "inbound")];
        let counts = self.sidecars.iter().map(|(name, samples)| {
            (name.clone(), whole(samples.sum(REQUESTS, &inbound) + samples.sum(CONNECTIONS, &INBOUND_TCP)))
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Who talks to whom, from the side that verified the caller.
    pub fn conversations(&self) -> Vec<Conversation> {
        let mut found: BTreeMap<(String, String), Conversation> = BTreeMap::new();
        for (instance, samples) in &self.sidecars {
            let inbound = [("direction", "inbound")];
            for sample in samples.with(REQUESTS, &inbound).chain(samples.with(CONNECTIONS, &INBOUND_TCP)) {
                let (from, service) = (sample.label("peer").to_owned(), sample.label("service").to_owned());
                let entry = found.entry((from.clone(), service.clone())).or_insert_with(|| Conversation {
                    from,
                    service,
                    to: Vec::new(),
                    requests: 0,
                });
                entry.requests += whole(sample.value);
                if !entry.to.contains(instance) {
                    entry.to.push(instance.clone());
                }
            }
        }
        found.into_values().collect()
    }

    /// Every route as its callers saw it.
    pub fn routes(&self) -> Vec<Route> {
        let mut routes: BTreeMap<(String, String), (f64, f64)> = BTreeMap::new();
        let outbound = [("direction", "outbound")];
        for samples in self.sidecars.values() {
            for sample in samples.with(REQUESTS, &outbound) {
                let key = (sample.label("service").to_owned(), sample.label("route").to_owned());
                let entry = routes.entry(key).or_default();
                entry.0 += sample.value;
                if is_failure(sample.label("status"), sample.label("grpc_status")) {
                    entry.1 += sample.value;
                }
            }
        }
        let route = |((service, route), (requests, failures)): ((String, String), (f64, f64))| Route {
            p50_ms: self.quantile(&service, &route, 0.5) * 1e3,
            p99_ms: self.quantile(&service, &route, 0.99) * 1e3,
            success: if requests > 0.0 { 1.0 - failures / requests } else { 1.0 },
            requests: whole(requests),
            service,
            route,
        };
        routes.into_iter().map(route).collect()
    }

    /// A quantile in seconds over all callers, from the histogram's cumulative buckets.
    fn quantile(&self, service: &str, route: &str, share: f64) -> f64 {
        let labels = [("direction", "outbound"), ("service", service), ("route", route)];
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for samples in self.sidecars.values() {
            for sample in samples.with("outrigger_request_duration_seconds_bucket", &labels) {
                let bound = sample.label("le").parse().unwrap_or(f64::INFINITY);
                match buckets.iter_mut().find(|(known, _)| *known == bound) {
                    Some((_, count)) => *count += sample.value,
                    None => buckets.push((bound, sample.value)),
                }
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        quantile(&buckets, share)
    }
}

const REQUESTS: &str = "outrigger_requests_total";
const CONNECTIONS: &str = "outrigger_tcp_connections_total";
const INBOUND_TCP: [(&str, &str); 1] = [("direction", "inbound")];

/// Linear within the bucket the quantile falls into, as Prometheus does it.
fn quantile(buckets: &[(f64, f64)], share: f64) -> f64 {
    let rank = buckets.last().map_or(0.0, |(_, total)| total * share);
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank && *count > below {
            return if bound.is_finite() {
                lower + (bound - lower) * (rank - below) / (count - below)
            } else {
                lower
            };
        }
        (lower, below) = (*bound, *count);
    }
    0.0
}

fn is_failure(status: &str, grpc_status: &str) -> bool {
    status.starts_with('5') || !matches!(grpc_status, "" | "-" | "0")
}

/// Counters are whole numbers that fit.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter is whole and not negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_interpolated_within_its_bucket() {
        let buckets = [(0.001, 0.0), (0.002, 50.0), (0.004, 100.0), (f64::INFINITY, 100.0)];
        assert_eq!(quantile(&buckets, 0.5), 0.002);
        assert_eq!(quantile(&buckets, 0.75), 0.003);
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[(0.001, 1.0), (f64::INFINITY, 2.0)], 0.99), 0.001);
    }

    #[test]
    fn a_gateway_error_and_a_grpc_status_are_failures() {
        assert!(is_failure("503", ""));
        assert!(is_failure("200", "14"));
        assert!(!is_failure("200", "0"));
        assert!(!is_failure("404", ""));
    }
}
