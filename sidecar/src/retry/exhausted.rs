//! Not trying again what others have tried already. In a chain of services each hop that retries multiplies what the one
//! below it sends: five hops of three attempts each are 243 requests for one. So whoever has tried again in vain says so in
//! its answer ([`RETRY`]), and nobody above tries again because of it.
//!
//! ```text
//! outbound: an answer that says it, or retries in vain ─> noted here, and said to the own application
//! inbound:  the application answers with a failure, and something was noted while it worked on it ─> said to the caller
//! ```
//!
//! The application in between passes nothing on, and need not: that a call of the same workload was in vain while the request
//! was being worked on is taken as the cause of its failure. Where it is not, a retry is not made that might have helped;
//! the caller's budget would have allowed few of those. One note is shared by all workers, written only in vain, and read
//! only when an application answers with a failure.

use http::{HeaderName, HeaderValue};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Says that another attempt is in vain. From a sidecar, or from an application that knows.
pub(crate) const RETRY: HeaderName = HeaderName::from_static("outrigger-retry");

/// Its one value.
pub(crate) const NEVER: HeaderValue = HeaderValue::from_static("never");

/// When a call of this workload was last in vain.
#[derive(Debug)]
pub(crate) struct Exhausted {
    base: Instant,
    /// Nanoseconds since `base`, plus one; 0: never.
    last: AtomicU64,
}

impl Exhausted {
    pub(crate) fn new(now: Instant) -> Self {
        Self { base: now, last: AtomicU64::new(0) }
    }

    /// A call was in vain, though tried again.
    pub(crate) fn note(&self, now: Instant) {
        self.last.fetch_max(self.nanos(now).saturating_add(1), Ordering::Relaxed);
    }

    /// Whether one was since then.
    pub(crate) fn since(&self, then: Instant) -> bool {
        self.last.load(Ordering::Relaxed) > self.nanos(then)
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

/// Whether a status is a failure that callers may try again.
pub(crate) fn is_failure(status: u16) -> bool {
    status == 429 || status >= 500
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_note_holds_for_what_began_before_it_and_not_for_what_begins_later() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let exhausted = Exhausted::new(start);
        assert!(!exhausted.since(at(0)));
        exhausted.note(at(5));
        assert_eq!([0, 4, 5, 6].map(|second| exhausted.since(at(second))), [true, true, true, false]);
        exhausted.note(at(3));
        assert!(exhausted.since(at(4)), "an older note does not take a newer one back");
    }
}
