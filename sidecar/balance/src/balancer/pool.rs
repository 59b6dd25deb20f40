//! The endpoints of one tier of one level, and draws among several such pools.
//!
//! Enters: slots with their weights. Leaves: one of them at random, by weight. Adding and removing one is constant time;
//! a draw is constant time while all weights are 1, else logarithmic, with sums that are renewed after a change. Never
//! here: which pools to draw from.

use super::Slot;
use crate::{Rng, Weight};

/// Slots in no order.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    entries: Vec<Entry>,
    weight: u64,
    /// Requests under way to all of them.
    pending: u64,
    /// How many have another weight than 1.
    uneven: usize,
    /// The weight of all entries up to and including each; empty when out of date, or when none is uneven.
    sums: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) slot: Slot,
    pub(super) weight: Weight,
}

impl Pool {
    /// Adds an endpoint and says in which place it is.
    pub(super) fn push(&mut self, entry: Entry, pending: u32) -> usize {
        self.weight += u64::from(entry.weight.number());
        self.pending += u64::from(pending);
        self.uneven += usize::from(entry.weight != Weight::DEFAULT);
        self.sums.clear();
        self.entries.push(entry);
        self.entries.len() - 1
    }

    /// Takes out the endpoint in this place, and says which one is in this place now.
    pub(super) fn remove(&mut self, place: usize, pending: u32) -> Option<Slot> {
        if place >= self.entries.len() {
            return None;
        }
        let entry = self.entries.swap_remove(place);
        self.weight -= u64::from(entry.weight.number());
        self.pending = self.pending.saturating_sub(u64::from(pending));
        self.uneven -= usize::from(entry.weight != Weight::DEFAULT);
        self.sums.clear();
        self.entries.get(place).map(|moved| moved.slot)
    }

    /// An endpoint in this pool has `after` requests under way, where it had `before`.
    pub(super) fn shift_pending(&mut self, before: u32, after: u32) {
        self.pending = (self.pending + u64::from(after)).saturating_sub(u64::from(before));
    }

    /// Renews the sums, if draws need them.
    pub(super) fn prepare(&mut self) {
        if self.uneven == 0 || self.sums.len() == self.entries.len() {
            return;
        }
        let mut sum = 0;
        self.sums.clear();
        self.sums.extend(self.entries.iter().map(|entry| {
            sum += u64::from(entry.weight.number());
            sum
        }));
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    fn at(&self, place: usize) -> Option<Slot> {
        self.entries.get(place).map(|entry| entry.slot)
    }

    fn at_weight(&self, weight: u64) -> Option<Slot> {
        self.at(match self.uneven {
            0 => usize::try_from(weight).unwrap_or(usize::MAX),
            _ => self.sums.partition_point(|sum| *sum <= weight),
        })
    }
}

/// Several pools as if they were one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidates<'a> {
    pools: &'a [Pool],
    count: usize,
    weight: u64,
    pending: u64,
    uneven: usize,
}

impl<'a> Candidates<'a> {
    /// The pools must be [prepared](Pool::prepare).
    pub(super) fn new(pools: &'a [Pool]) -> Self {
        let mut all = Self { pools, count: 0, weight: 0, pending: 0, uneven: 0 };
        for pool in pools {
            all.count += pool.entries.len();
            all.weight += pool.weight;
            all.pending += pool.pending;
            all.uneven += pool.uneven;
        }
        all
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) fn pending(&self) -> u64 {
        self.pending
    }

    /// Whether all have the weight 1.
    pub(super) fn are_even(&self) -> bool {
        self.uneven == 0
    }

    /// What an endpoint weighs on average.
    pub(super) fn mean_weight(&self) -> f64 {
        // Exact below 2^32 in sum, and close enough beyond.
        let number = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        number(self.weight) / number(u64::try_from(self.count.max(1)).unwrap_or(u64::MAX))
    }

