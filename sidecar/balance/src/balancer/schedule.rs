//! Turns by weight: earliest deadline first.
//!
//! ```text
//! weight 2 │ x   x   x   x          each endpoint's deadlines are 1 / weight apart;
//! weight 1 │   x       x            the earliest one is next
//! ```
//!
//! Enters: endpoints with weights. Leaves: whose turn it is, in logarithmic time. Turns interleave: between two endpoints
//! the count of turns per weight never differs by more than one turn of each. An endpoint that is passed over (its request
//! has tried it) keeps its deadline and comes next. Newcomers begin at a random place within their first stride, so that
//! sidecars that start together do not all begin with the same endpoint. Never here: who takes part.
//!
//! Source: Envoy's EDF scheduler; stride scheduling (Waldspurger, Weihl, 1995).

use super::Slot;
use crate::{Rng, Weight};
use std::collections::HashMap;

/// The time from one deadline to the next at weight 1.
const STRIDE: u64 = 1 << 32;
/// Deadlines are counted anew from here, long before they overflow.
const REBASE: u64 = 1 << 62;

/// The deadlines, as a heap with the earliest on top.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedule {
    heap: Vec<Turn>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    due: u64,
    slot: Slot,
}

impl Schedule {
    /// Takes over who takes part. Those that stay keep their deadlines.
    pub(super) fn renew(&mut self, entries: impl Iterator<Item = (Slot, Weight)>, rng: &mut impl Rng) {
        let now = self.heap.first().map_or(0, |turn| turn.due);
        let kept: HashMap<Slot, u64> = self.heap.iter().map(|turn| (turn.slot, turn.due)).collect();
        self.heap.clear();
        self.heap.extend(entries.map(|(slot, weight)| {
            let due = kept.get(&slot).copied().unwrap_or_else(|| now + rng.below_u64(stride(weight, 1.0)));
            Turn { due, slot }
        }));
        self.rebase();
        self.heap.sort_unstable_by_key(|turn| turn.due);
    }

    /// Whose turn it is among those wanted. Its next turn is a stride later, by its weight and warmth.
    pub(super) fn next(
        &mut self,
        is_wanted: impl Fn(Slot) -> bool,
        share: impl FnOnce(Slot) -> (Weight, f64),
    ) -> Option<Slot> {
        let place = self.earliest(0, &is_wanted)?;
        let turn = self.heap.get_mut(place)?;
        let (weight, warmth) = share(turn.slot);
        turn.due += stride(weight, warmth);
        let (slot, due) = (turn.slot, turn.due);
        self.sink(place);
        if due >= REBASE {
            self.rebase();
        }
        Some(slot)
    }

    /// The place of the earliest turn that is wanted, at `place` or below. Below a wanted one nothing is earlier, so only
    /// what hangs below unwanted ones is looked at.
    fn earliest(&self, place: usize, is_wanted: &impl Fn(Slot) -> bool) -> Option<usize> {
        if is_wanted(self.heap.get(place)?.slot) {
            return Some(place);
        }
        let below = [2 * place + 1, 2 * place + 2].map(|below| self.earliest(below, is_wanted));
        below.into_iter().flatten().min_by_key(|place| self.due(*place))
    }

    /// Restores the heap's order after the turn at `place` has moved into the future.
    fn sink(&mut self, mut place: usize) {
        loop {
            let below = [2 * place + 1, 2 * place + 2];
            let Some(earlier) = below.into_iter().min_by_key(|below| self.due(*below)) else { return };
            if self.due(earlier) >= self.due(place) {
                return;
            }
            self.heap.swap(place, earlier);
            place = earlier;
        }
    }

    /// Later than all for a place that is empty.
    fn due(&self, place: usize) -> u64 {
        self.heap.get(place).map_or(u64::MAX, |turn| turn.due)
    }

    /// Counts from the earliest deadline on: differences are what matters.
    fn rebase(&mut self) {
        let earliest = self.heap.iter().map(|turn| turn.due).min().unwrap_or_default();
        for turn in &mut self.heap {
            turn.due -= earliest;
        }
    }
}

/// The time between two turns. A share so small that the stride does not fit cannot be: the least weight is 1, the least
/// warmth 1 %.
fn stride(weight: Weight, warmth: f64) -> u64 {
    let even = STRIDE / u64::from(weight.number());
    if warmth >= 1.0 {
        return even;
    }
    // A float becomes the nearest integer, at most a hundred strides; it cannot be cut off.
    (f64::from(u32::try_from(even).unwrap_or(u32::MAX)) / warmth.max(0.01)) as u64
}

#[cfg(test)]
mod tests {
    use super::super::slots::Slots;
    use super::*;
    use crate::SmallRng;
    use proptest::prelude::*;

    fn weights(weights: &[u32]) -> Vec<(Slot, Weight)> {
        let mut slots = Slots::new();
        weights.iter().map(|weight| (slots.insert(()), Weight::new(*weight).expect("in range"))).collect()
    }

