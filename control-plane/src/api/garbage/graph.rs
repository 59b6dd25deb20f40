//! Who owns what, as far as it is known. Pure.

use super::ties::Owner;
use crate::store::Key;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// From when an object is known until an owner that was never there counts as gone: what is restored from a backup may come
/// before its owner.
pub(super) const MISSING: Duration = Duration::from_secs(60);

/// Only what is owned costs memory here.
#[derive(Debug, Default)]
pub(super) struct Graph {
    owned: HashMap<Key, Owned>,
    /// By `uid`.
    owners: HashMap<String, Holding>,
}

#[derive(Debug)]
struct Owned {
    owners: Vec<Owner>,
    since: Instant,
}

#[derive(Debug, Default)]
struct Holding {
    owned: BTreeSet<Key>,
    /// It was seen to go.
    is_gone: bool,
}

impl Graph {
    /// Notes an object's owners, none if it has none. Returns those it had before and has no more.
    pub(super) fn note(&mut self, key: &Key, owners: Vec<Owner>, now: Instant) -> Vec<Owner> {
        if self.owned.get(key).is_some_and(|known| known.owners == owners) {
            return Vec::new();
        }
        let mut left = self.forget(key);
        left.retain(|owner| owners.iter().all(|it| it.uid != owner.uid));
        if !owners.is_empty() {
            for owner in &owners {
                self.owners.entry(owner.uid.clone()).or_default().owned.insert(key.clone());
            }
            self.owned.insert(key.clone(), Owned { owners, since: now });
        }
        left
    }

    /// Forgets an object. Returns the owners it had.
    pub(super) fn forget(&mut self, key: &Key) -> Vec<Owner> {
        let Some(Owned { owners, .. }) = self.owned.remove(key) else { return Vec::new() };
        for owner in &owners {
            if let Some(holding) = self.owners.get_mut(&owner.uid) {
                holding.owned.remove(key);
                if holding.owned.is_empty() {
                    self.owners.remove(&owner.uid);
                }
            }
        }
        owners
    }

    /// Whether anything is owned at all.
    pub(super) fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// An object is gone. Returns what it owned.
    pub(super) fn end(&mut self, uid: &str) -> Vec<Key> {
        let Some(holding) = self.owners.get_mut(uid) else { return Vec::new() };
        holding.is_gone = true;
        holding.owned.iter().cloned().collect()
    }

    /// What an object owns.
    pub(super) fn owned_by(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.owners.get(uid).into_iter().flat_map(|holding| &holding.owned)
    }

    /// Whether something that an object owns holds up its end.
    pub(super) fn is_blocked(&self, uid: &str) -> bool {
        let mut owned = self.owned_by(uid).filter_map(|key| self.owned.get(key));
        owned.any(|it| it.owners.iter().any(|owner| owner.uid == uid && owner.is_blocked()))
    }

    /// From when an owner that is not there counts as gone.
    pub(super) fn gone_from(&self, key: &Key, uid: &str, now: Instant) -> Instant {
        if self.owners.get(uid).is_some_and(|holding| holding.is_gone) {
            return now;
        }
        self.owned.get(key).map_or(now, |it| it.since) + MISSING
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::Kind;
    use serde_json::json;

    fn owner(uid: &str, is_blocked: bool) -> Owner {
        let owner = json!({"apiVersion": "v1", "kind": "Service", "name": uid, "uid": uid, "blockOwnerDeletion": is_blocked});
        serde_json::from_value(owner).unwrap()
    }

    fn key(name: &str) -> Key {
        Key::new(Kind::ConfigMap, "shop", name)
    }

    #[test]
    fn what_is_owned_is_known_until_it_is_forgotten() {
        let (mut graph, now) = (Graph::default(), Instant::now());
        assert!(graph.note(&key("a"), vec![owner("1", true), owner("2", false)], now).is_empty());
        assert!(graph.note(&key("b"), vec![owner("2", false)], now).is_empty());
        assert!(graph.owned_by("2").eq([&key("a"), &key("b")]));
        assert_eq!(
            [graph.is_blocked("1"), graph.is_blocked("2"), graph.is_blocked("3")],
            [true, false, false]
        );
        assert_eq!(graph.note(&key("a"), vec![owner("2", false)], now), [owner("1", true)]);
        assert!(!graph.is_blocked("1"));
        assert_eq!(graph.note(&key("a"), Vec::new(), now), [owner("2", false)]);
        assert_eq!(graph.forget(&key("b")), [owner("2", false)]);
        assert!(graph.is_empty() && graph.owners.is_empty());
    }

    #[test]
    fn an_owner_that_was_never_there_is_waited_for_and_one_that_went_is_not() {
        let (mut graph, now) = (Graph::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        graph.note(&key("a"), vec![owner("1", false)], now);
        graph.note(&key("a"), vec![owner("1", false)], later);
        assert_eq!(graph.gone_from(&key("a"), "1", later), now + MISSING);
        assert_eq!(graph.end("1"), [key("a")]);
        assert_eq!(graph.gone_from(&key("a"), "1", later), later);
        assert!(graph.end("2").is_empty());
    }
}
