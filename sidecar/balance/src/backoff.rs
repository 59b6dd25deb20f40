//! How long to wait before the next try.
//!
//! Enters: the number of the try and randomness. Leaves: a duration. Never here: waiting, or whether to try at all.

use crate::Rng;
use std::time::Duration;

/// Exponential backoff with full jitter: evenly between zero and a ceiling that doubles with each try.
///
/// Source: Brooker, "Exponential Backoff and Jitter" (AWS, 2015): of the variants compared there, full jitter does the
/// least work in total, because clients that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    most: Duration,
}

impl Backoff {
    /// For retrying a request: up to 25 ms before the first retry, at most 250 ms. Envoy's defaults: a caller still waits
    /// for the answer.
    pub const RETRY: Self = Self::new(Duration::from_millis(25), Duration::from_millis(250));

    /// The ceiling before the first retry, and the highest ceiling.
    pub const fn new(base: Duration, most: Duration) -> Self {
        Self { base, most }
    }

    /// The ceiling before the first retry.
    pub const fn base(&self) -> Duration {
        self.base
    }

    /// How long to wait before retry number `retry`, counted from 0.
    pub fn delay(&self, retry: u32, rng: &mut impl Rng) -> Duration {
        let ceiling = self.ceiling(retry);
        ceiling.mul_f64(f64::from(rng.below(u32::MAX)) / f64::from(u32::MAX))
    }

    fn ceiling(&self, retry: u32) -> Duration {
        let factor = 1_u32.checked_shl(retry).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SmallRng;

    #[test]
    fn the_ceiling_doubles_and_stops() {
        let ceilings: Vec<u128> = (0..6).map(|retry| Backoff::RETRY.ceiling(retry).as_millis()).collect();
        assert_eq!(ceilings, [25, 50, 100, 200, 250, 250]);
        assert_eq!(Backoff::RETRY.ceiling(u32::MAX).as_millis(), 250);
    }

    #[test]
    fn delays_fill_the_whole_range_below_the_ceiling() {
        let mut rng = SmallRng::seeded(3);
        let delays: Vec<Duration> = (0..1_000).map(|_| Backoff::RETRY.delay(0, &mut rng)).collect();
        assert!(delays.iter().all(|delay| *delay <= Duration::from_millis(25)));
        assert!(delays.iter().any(|delay| *delay < Duration::from_millis(2)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_millis(23)));
    }
}
