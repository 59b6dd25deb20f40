//! Families that move per request.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// From half a millisecond, about what two sidecars add on one machine, to a minute, beyond which nobody waits. Three
/// steps a decade: a quantile read from them is off by at most a factor of 2.5, and a series costs 16 numbers.
const DURATION_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Families that move per request.
#[derive(Debug, Clone)]
pub struct RequestFamilies {
    pub(crate) total: IntCounterVec,
    pub(crate) duration: HistogramVec,
    pub(crate) request_bytes: IntCounterVec,
    pub(crate) response_bytes: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) retries_denied: IntCounterVec,
    pub(crate) hedges: IntCounterVec,
    pub(crate) refusals: IntCounterVec,
}

pub(super) fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

impl RequestFamilies {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::new(
            "outrigger_request_duration_seconds",
            "From a request's head to the end of its response; moves when the response ends.",
        );
        let labels = ["direction", "service", "route"];
        let duration = HistogramVec::new(options.buckets(DURATION_BUCKETS.to_vec()), &labels)?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self {
            total: counter(
                registry,
                "outrigger_requests_total",
                "Requests answered; moves when the response ends. `reason` is empty unless the sidecar failed or \
                 cut the request itself.",
                &["direction", "service", "route", "backend", "peer", "status", "grpc_status", "reason"],
            )?,
            duration,
            request_bytes: counter(
                registry,
                "outrigger_request_bytes_total",
                "Bytes of request bodies; moves as they pass.",
                &["direction", "service"],
            )?,
            response_bytes: counter(
                registry,
                "outrigger_response_bytes_total",
                "Bytes of response bodies; moves as they pass.",
                &["direction", "service"],
            )?,
            retries: counter(
                registry,
                "outrigger_retries_total",
                "Attempts after a request's first; moves when one starts.",
                &["service", "cause"],
            )?,
            retries_denied: counter(
                registry,
                "outrigger_retries_denied_total",
                "Failed attempts not made again though their failure is one to be tried again; by `why`: attempts, \
                 budget, deadline, body, retry_after, exhausted.",
                &["service", "why"],
            )?,
            hedges: counter(
                registry,
                "outrigger_hedges_total",
                "Second attempts beside a slow first one, by `outcome`: won or lost, counted when the request is \
                 answered; denied for lack of budget.",
                &["service", "outcome"],
            )?,
            refusals: counter(
                registry,
                "outrigger_refusals_total",
                "Requests, connections and handshakes the sidecar turned away itself, by reason.",
                &["direction", "reason"],
            )?,
        })
    }
}
