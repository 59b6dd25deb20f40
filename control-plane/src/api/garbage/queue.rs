//! What is to be looked at, and when. Pure.

use crate::store::Key;
use std::collections::{BTreeSet, HashMap};
use tokio::time::Instant;

/// Each once, by the earliest time that was asked for.
#[derive(Debug, Default)]
pub(super) struct Queue {
    times: HashMap<Key, Instant>,
    order: BTreeSet<(Instant, Key)>,
}

impl Queue {
    pub(super) fn push(&mut self, key: Key, at: Instant) {
        if let Some(known) = self.times.get(&key).copied() {
            if known <= at {
                return;
            }
            self.order.remove(&(known, key.clone()));
        }
        self.times.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// The next whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Key> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.times.remove(&key);
        Some(key)
    }

    /// When the next one's time comes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::Kind;
    use std::time::Duration;

    #[test]
    fn each_comes_once_at_its_earliest_time() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let key = |name: &str| Key::new(Kind::Service, "shop", name);
        queue.push(key("a"), at(2));
        queue.push(key("b"), at(1));
        queue.push(key("a"), at(3));
        queue.push(key("b"), at(0));
        assert_eq!(queue.pop(now), Some(key("b")));
        assert_eq!((queue.pop(now), queue.next()), (None, Some(at(2))));
        assert_eq!((queue.pop(at(2)), queue.pop(at(9)), queue.next()), (Some(key("a")), None, None));
    }
}
