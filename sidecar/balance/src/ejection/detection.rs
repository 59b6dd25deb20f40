//! What makes an endpoint an outlier, and how long it is out then: the numbers of each detector.
//!
//! Enters: what a person wrote. Leaves: a [`Detection`] that the laws beside read. Never here: the laws.
//!
//! Source: Envoy's `outlier_detection`, whose numbers are the defaults where nothing else is said, and gRFC A50. By latency
//! nobody there ejects.

use crate::numbers::bounded;
use std::time::Duration;

bounded!(
    /// Failures in a row. One or two are the request's fault as often as the endpoint's; five in a row hardly ever.
    FailuresInARow, "the number of failures in a row", 1..=1_000, default 5
);
bounded!(
    /// How many standard deviations below the mean a success rate is an outlier's, in thousandths.
    Deviations, "the standard deviations in thousandths", 100..=10_000, default 1_900
);
bounded!(
    /// The share of requests that may fail, in percent.
    FailureShare, "the share of failures in percent", 1..=100, default 85
);
bounded!(
    /// How slow is too slow, in percent of the median of the peers: 300 is three times as slow.
    Slowness, "the slowness in percent of the median", 110..=10_000, default 300
);
bounded!(
    /// Endpoints with enough requests that a comparison needs.
    LeastPeers, "the number of endpoints to compare", 2..=1_000, default 5
);
bounded!(
    /// Requests of an endpoint in one interval without which nothing is said of it.
    LeastRequests, "the number of requests to judge by", 1..=1_000_000, default 100
);
bounded!(
    /// How many of the ready endpoints may be out together, in percent, rounded up, and never all. 0: nobody ever.
    ///
    /// When more than half fail, the cause is rarely the endpoints (a shared database, the request itself, our own
    /// network), and the few that are left would be crushed by the load of all. Envoy's 10 % is one of ten: a zone that
    /// fails, a third of all, then keeps most of its traffic.
    EjectedShare, "the share of ejected endpoints in percent", 0..=100, default 50
);

/// Ejects endpoints whose success rate is far below the others', whatever the rate of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BySuccessRate {
    /// How far below the mean.
    pub deviations: Deviations,
    /// With fewer comparable endpoints, mean and deviation say nothing.
    pub peers: LeastPeers,
    /// Requests of an endpoint in one interval that make it comparable.
    pub requests: LeastRequests,
}

/// Ejects endpoints that fail this share of their requests, whatever the others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByFailureShare {
    /// From this share on.
    pub share: FailureShare,
    /// Needs this many endpoints with enough requests.
    pub peers: LeastPeers,
    /// Requests of an endpoint in one interval without which it is not judged; by default 50.
    pub requests: LeastRequests,
}

impl Default for ByFailureShare {
    fn default() -> Self {
        let (share, peers) = (FailureShare::DEFAULT, LeastPeers::DEFAULT);
        Self { share, peers, requests: LeastRequests::new(50).unwrap_or_default() }
    }
}

/// Ejects endpoints whose mean latency is a multiple of the median of their peers' means.
///
/// Peak EWMA sends a slow endpoint less by itself; this is for the other policies, and for those who would rather lose
/// an endpoint than serve a few slow answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByLatency {
    /// From this multiple on.
    pub slowness: Slowness,
    /// And only when it is slower by this much: between 50 µs and 200 µs nobody needs protection. By default 10 ms.
    pub excess: Duration,
    /// Needs this many endpoints with enough requests; by default 3.
    pub peers: LeastPeers,
    /// Well-answered requests of an endpoint in one interval without which it is not judged; by default 20.
    pub requests: LeastRequests,
}

impl Default for ByLatency {
    fn default() -> Self {
        Self {
            slowness: Slowness::DEFAULT,
            excess: Duration::from_millis(10),
            peers: LeastPeers::new(3).unwrap_or_default(),
            requests: LeastRequests::new(20).unwrap_or_default(),
        }
    }
}

/// How the length of an ejection grows with the number of ejections so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Growth {
    /// Twice as long each time: soon back after a restart, soon rare when broken.
    #[default]
    Doubling,
    /// Longer by the first length each time: Envoy's.
    Linear,
}

