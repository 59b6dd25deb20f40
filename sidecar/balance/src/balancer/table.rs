//! A table of turns by key: from where a key points, endpoints follow in an order that is the same in every sidecar.
//!
//! Enters: who takes part, built by `ring` or `maglev`. Leaves: for a key, the endpoints in its order, some several times.
//! Skipping one (ejected, overloaded, tried before) leaves all other keys where they are. Never here: who is skipped.

use super::Slot;
use crate::{HashKey, Weight};

/// Keeps the place of a key apart from other uses of its hash.
const PLACE: u64 = 1;

/// Endpoints beyond this number have no place: an owner takes two bytes.
const MEMBERS_MAX: usize = 65_535;

/// One that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) key: HashKey,
    pub(super) weight: Weight,
    pub(super) slot: Slot,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    members: Vec<Slot>,
    /// Whose each place is, by its index in `members`.
    owners: Vec<u16>,
    start: Start,
}

/// Where a key's order begins.
#[derive(Debug, Clone)]
pub(super) enum Start {
    /// At the first of these points that is not before the key's hash.
    Point(Vec<u64>),
    /// At the hash, modulo the number of places.
    Remainder,
}

impl Table {
    /// Puts the members in an order that does not depend on where they came from, and lets `build` make the places.
    pub(super) fn new(mut members: Vec<Owner>, build: impl FnOnce(&[Owner]) -> (Vec<u16>, Start)) -> Self {
        members.sort_unstable_by_key(|member| member.key);
        members.truncate(MEMBERS_MAX);
        let (owners, start) = build(&members);
        Self { members: members.iter().map(|member| member.slot).collect(), owners, start }
    }

    /// Endpoints in the order of this key, starting with the one it belongs to. Each place once.
    pub(super) fn walk(&self, key: HashKey) -> impl Iterator<Item = Slot> + '_ {
        let hash = key.salted(PLACE);
        let start = match &self.start {
            Start::Point(points) => points.partition_point(|point| *point < hash),
            Start::Remainder => {
                let places = u64::try_from(self.owners.len()).unwrap_or(u64::MAX).max(1);
                usize::try_from(hash % places).unwrap_or_default()
            }
        };
        let (before, after) = self.owners.split_at_checked(start).unwrap_or((&[], &self.owners));
        after.iter().chain(before).filter_map(|owner| self.members.get(usize::from(*owner)).copied())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::slots::Slots;
    use super::*;

    /// Endpoints named by their numbers, with these weights.
    pub(crate) fn owners(weights: &[u32]) -> Vec<Owner> {
        let mut slots = Slots::new();
        let owner = |(id, weight): (usize, &u32)| Owner {
            key: HashKey::of(format!("endpoint {id}").as_bytes()),
            weight: Weight::new(*weight).expect("in range"),
            slot: slots.insert(()),
        };
        weights.iter().enumerate().map(owner).collect()
    }

    pub(crate) fn keys(count: u64) -> impl Iterator<Item = HashKey> {
        (0..count).map(|key| HashKey::of(&key.to_le_bytes()))
    }

    /// How many of `keys` each endpoint gets.
    pub(crate) fn spread(table: &Table, members: usize, count: u64) -> Vec<u64> {
        let mut counts = vec![0; members];
        for key in keys(count) {
            counts[table.walk(key).next().expect("there are members").index()] += 1;
        }
        counts
    }

    /// How many of `count` keys differ, and how many of them without need: neither from nor to the endpoint `changed`.
    pub(crate) fn moved(before: &Table, after: &Table, changed: usize, count: u64) -> (u64, u64) {
        let (mut moved, mut needless) = (0, 0);
        for key in keys(count) {
            let owner = |table: &Table| table.walk(key).next().map(Slot::index);
            let (from, to) = (owner(before), owner(after));
            moved += u64::from(from != to);
            needless += u64::from(from != to && from != Some(changed) && to != Some(changed));
        }
        (moved, needless)
    }
}
