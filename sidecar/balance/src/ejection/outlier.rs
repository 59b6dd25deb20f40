//! Who stands out among its peers, judged when an interval ends.
//!
//! Enters: what each endpoint did in the interval. Leaves: who is an outlier and by which detector, the worst first.
//! Never here: ejecting, and how many may be.

use super::{ByFailureShare, ByLatency, BySuccessRate, Cause, Detection, LeastPeers, LeastRequests};
use std::time::Duration;

/// What one endpoint did since the last interval ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    successes: u32,
    failures: u32,
    /// Of the successes, in nanoseconds.
    latency: u64,
}

impl Interval {
    pub(super) fn succeeded(&mut self, latency: Duration) {
        self.successes = self.successes.saturating_add(1);
        let latency = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency = self.latency.saturating_add(latency);
    }

    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn requests(&self) -> u32 {
        self.successes.saturating_add(self.failures)
    }

    fn success_rate(&self) -> f64 {
        f64::from(self.successes) / f64::from(self.requests().max(1))
    }

    fn mean_latency(&self) -> u64 {
        self.latency / u64::from(self.successes.max(1))
    }
}

/// The outliers among `observed`, each once. A detector that strikes first in the order success rate, failure share,
/// latency gives the cause; within one, the worst comes first, since there may not be room for all.
pub(crate) fn outliers<Key: Copy + PartialEq>(
    observed: &[(Key, Interval)],
    detection: &Detection,
) -> Vec<(Key, Cause)> {
    let by_success_rate = detection.success_rate.map(|detector| by_success_rate(observed, detector));
    let by_failure_share = detection.failure_share.map(|detector| by_failure_share(observed, detector));
    let by_latency = detection.latency.map(|detector| by_latency(observed, detector));
    let causes = [
        (Cause::SuccessRate, by_success_rate),
        (Cause::FailureShare, by_failure_share),
        (Cause::Latency, by_latency),
    ];
    let mut found: Vec<(Key, Cause)> = Vec::new();
    for (cause, keys) in causes {
        for key in keys.into_iter().flatten() {
            if !found.iter().any(|(earlier, _)| *earlier == key) {
                found.push((key, cause));
            }
        }
    }
    found
}

/// Those with enough requests, with a number of each, if they are enough to compare; in ascending order.
fn compared<Key: Copy>(
    observed: &[(Key, Interval)],
    (peers, requests): (LeastPeers, LeastRequests),
    count: impl Fn(&Interval) -> u32,
    number: impl Fn(&Interval) -> f64,
) -> Option<Vec<(Key, f64)>> {
    let enough = observed.iter().filter(|(_, interval)| count(interval) >= requests.number());
    let mut numbers: Vec<(Key, f64)> = enough.map(|(key, interval)| (*key, number(interval))).collect();
    numbers.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let peers = usize::try_from(peers.number()).unwrap_or(usize::MAX);
    (numbers.len() >= peers).then_some(numbers)
}

fn by_success_rate<Key: Copy>(observed: &[(Key, Interval)], detector: BySuccessRate) -> Vec<Key> {
    let enough = (detector.peers, detector.requests);
    let Some(rates) = compared(observed, enough, Interval::requests, Interval::success_rate) else {
        return Vec::new();
    };
    let count = f64::from(u32::try_from(rates.len()).unwrap_or(u32::MAX));
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    let least = mean - variance.sqrt() * f64::from(detector.deviations.number()) / 1_000.0;
    // Sums of equal rates differ from them in the last bits.
    let least = least - 1e-9;
    rates.into_iter().take_while(|(_, rate)| *rate < least).map(|(key, _)| key).collect()
}

fn by_failure_share<Key: Copy>(observed: &[(Key, Interval)], detector: ByFailureShare) -> Vec<Key> {
    let enough = (detector.peers, detector.requests);
    let Some(rates) = compared(observed, enough, Interval::requests, Interval::success_rate) else {
        return Vec::new();
    };
    let most = 1.0 - f64::from(detector.share.number()) / 100.0 + 1e-9;
    rates.into_iter().take_while(|(_, rate)| *rate <= most).map(|(key, _)| key).collect()
}

