//! Log lines that a peer can cause are written at most so often, each reason by itself; what was left out is said with the
//! next one.

use crate::refusal::Reason;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// A line a second tells a person all that a thousand would.
const INTERVAL: Duration = Duration::from_secs(1);

/// When the last line was written, and how many were not since. As many entries as there are reasons.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    said: RefCell<HashMap<Reason, Said>>,
}

#[derive(Debug)]
struct Said {
    last: Instant,
    omitted: u64,
}

impl Complaints {
    /// Writes the line, unless the last one with this reason was written less than a second ago.
    pub(crate) fn say(&self, reason: Reason, line: impl FnOnce()) {
        let now = Instant::now();
        let mut said = self.said.borrow_mut();
        let before = said.get_mut(&reason);
        let omitted = match before {
            Some(before) if now.saturating_duration_since(before.last) < INTERVAL => {
                before.omitted += 1;
                return;
            }
            Some(before) => before.omitted,
            None => 0,
        };
        said.insert(reason, Said { last: now, omitted: 0 });
        if omitted > 0 {
            tracing::warn!(omitted, reason = reason.word(), "lines like the next one were left out");
        }
        line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_reason_does_not_silence_another() {
        let complaints = Complaints::default();
        let said = RefCell::new(Vec::new());
        let say = |reason: Reason| complaints.say(reason, || said.borrow_mut().push(reason));
        for reason in [Reason::ConnectRefused, Reason::Plaintext, Reason::Plaintext] {
            say(reason);
        }
        assert_eq!(*said.borrow(), [Reason::ConnectRefused, Reason::Plaintext]);
        tokio::time::advance(INTERVAL).await;
        say(Reason::Plaintext);
        assert_eq!(said.borrow().len(), 3);
    }
}
