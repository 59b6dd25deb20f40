//! How long requests usually take: about their median, in one number.
//!
//! Enters: latencies. Leaves: what half of them are below. Never here: which of them were failures.
//!
//! Source: Ma, Muthukrishnan and Sandler, "Frugal Streaming for Estimating Quantiles" (2013), with steps that are a share of
//! the estimate instead of units. A mean would be what the slowest make of it; a histogram costs kilobytes.

use std::time::Duration;

/// One step moves the estimate by this part of itself: some hundred requests follow a latency that is ten times another,
/// and between steps it is off by 3 %.
const STEP: u64 = 32;

/// About the median of some latencies.
#[derive(Debug, Clone, Copy, Default)]
pub struct TypicalLatency {
    /// 0: none was seen yet.
    nanos: u64,
}

impl TypicalLatency {
    /// Takes in the latency of a request.
    pub fn saw(&mut self, latency: Duration) {
        let latency = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1);
        let step = (self.nanos / STEP).max(1);
        self.nanos = match self.nanos {
            0 => latency,
            typical if latency > typical => typical.saturating_add(step).min(latency),
            typical if latency < typical => typical.saturating_sub(step).max(latency),
            typical => typical,
        };
    }

    /// What about half of the latencies are below; zero before the first.
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_slowest_few_do_not_move_it() {
        let mut typical = TypicalLatency::default();
        for number in 0..1_000_u64 {
            typical.saw(Duration::from_millis(if number % 10 == 9 { 5_000 } else { 10 }));
        }
        assert!(typical.get() < Duration::from_millis(12), "{:?}", typical.get());
    }

    #[test]
    fn it_follows_a_change_within_some_hundred_requests() {
        let mut typical = TypicalLatency::default();
        typical.saw(Duration::from_millis(1));
        (0..200).for_each(|_| typical.saw(Duration::from_millis(100)));
        assert_eq!(typical.get(), Duration::from_millis(100));
        (0..200).for_each(|_| typical.saw(Duration::from_millis(1)));
        assert_eq!(typical.get(), Duration::from_millis(1));
    }

    proptest! {
        #[test]
        fn it_is_always_between_the_least_and_the_most(
            latencies in prop::collection::vec(1_u64..10_000_000_000, 1..200),
        ) {
            let mut typical = TypicalLatency::default();
            latencies.iter().for_each(|nanos| typical.saw(Duration::from_nanos(*nanos)));
            let nanos = typical.get().as_nanos();
            let (least, most) = (latencies.iter().min().unwrap(), latencies.iter().max().unwrap());
            prop_assert!((u128::from(*least)..=u128::from(*most)).contains(&nanos));
        }
    }
}
