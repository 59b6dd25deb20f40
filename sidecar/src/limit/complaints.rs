//! Log lines that a peer can cause are written at most so often; what was left out is said with the next one.

use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;

/// A line a second tells a person all that a thousand would.
const INTERVAL: Duration = Duration::from_secs(1);

/// When the last line was written, and how many were not since.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    last: Cell<Option<Instant>>,
    omitted: Cell<u64>,
}

impl Complaints {
    /// Writes the line, unless the last one was written less than a second ago.
    pub(crate) fn say(&self, line: impl FnOnce()) {
        let now = Instant::now();
        if self.last.get().is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            self.omitted.set(self.omitted.get() + 1);
            return;
        }
        self.last.set(Some(now));
        let omitted = self.omitted.take();
        if omitted > 0 {
            tracing::warn!(omitted, "lines like the next one were left out");
        }
        line();
    }
}
