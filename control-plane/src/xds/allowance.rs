//! How often a stream may announce its workload: each announcement is a write to the store, which a broken sidecar must
//! not flood. Pure: the caller passes the time.

use std::time::Duration;
use tokio::time::Instant;

/// Announcements that may come at once: a start with a few changes of readiness.
const BURST: u32 = 10;
/// After that, the time for each. What is said in between is taken together: the newest counts.
const EVERY: Duration = Duration::from_secs(1);

/// What a stream may still announce.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    /// When one more is allowed; of no meaning while the burst is whole.
    grows: Option<Instant>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: BURST, grows: None }
    }
}

impl Allowance {
    /// Takes one announcement.
    ///
    /// # Errors
    /// When there is none left: the time at which there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while let Some(at) = self.grows.filter(|at| *at <= now) {
            self.left += 1;
            self.grows = (self.left < BURST).then_some(at + EVERY);
        }
        let grows = *self.grows.get_or_insert(now + EVERY);
        self.left = self.left.checked_sub(1).ok_or(grows)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_then_one_a_second() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(allowance.take(start), Ok(()));
        }
        assert_eq!(allowance.take(start), Err(start + EVERY));
        assert_eq!(allowance.take(start + EVERY), Ok(()));
        assert_eq!(allowance.take(start + EVERY), Err(start + EVERY * 2));
    }

    #[test]
    fn what_is_not_used_grows_back_to_the_burst_and_no_further() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        for _ in 0..BURST {
            allowance.take(start).unwrap();
        }
        let later = start + EVERY * 1_000;
        let taken = (0..100).filter(|_| allowance.take(later).is_ok()).count();
        assert_eq!(taken, usize::try_from(BURST).unwrap());
    }
}
