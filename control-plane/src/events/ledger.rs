//! One Event for what happens again: what enters is notices and the time; what leaves is what to write now, and when to look
//! again. A storm of changes costs a bounded number of writes. Pure over a clock.

use super::notable::Notice;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// From writing an Event to writing it again, with how often it happened meanwhile.
const QUIET: Duration = Duration::from_secs(10);
/// Events written in one [`WINDOW`]; more are left out, and counted.
const WRITES_MAX: u32 = 100;
/// The time [`WRITES_MAX`] is for.
const WINDOW: Duration = Duration::from_secs(10);
/// Notices remembered, so that a storm of different ones takes no memory.
const KNOWN_MAX: usize = 4_096;

/// What was told lately.
#[derive(Debug, Default)]
pub struct Ledger {
    known: BTreeMap<(String, String, String), Entry>,
    window: Option<(Instant, u32)>,
    left_out: u64,
}

#[derive(Debug)]
struct Entry {
    notice: Notice,
    due: Instant,
    more: u32,
}

impl Ledger {
    /// Takes in a notice; hands it back with how often it happened if it is to be written now.
    pub fn tell(&mut self, notice: Notice, now: Instant) -> Option<(Notice, u32)> {
        let key = (notice.uid.clone(), notice.reason.clone(), notice.message.clone());
        if let Some(entry) = self.known.get_mut(&key) {
            entry.more += 1;
            return None;
        }
        if !self.has_room(now) || self.known.len() >= KNOWN_MAX {
            self.left_out += 1;
            return None;
        }
        self.known.insert(key, Entry { notice: notice.clone(), due: now + QUIET, more: 0 });
        Some((notice, 1))
    }

    /// What happened again and is to be written now. What did not is forgotten.
    pub fn due(&mut self, now: Instant) -> Vec<(Notice, u32)> {
        let mut due = Vec::new();
        self.known.retain(|_, entry| {
            if entry.due > now {
                return true;
            }
            let more = std::mem::take(&mut entry.more);
            if more > 0 {
                due.push((entry.notice.clone(), more));
                entry.due = now + QUIET;
            }
            more > 0
        });
        due
    }

    /// When to look again; nothing while nothing is known.
    pub fn next(&self) -> Option<Instant> {
        self.known.values().map(|entry| entry.due).min()
    }

    /// How many notices were left out since this was asked last.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn has_room(&mut self, now: Instant) -> bool {
        let (since, count) = match self.window {
            Some((since, count)) if now < since + WINDOW => (since, count),
            Some(_) | None => (now, 0),
        };
        self.window = Some((since, count + 1));
        count < WRITES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Key;
    use manifests::Kind;

    fn notice(uid: usize) -> Notice {
        Notice {
            about: Key::new(Kind::Service, "shop", "web"),
            uid: uid.to_string(),
            is_warning: true,
            reason: "Why".to_owned(),
            message: "what".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_happens_again_is_counted_and_told_once_in_a_while() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        assert_eq!(ledger.tell(notice(1), start), Some((notice(1), 1)));
        for _ in 0..5 {
            assert_eq!(ledger.tell(notice(1), start), None);
        }
        assert_eq!(ledger.next(), Some(start + QUIET));
        assert_eq!(ledger.due(start), []);
        assert_eq!(ledger.due(start + QUIET), [(notice(1), 5)]);
        assert_eq!(ledger.due(start + QUIET * 2), [], "it was quiet, and is forgotten");
        assert_eq!(ledger.next(), None);
        assert!(ledger.tell(notice(1), start + QUIET * 2).is_some());
    }

    #[tokio::test]
    async fn a_storm_is_cut_and_the_rest_counted() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let told = (0..1_000).filter(|uid| ledger.tell(notice(*uid), start).is_some()).count();
        assert_eq!((told, ledger.take_left_out(), ledger.take_left_out()), (100, 900, 0));
        assert!(ledger.tell(notice(5_000), start + WINDOW).is_some(), "the next window has room");
    }
}