/// How long ejections last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sentence {
    /// The first one. By default 1 s: long enough for a process to restart, short enough to lose little capacity to a
    /// mistake.
    pub shortest: Duration,
    /// No ejection lasts longer, so a repaired endpoint is back by then; and who stayed in this long after an ejection
    /// begins anew at the shortest. By default 60 s. One below the shortest counts as the shortest.
    pub longest: Duration,
    /// From one to the next.
    pub growth: Growth,
}

impl Sentence {
    /// The length of an ejection after `earlier` ones.
    pub fn length(&self, earlier: u32) -> Duration {
        let factor = match self.growth {
            Growth::Doubling => 1_u32.checked_shl(earlier).unwrap_or(u32::MAX),
            Growth::Linear => earlier.saturating_add(1),
        };
        self.shortest.saturating_mul(factor).min(self.longest.max(self.shortest))
    }
}

impl Default for Sentence {
    fn default() -> Self {
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        Self { shortest, longest, growth: Growth::Doubling }
    }
}

/// Which detectors are on, and what follows. By default: five gateway failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detection {
    /// Failures of any kind in a row. Off by default: an application that answers 500 often means the request, and
    /// ejecting its endpoints lets one client's bad request take them all out, one after the other.
    pub failures: Option<FailuresInARow>,
    /// Gateway failures in a row: unreachable, broken off, 502, 503, 504. On.
    pub gateway_failures: Option<FailuresInARow>,
    /// At each interval's end. Off by default.
    pub success_rate: Option<BySuccessRate>,
    /// At each interval's end. Off by default.
    pub failure_share: Option<ByFailureShare>,
    /// At each interval's end. Off by default.
    pub latency: Option<ByLatency>,
    /// How long.
    pub sentence: Sentence,
    /// How many at most.
    pub most: EjectedShare,
}

impl Detection {
    /// Nobody is ever ejected.
    pub const OFF: Self = Self {
        failures: None,
        gateway_failures: None,
        success_rate: None,
        failure_share: None,
        latency: None,
        sentence: Sentence {
            shortest: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            growth: Growth::Doubling,
        },
        most: EjectedShare::DEFAULT,
    };

    /// Whether anything has to be looked at when an interval ends.
    pub fn needs_intervals(&self) -> bool {
        self.success_rate.is_some() || self.failure_share.is_some() || self.latency.is_some()
    }

    /// How many of `ready` endpoints may be out together. One of one never: trying it is better than refusing.
    pub fn most_ejected(&self, ready: usize) -> usize {
        let percent = usize::try_from(self.most.number()).unwrap_or(100);
        ready.saturating_mul(percent).div_ceil(100).min(ready.saturating_sub(1))
    }
}

impl Default for Detection {
    fn default() -> Self {
        Self { gateway_failures: Some(FailuresInARow::DEFAULT), ..Self::OFF }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lengths(sentence: Sentence) -> Vec<u64> {
        (0..9).map(|earlier| sentence.length(earlier).as_secs()).collect()
    }

    #[test]
    fn ejections_grow_up_to_the_longest() {
        assert_eq!(lengths(Sentence::default()), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let linear =
            Sentence { growth: Growth::Linear, shortest: Duration::from_secs(10), ..Sentence::default() };
        assert_eq!(lengths(linear), [10, 20, 30, 40, 50, 60, 60, 60, 60]);
        assert_eq!(Sentence::default().length(u32::MAX).as_secs(), 60);
        let crossed = Sentence { longest: Duration::ZERO, ..Sentence::default() };
        assert_eq!(crossed.length(3).as_secs(), 1, "the shortest wins");
    }

    #[test]
    fn at_most_half_and_never_all() {
        let most: Vec<usize> = (0..=7).map(|ready| Detection::default().most_ejected(ready)).collect();
        assert_eq!(most, [0, 0, 1, 2, 2, 3, 3, 4]);
    }

    proptest! {
        #[test]
        fn whatever_the_share_one_is_left(share in 0_u32..=100, ready in 0_usize..10_000) {
            let most = EjectedShare::new(share).expect("in range");
            let most = Detection { most, ..Detection::default() }.most_ejected(ready);
            prop_assert!(most < ready.max(1));
            prop_assert!(most * 100 < ready * share as usize + 100, "rounded up, no further");
        }
    }
}
