//! Time as an argument.
//!
//! Enters: nanoseconds on a monotonic clock the caller reads once per event. Leaves: differences. Never here: a clock.

use std::time::Duration;

/// Monotonic nanoseconds since any start the caller likes, the same for all calls on one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The time since `earlier`; zero when that is later than `self`.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Nanos {
    type Output = Self;

    /// A later time; the last one there is instead of overflowing (584 years).
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}
