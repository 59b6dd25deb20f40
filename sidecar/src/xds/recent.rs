//! What traffic has asked for lately, bounded: a full set lets go of what was used longest ago, and what nobody uses is
//! let go in time. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Names of one sort, and when each was last used.
#[derive(Debug)]
pub(crate) struct Recent<K> {
    most: usize,
    used: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Recent<K> {
    /// An empty set of at most `most` names.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, used: BTreeMap::new() }
    }

    /// Traffic asks for `name`. True if it was not wanted yet.
    pub(crate) fn ask(&mut self, name: &K, now: Instant) -> bool {
        if let Some(used) = self.used.get_mut(name) {
            *used = now;
            return false;
        }
        if self.used.len() >= self.most {
            // Looked for one by one: a full set is rare, and a name more is a message to the control plane in any case.
            let oldest = self.used.iter().min_by_key(|(_, used)| **used).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.used.remove(&oldest));
        }
        self.used.insert(name.clone(), now);
        true
    }

    /// Traffic used `name` at `when`.
    pub(crate) fn used(&mut self, name: &K, when: Instant) {
        if let Some(used) = self.used.get_mut(name) {
            *used = when.max(*used);
        }
    }

    /// Lets go of what was not used for `idle`. True if anything was.
    pub(crate) fn expire(&mut self, idle: Duration, now: Instant) -> bool {
        let before = self.used.len();
        self.used.retain(|_, used| now.saturating_duration_since(*used) < idle);
        self.used.len() != before
    }

    /// The names wanted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &K> {
        self.used.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn names(recent: &Recent<u8>) -> Vec<u8> {
        recent.names().copied().collect()
    }

    #[test]
    fn a_full_set_lets_go_of_what_was_used_longest_ago() {
        let (mut recent, start) = (Recent::new(2), Instant::now());
        assert!(recent.ask(&1, start));
        assert!(recent.ask(&2, start + SECOND));
        recent.used(&1, start + SECOND * 2);
        assert!(!recent.ask(&2, start + SECOND));
        assert!(recent.ask(&3, start + SECOND * 3));
        assert_eq!(names(&recent), [1, 3]);
    }

    #[test]
    fn what_nobody_uses_is_let_go() {
        let (mut recent, start) = (Recent::new(9), Instant::now());
        recent.ask(&1, start);
        recent.ask(&2, start + SECOND);
        assert!(!recent.expire(SECOND * 5, start + SECOND * 4));
        assert!(recent.expire(SECOND * 5, start + SECOND * 5));
        assert_eq!(names(&recent), [2]);
    }
}
