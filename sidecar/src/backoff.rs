//! How long the control thread waits before it tries again: doubling, with jitter, so that a thousand sidecars do not
//! come back to a restarted control plane in the same instant. Pure; [`random`] is where the randomness comes from.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The waits after successive failures.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits around `first` after the first failure, and never longer than `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// The wait after one more failure: between half of the doubled wait and all of it. `random` is in 0..1.
    pub(crate) fn after_failure(&mut self, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.most).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// It works again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A random number in 0..1, from the seeds of the standard library's hash maps: spreading waits needs no better one.
#[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
pub(crate) fn random() -> f64 {
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let waits: Vec<u64> = (0..9).map(|_| backoff.after_failure(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        for _ in 0..100 {
            assert_eq!(backoff.after_failure(0.0), Duration::from_secs(30), "jitter takes at most half");
        }
        backoff.reset();
        assert_eq!(backoff.after_failure(1.0), Duration::from_secs(1));
    }

    #[test]
    fn random_numbers_are_in_range_and_differ() {
        let numbers: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(numbers.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