    fn next(schedule: &mut Schedule, entries: &[(Slot, Weight)], tried: &[usize]) -> Option<usize> {
        let share = |slot: Slot| (entries[slot.index()].1, 1.0);
        schedule.next(|slot| !tried.contains(&slot.index()), share).map(Slot::index)
    }

    fn is_heap(schedule: &Schedule) -> bool {
        (1..schedule.heap.len()).all(|place| schedule.due((place - 1) / 2) <= schedule.due(place))
    }

    #[test]
    fn equal_weights_take_turns() {
        let entries = weights(&[1; 4]);
        let mut schedule = Schedule::default();
        schedule.renew(entries.iter().copied(), &mut SmallRng::seeded(1));
        let mut round =
            || -> Vec<usize> { (0..4).filter_map(|_| next(&mut schedule, &entries, &[])).collect() };
        let first = round();
        assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        assert!((0..10).all(|_| round() == first));
    }

    #[test]
    fn one_that_was_passed_over_comes_next() {
        let entries = weights(&[1; 5]);
        let mut schedule = Schedule::default();
        schedule.renew(entries.iter().copied(), &mut SmallRng::seeded(1));
        let due = next(&mut schedule.clone(), &entries, &[]).expect("there are endpoints");
        assert_ne!(next(&mut schedule, &entries, &[due]), Some(due));
        assert_eq!(next(&mut schedule, &entries, &[]), Some(due));
        assert_eq!(next(&mut schedule, &entries, &[0, 1, 2, 3, 4]), None);
    }

    #[test]
    fn deadlines_are_counted_anew_before_they_overflow() {
        let entries = weights(&[1, 65_535]);
        let mut schedule = Schedule::default();
        schedule.renew(entries.iter().copied(), &mut SmallRng::seeded(1));
        schedule.heap.iter_mut().for_each(|turn| turn.due += REBASE - STRIDE);
        assert!(
            (0..200_000)
                .filter_map(|_| next(&mut schedule, &entries, &[]))
                .filter(|picked| *picked == 0)
                .count()
                <= 4
        );
        assert!(schedule.heap.iter().all(|turn| turn.due < REBASE / 2));
    }

    #[test]
    fn half_as_warm_is_twice_as_long() {
        assert_eq!(
            stride(Weight::DEFAULT, 0.5),
            2 * stride(Weight::DEFAULT, 1.0) - 2,
            "2^32 - 1 counts as 2^32"
        );
        assert!(stride(Weight::DEFAULT, 0.0) < REBASE / 1_000, "even the coldest comes round");
    }

    proptest! {
        /// The fairness of stride scheduling: it holds from any moment to any other.
        #[test]
        fn turns_follow_the_weights_at_every_moment(
            numbers in prop::collection::vec(1_u32..20, 1..12), picks in 1_usize..400, seed in any::<u64>(),
        ) {
            let entries = weights(&numbers);
            let mut schedule = Schedule::default();
            schedule.renew(entries.iter().copied(), &mut SmallRng::seeded(seed));
            let mut counts = vec![0_u32; numbers.len()];
            for _ in 0..picks {
                counts[next(&mut schedule, &entries, &[]).expect("there are endpoints")] += 1;
                prop_assert!(is_heap(&schedule));
                for (a, weight_a) in counts.iter().zip(&numbers) {
                    for (b, weight_b) in counts.iter().zip(&numbers) {
                        let (weight_a, weight_b) = (f64::from(*weight_a), f64::from(*weight_b));
                        let apart = f64::from(*a) / weight_a - f64::from(*b) / weight_b;
                        prop_assert!(apart <= 1.0 / weight_a + 1.0 / weight_b + 1e-6, "{:?} of {:?}", counts, numbers);
                    }
                }
            }
        }

        #[test]
        fn who_stays_keeps_its_turn_and_newcomers_do_not_crowd_in(
            count in 1_usize..20, picks in 0_usize..100, seed in any::<u64>(),
        ) {
            let entries = weights(&vec![1; count + 5]);
            let mut rng = SmallRng::seeded(seed);
            let mut schedule = Schedule::default();
            schedule.renew(entries[..count].iter().copied(), &mut rng);
            for _ in 0..picks { next(&mut schedule, &entries, &[]); }
            let expected: Vec<Option<usize>> = {
                let mut schedule = schedule.clone();
                (0..count).map(|_| next(&mut schedule, &entries, &[])).collect()
            };
            schedule.renew(entries.iter().copied(), &mut rng);
            let all: Vec<Option<usize>> = (0..count + 5).map(|_| next(&mut schedule, &entries, &[])).collect();
            let old: Vec<Option<usize>> = all.iter().copied().filter(|picked| picked.is_some_and(|id| id < count)).collect();
            prop_assert_eq!(&old[..], &expected[..], "each old one once, in the old order");
        }
    }
}
