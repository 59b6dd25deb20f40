//! How a new endpoint comes to its full share: little by little, since caches, pools and just-in-time compilers are cold.
//!
//! ```text
//! share
//!  100 % ┤                      ╭────────
//!        │               ╭──────╯
//!        │         ╭─────╯
//!   10 % ┤─────────╯
//!        └─┬─────────────────────┬─────── time since it became ready
//!          0                     window
//! ```
//!
//! Enters: how long an endpoint has been here. Leaves: the part of its weight that counts. Never here: which endpoints are
//! new, which the balancer knows.
//!
//! Source: Envoy's slow start, the formula `max(least, (age / window)^(1 / aggression))`. Two differences: age counts from
//! zero and not from one second, so that short windows work; and it applies to every policy that spreads by load or
//! chance, peak EWMA too, not to hashing, where it would move sessions for no reason.

use crate::numbers::bounded;
use std::time::Duration;

bounded!(
    /// The bend of the ramp, in percent. 100 is a straight line; more rises early, less rises late.
    Aggression, "slow start's aggression", 10..=1000, default 100
);

bounded!(
    /// The share a new endpoint begins with, in percent of its own: without any, its first request would never come.
    LeastWarmth, "slow start's least share", 1..=100, default 10
);

/// The ramp of a new endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// From the moment it is ready until it gets its full share. Zero switches it off.
    pub window: Duration,
    /// The bend of the ramp.
    pub aggression: Aggression,
    /// Where the ramp begins.
    pub least: LeastWarmth,
}

impl SlowStart {
    /// A straight ramp from a tenth of the share, this long.
    pub fn over(window: Duration) -> Self {
        Self { window, aggression: Aggression::DEFAULT, least: LeastWarmth::DEFAULT }
    }

    /// The part of its weight that counts for an endpoint of this age: above 0 and at most 1, never falling with age.
    pub fn warmth(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let part = age.as_secs_f64() / self.window.as_secs_f64();
        let ramp = match self.aggression.number() {
            100 => part,
            aggression => part.powf(100.0 / f64::from(aggression)),
        };
        ramp.max(f64::from(self.least.number()) / 100.0).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ramp_is_a_line_from_a_tenth_to_all() {
        let ramp = SlowStart::over(Duration::from_secs(10));
        let tenths: Vec<f64> = [0, 1, 2, 5, 9, 10, 11]
            .map(|seconds| (ramp.warmth(Duration::from_secs(seconds)) * 10.0).round())
            .to_vec();
        assert_eq!(tenths, [1.0, 1.0, 2.0, 5.0, 9.0, 10.0, 10.0]);
    }

    #[test]
    fn aggression_bends_the_ramp() {
        let with = |aggression| {
            let aggression = Aggression::new(aggression).expect("in range");
            SlowStart { aggression, ..SlowStart::over(Duration::from_secs(100)) }
                .warmth(Duration::from_secs(50))
        };
        assert!(with(50) < with(100) && with(100) < with(200), "{} {} {}", with(50), with(100), with(200));
    }

    #[test]
    fn a_window_of_zero_is_no_ramp() {
        assert!((SlowStart::over(Duration::ZERO).warmth(Duration::ZERO) - 1.0).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn the_ramp_never_falls_and_stays_in_range(
            window in 0_u64..100_000, aggression in 10_u32..=1000, least in 1_u32..=100,
            mut ages in prop::collection::vec(0_u64..200_000, 2..20),
        ) {
            let ramp = SlowStart {
                window: Duration::from_millis(window),
                aggression: Aggression::new(aggression).expect("in range"),
                least: LeastWarmth::new(least).expect("in range"),
            };
            ages.sort_unstable();
            let warmths: Vec<f64> = ages.iter().map(|age| ramp.warmth(Duration::from_millis(*age))).collect();
            prop_assert!(warmths.is_sorted(), "{:?}", warmths);
            prop_assert!(warmths.iter().all(|warmth| (f64::from(least) / 100.0..=1.0).contains(warmth)));
        }
    }
}