    /// One of them at random, by weight.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Option<Slot> {
        let mut weight = if self.are_even() {
            u64::from(rng.below(u32::try_from(self.count).unwrap_or(u32::MAX)))
        } else {
            rng.below_u64(self.weight)
        };
        for pool in self.pools {
            if weight < pool.weight {
                return pool.at_weight(weight);
            }
            weight -= pool.weight;
        }
        None
    }

    /// The first that is wanted, from a random place on, whatever its weight.
    pub(super) fn search(&self, rng: &mut impl Rng, is_wanted: impl Fn(Slot) -> bool) -> Option<Slot> {
        let start = rng.below(u32::try_from(self.count).unwrap_or(u32::MAX));
        let start = usize::try_from(start).unwrap_or_default();
        let after = self.slots().skip(start);
        after.chain(self.slots().take(start)).find(|slot| is_wanted(*slot))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        self.pools.iter().flat_map(|pool| pool.entries.iter().copied())
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + use<'a> {
        self.entries().map(|entry| entry.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::Slots;
    use super::*;
    use crate::SmallRng;
    use proptest::prelude::*;

    fn pools(weights: &[Vec<u32>]) -> (Vec<Pool>, Vec<u64>) {
        let mut slots = Slots::new();
        let mut pools = Vec::new();
        for weights in weights {
            let mut pool = Pool::default();
            for weight in weights {
                let weight = Weight::new(*weight).expect("in range");
                pool.push(Entry { slot: slots.insert(()), weight }, 0);
            }
            pool.prepare();
            pools.push(pool);
        }
        (pools, weights.iter().flatten().copied().map(u64::from).collect())
    }

    proptest! {
        #[test]
        fn draws_follow_the_weights(
            weights in prop::collection::vec(prop::collection::vec(prop_oneof![Just(1), 1_u32..50], 0..8), 1..4),
            seed in any::<u64>(),
        ) {
            let (pools, weights) = pools(&weights);
            let candidates = Candidates::new(&pools);
            let mut rng = SmallRng::seeded(seed);
            let mut counts = vec![0_u64; weights.len()];
            const DRAWS: u64 = 20_000;
            for _ in 0..DRAWS {
                match candidates.draw(&mut rng) {
                    Some(slot) => counts[slot.index()] += 1,
                    None => prop_assert!(weights.is_empty()),
                }
            }
            let total: u64 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(&counts) {
                let expected = (DRAWS * weight) as f64 / total as f64;
                // Six standard deviations of a binomial.
                let tolerance = 6.0 * expected.sqrt() + 1.0;
                prop_assert!((*count as f64 - expected).abs() <= tolerance, "{:?} for {:?}", counts, weights);
            }
        }

        #[test]
        fn removing_keeps_sums_and_says_who_moved(
            weights in prop::collection::vec(1_u32..5, 1..20), removals in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let (mut pools, _) = pools(&[weights]);
            let pool = &mut pools[0];
            for removal in removals {
                if pool.entries.is_empty() { break; }
                let place = removal.index(pool.entries.len());
                let last = pool.entries.last().map(|entry| entry.slot);
                let moved = pool.remove(place, 0);
                prop_assert_eq!(moved, last.filter(|_| place < pool.entries.len()));
                prop_assert_eq!(moved, pool.at(place));
                pool.prepare();
                let sum: u64 = pool.entries.iter().map(|entry| u64::from(entry.weight.number())).sum();
                prop_assert_eq!(pool.weight, sum);
                prop_assert_eq!(pool.sums.last().copied().unwrap_or(sum), sum);
            }
        }

        #[test]
        fn a_search_finds_the_only_one_wanted(count in 1_usize..40, wanted in any::<prop::sample::Index>(), seed in any::<u64>()) {
            let (pools, _) = pools(&[vec![1; count / 2], vec![3; count - count / 2]]);
            let candidates = Candidates::new(&pools);
            let wanted = wanted.index(count);
            let found = candidates.search(&mut SmallRng::seeded(seed), |slot| slot.index() == wanted);
            prop_assert_eq!(found.map(Slot::index), Some(wanted));
        }
    }
}
