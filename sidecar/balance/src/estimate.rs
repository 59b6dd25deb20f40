//! How long an endpoint is expected to take: peak EWMA.
//!
//! Enters: the latency and outcome of each request. Leaves: a cost to compare endpoints by. Never here: choosing.
//!
//! Source: Finagle's `PeakEwma` (Twitter, 2015), which Linkerd took over. The average of recent latencies falls slowly
//! but jumps up at once to a latency above it, so an endpoint that stalls is avoided after one slow answer instead of
//! after many; and it decays while nothing is measured, so that it is tried again.

use crate::Nanos;
use std::time::Duration;

/// The time constant: after ten seconds without a new peak, 37 % of the old one is left. Finagle's and Linkerd's value:
/// longer than a garbage collection, shorter than a person's patience.
pub const DECAY: Duration = Duration::from_secs(10);

/// What an endpoint nobody has heard from yet is taken to need while its first request is under way. Linkerd's value.
/// Without any request under way it costs nothing and so is tried at once, by one request.
pub const FIRST_ESTIMATE: Duration = Duration::from_millis(30);

/// One endpoint's expected latency.
#[derive(Debug, Clone, Copy)]
pub struct PeakEwma {
    /// Nanoseconds, as of `at`; `None` before the first measurement.
    estimate: Option<f64>,
    at: Nanos,
}

impl PeakEwma {
    /// An endpoint nobody has heard from yet.
    pub fn unmeasured(now: Nanos) -> Self {
        Self { estimate: None, at: now }
    }

    /// What one more request is expected to cost when `pending` are under way: the estimate times `pending + 1`.
    ///
    /// `pending` is the number of requests for an endpoint of usual weight; one of twice the weight carries two as others
    /// carry one.
    pub fn cost(&self, pending: f64, now: Nanos) -> f64 {
        match self.estimate {
            None if pending > 0.0 => nanos(FIRST_ESTIMATE) * (pending + 1.0),
            None => 0.0,
            Some(estimate) => estimate * self.left(now) * (pending + 1.0),
        }
    }

    /// Takes in a request that was answered well after `latency`.
    pub fn succeeded(&mut self, latency: Duration, now: Nanos) {
        let latency = nanos(latency);
        let estimate = match self.estimate {
            Some(estimate) if latency <= estimate => {
                let left = self.left(now);
                estimate * left + latency * (1.0 - left)
            }
            // The first measurement, or a peak.
            Some(_) | None => latency,
        };
        self.set(estimate, now);
    }

    /// Takes in a request that failed after `latency`.
    ///
    /// A failure never lowers the estimate, however fast it came: otherwise the endpoint that fails fastest would draw
    /// all traffic. It doubles it up to [`FIRST_ESTIMATE`], so that an endpoint that fails often gets less than its
    /// peers even while it is not ejected, and one that failed once is forgiven within seconds.
    pub fn failed(&mut self, latency: Duration, now: Nanos) {
        let first = nanos(FIRST_ESTIMATE);
        let estimate = match self.estimate {
            Some(estimate) => estimate.max((estimate * 2.0).min(first)),
            None => first,
        };
        self.set(estimate.max(nanos(latency)), now);
    }

    /// Takes in a request that nobody waited for after `waited`: it would have taken longer.
    ///
    /// If it counted for nothing, an endpoint that hangs would look idle whenever its callers give up, and draw all traffic.
    pub fn abandoned(&mut self, waited: Duration, now: Nanos) {
        let waited = nanos(waited);
        match self.estimate {
            Some(estimate) if waited <= estimate * self.left(now) => {}
            Some(_) => self.set(waited, now),
            None => self.set(waited.max(nanos(FIRST_ESTIMATE)), now),
        }
    }

    fn set(&mut self, estimate: f64, now: Nanos) {
        // A latency of zero would make any number of pending requests free.
        self.estimate = Some(estimate.max(1.0));
        self.at = now;
    }