fn by_latency<Key: Copy>(observed: &[(Key, Interval)], detector: ByLatency) -> Vec<Key> {
    let enough = (detector.peers, detector.requests);
    // Beyond 2^53 ns, 104 days, the last bits are lost.
    let mean = |interval: &Interval| Duration::from_nanos(interval.mean_latency()).as_secs_f64();
    let Some(means) = compared(observed, enough, |interval| interval.successes, mean) else {
        return Vec::new();
    };
    let factor = f64::from(detector.slowness.number()) / 100.0;
    let excess = detector.excess.as_secs_f64();
    let is_slow = |place: usize, own: f64| {
        median_of_others(&means, place)
            .is_some_and(|median| own > median && own >= median * factor && own - median >= excess)
    };
    let slow = means.iter().enumerate().filter(|(place, (_, own))| is_slow(*place, *own));
    slow.map(|(_, (key, _))| *key).rev().collect()
}

/// The median of all but the one in this place, of ascending numbers; of two in the middle, the larger.
fn median_of_others<Key>(ascending: &[(Key, f64)], place: usize) -> Option<f64> {
    let middle = ascending.len().checked_sub(1)? / 2;
    let middle = if middle >= place { middle + 1 } else { middle };
    ascending.get(middle).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Deviations, FailureShare, Slowness};
    use proptest::prelude::*;

    fn interval(successes: u32, failures: u32, latency_ms: u64) -> Interval {
        Interval { successes, failures, latency: u64::from(successes) * latency_ms * 1_000_000 }
    }

    fn found(intervals: &[Interval], detection: &Detection) -> Vec<(usize, Cause)> {
        let observed: Vec<(usize, Interval)> = intervals.iter().copied().enumerate().collect();
        outliers(&observed, detection)
    }

    fn success_rate() -> Detection {
        Detection { success_rate: Some(BySuccessRate::default()), ..Detection::OFF }
    }

    fn failure_share() -> Detection {
        Detection { failure_share: Some(ByFailureShare::default()), ..Detection::OFF }
    }

    fn latency() -> Detection {
        Detection { latency: Some(ByLatency::default()), ..Detection::OFF }
    }

    #[test]
    fn the_one_far_below_the_mean_success_rate_is_found() {
        let mut intervals = vec![interval(99, 1, 1); 9];
        intervals.push(interval(80, 20, 1));
        assert_eq!(found(&intervals, &success_rate()), [(9, Cause::SuccessRate)]);
    }

    #[test]
    fn when_all_fail_alike_nobody_stands_out() {
        assert_eq!(found(&[interval(1, 99, 1); 10], &success_rate()), []);
        assert_eq!(found(&[interval(33, 67, 1); 7], &success_rate()), [], "rounding is no deviation");
    }

    #[test]
    fn too_few_endpoints_or_requests_say_nothing() {
        let mut few = vec![interval(100, 0, 1); 3];
        few.push(interval(0, 100, 1));
        assert_eq!(found(&few, &success_rate()), [], "four of five endpoints");
        assert_eq!(found(&few, &failure_share()), []);
        let mut quiet = vec![interval(100, 0, 1); 9];
        quiet.push(interval(0, 99, 1));
        assert_eq!(found(&quiet, &success_rate()), [], "99 of 100 requests");
        assert_eq!(found(&[interval(20, 0, 1), interval(20, 0, 900)], &latency()), [], "two of three");
    }

    #[test]
    fn a_share_of_failures_is_judged_alone() {
        let mut intervals = vec![interval(10, 90, 1); 6];
        intervals.push(interval(16, 84, 1));
        intervals.push(interval(0, 100, 1));
        let keys: Vec<usize> = found(&intervals, &failure_share()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [7, 0, 1, 2, 3, 4, 5], "the worst first; 84 % is below 85 %");
        assert_eq!(found(&[interval(15, 85, 1); 5], &failure_share()).len(), 5, "85 % is not");
    }

    #[test]
    fn the_one_several_times_slower_than_its_peers_is_found() {
        let intervals = [5, 6, 7, 8, 60].map(|latency| interval(20, 0, latency));
        assert_eq!(found(&intervals, &latency()), [(4, Cause::Latency)]);
        let close = [5, 6, 7, 8, 20].map(|latency| interval(20, 0, latency));
        assert_eq!(found(&close, &latency()), [], "less than three times the median of the others");
        let fast = [1, 1, 1, 1, 9].map(|latency| interval(20, 0, latency));
        assert_eq!(found(&fast, &latency()), [], "nine times, but by 8 ms");
        let pair = [10, 11, 100].map(|latency| interval(20, 0, latency));
        let strict = ByLatency { slowness: Slowness::new(900).expect("in range"), ..ByLatency::default() };
        let strict = Detection { latency: Some(strict), ..Detection::OFF };
        assert_eq!(found(&pair, &strict), [(2, Cause::Latency)], "nine times 11 ms, its own latency aside");
        let most = [1, 1, 100, 100, 100].map(|latency| interval(20, 0, latency));
        assert_eq!(found(&most, &latency()), [], "most of them cannot be outliers");
    }

    #[test]
    fn an_endpoint_is_named_once_by_the_first_detector() {
        let mut intervals = vec![interval(100, 0, 1); 9];
        intervals.push(interval(10, 90, 500));
        let detection = Detection {
            success_rate: Some(BySuccessRate::default()),
            failure_share: Some(ByFailureShare::default()),
            latency: Some(ByLatency { requests: LeastRequests::LEAST, ..ByLatency::default() }),
            ..Detection::OFF
        };
        assert_eq!(found(&intervals, &detection), [(9, Cause::SuccessRate)]);
    }

    fn any_detection() -> impl Strategy<Value = Detection> {
        (100_u32..3_000, 1_u32..=100, 110_u32..500, 2_u32..6, 1_u32..50).prop_map(
            |(deviations, share, slowness, peers, requests)| {
                let peers = LeastPeers::new(peers).expect("in range");
                let requests = LeastRequests::new(requests).expect("in range");
                let deviations = Deviations::new(deviations).expect("in range");
                let share = FailureShare::new(share).expect("in range");
                let slowness = Slowness::new(slowness).expect("in range");
                Detection {
                    success_rate: Some(BySuccessRate { deviations, peers, requests }),
                    failure_share: Some(ByFailureShare { share, peers, requests }),
                    latency: Some(ByLatency { slowness, excess: Duration::ZERO, peers, requests }),
                    ..Detection::OFF
                }
            },
        )
    }

    proptest! {
        #[test]
        fn the_best_endpoint_is_never_an_outlier_by_comparison(
            detection in any_detection(),
            intervals in prop::collection::vec((0_u32..200, 0_u32..200, 0_u64..1_000), 0..12),
        ) {
            let intervals: Vec<Interval> = intervals.into_iter().map(|(s, f, l)| interval(s, f, l)).collect();
            let best = |number: &dyn Fn(&Interval) -> f64| {
                intervals.iter().map(number).max_by(f64::total_cmp).unwrap_or_default()
            };
            let (rate, speed) = (best(&Interval::success_rate), best(&|i| -(i.mean_latency() as f64)));
            for (key, cause) in found(&intervals, &detection) {
                let found = intervals[key];
                match cause {
                    Cause::SuccessRate => prop_assert!(found.success_rate() < rate),
                    Cause::Latency => prop_assert!(-(found.mean_latency() as f64) < speed),
                    Cause::FailureShare => {
                        let share = detection.failure_share.expect("it is on").share.number();
                        prop_assert!(found.failures * 100 >= share * found.requests());
                    }
                    Cause::Failures | Cause::GatewayFailures | Cause::Probation => prop_assert!(false),
                }
            }
        }
    }
}