    /// The share of the estimate that is left by now.
    fn left(&self, now: Nanos) -> f64 {
        (-(nanos(now.since(self.at)) / nanos(DECAY))).exp()
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn measured(latency: Duration) -> PeakEwma {
        let mut estimate = PeakEwma::unmeasured(Nanos(0));
        estimate.succeeded(latency, Nanos(0));
        estimate
    }

    fn after(duration: Duration) -> Nanos {
        Nanos(0) + duration
    }

    #[test]
    fn an_unmeasured_endpoint_is_tried_at_once_but_by_one_request_only() {
        let estimate = PeakEwma::unmeasured(Nanos(0));
        assert!(estimate.cost(0.0, Nanos(0)) < measured(MS).cost(0.0, Nanos(0)));
        assert!(estimate.cost(1.0, Nanos(0)) > measured(MS).cost(10.0, Nanos(0)));
    }

    #[test]
    fn the_first_measurement_counts_fully() {
        assert!((measured(MS * 5).cost(0.0, Nanos(0)) - 5e6).abs() < 1.0);
    }

    #[test]
    fn a_peak_is_taken_at_once_and_forgotten_with_the_time_constant() {
        let mut estimate = measured(MS);
        estimate.succeeded(MS * 100, Nanos(0));
        assert!((estimate.cost(0.0, Nanos(0)) - 100e6).abs() < 1.0);
        let later = estimate.cost(0.0, after(DECAY));
        assert!((later - 100e6 / std::f64::consts::E).abs() < 1.0, "{later}");
    }

    #[test]
    fn answers_after_a_peak_bring_the_estimate_down_slowly() {
        let mut estimate = measured(MS * 100);
        estimate.succeeded(MS, after(MS));
        assert!(estimate.cost(0.0, after(MS)) > 99e6, "one fast answer does not outweigh a slow one");
        for second in 1..=60 {
            estimate.succeeded(MS, after(Duration::from_secs(second)));
        }
        let now = after(Duration::from_secs(60));
        assert!(estimate.cost(0.0, now) < 2e6, "{}", estimate.cost(0.0, now));
    }

    #[test]
    fn failing_fast_does_not_make_an_endpoint_cheap() {
        let mut estimate = measured(MS);
        for _ in 0..3 {
            let before = estimate.cost(0.0, Nanos(0));
            estimate.failed(Duration::ZERO, Nanos(0));
            assert!(estimate.cost(0.0, Nanos(0)) > before);
        }
        for _ in 0..100 {
            estimate.failed(Duration::ZERO, Nanos(0));
        }
        let most = nanos(FIRST_ESTIMATE);
        assert!(estimate.cost(0.0, Nanos(0)) <= most, "the penalty has an end");
        let mut slow = measured(MS * 500);
        slow.failed(Duration::ZERO, Nanos(0));
        assert!((slow.cost(0.0, Nanos(0)) - 500e6).abs() < 1.0, "it is not lowered to the penalty either");
    }

    #[test]
    fn what_was_not_waited_for_took_at_least_as_long() {
        let mut estimate = measured(MS);
        estimate.abandoned(MS / 2, Nanos(0));
        assert!((estimate.cost(0.0, Nanos(0)) - 1e6).abs() < 1.0, "it may have been as fast as ever");
        estimate.abandoned(MS * 50, Nanos(0));
        assert!((estimate.cost(0.0, Nanos(0)) - 50e6).abs() < 1.0, "it is a peak");
        let mut unmeasured = PeakEwma::unmeasured(Nanos(0));
        unmeasured.abandoned(Duration::ZERO, Nanos(0));
        assert!((unmeasured.cost(0.0, Nanos(0)) - nanos(FIRST_ESTIMATE)).abs() < 1.0);
    }

    #[test]
    fn cost_grows_with_what_is_pending() {
        let estimate = measured(MS);
        assert!(estimate.cost(3.0, Nanos(0)) > estimate.cost(2.0, Nanos(0)));
    }
}
