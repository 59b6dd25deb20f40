//! The choice of one endpoint in one level, by policy.
//!
//! Enters: the level's candidates, the request, the time, randomness. Leaves: one of them that the request has not tried,
//! or nothing if it has tried all. Never here: which level.

use super::PickFor;
use super::Slot;
use super::endpoint::Endpoint;
use super::level::Level;
use super::pool::Candidates;
use super::slots::Slots;
use crate::{HashKey, LoadBound, Nanos, Policy, Rng, Settings};

/// Random draws that may hit an unwanted endpoint before the candidates are searched from a random place. Eight miss with
/// probability 1/256 when half are unwanted, and a search is then still cheap.
const DRAWS: usize = 8;

/// Everything a choice looks at.
pub(super) struct Choice<'a, Id> {
    pub(super) slots: &'a Slots<Endpoint<Id>>,
    pub(super) settings: &'a Settings,
    pub(super) request: PickFor<'a>,
    pub(super) now: Nanos,
}

impl<Id> Choice<'_, Id> {
    pub(super) fn choose(&self, level: &mut Level, rng: &mut impl Rng) -> Option<Slot> {
        level.prepare();
        match self.settings.policy {
            Policy::PeakEwma => self.cheapest(&level.candidates(), 2, rng),
            Policy::LeastRequest(choices) => self.cheapest(&level.candidates(), choices.number(), rng),
            Policy::Random => self.draw(&level.candidates(), rng),
            Policy::RoundRobin => {
                let share = |slot| {
                    let weight = self.slots.get(slot).map(|endpoint| endpoint.member.weight);
                    (weight.unwrap_or_default(), self.warmth(slot))
                };
                level.turns(rng).next(|slot| self.is_fresh(slot), share)
            }
            Policy::RingHash(_, bound) | Policy::Maglev(_, bound) => {
                level.prepare_table(self.slots, self.settings.policy);
                self.hashed(level, bound, rng)
            }
        }
    }

    fn is_fresh(&self, slot: Slot) -> bool {
        !self.request.tried.contains(&slot)
    }

    /// The part of its weight that counts.
    fn warmth(&self, slot: Slot) -> f64 {
        let Some(slow_start) = &self.settings.slow_start else { return 1.0 };
        let since = self.slots.get(slot).and_then(|endpoint| endpoint.cold_since);
        since.map_or(1.0, |since| slow_start.warmth(self.now.since(since)))
    }

    /// One at random, by weight and warmth.
    fn draw(&self, candidates: &Candidates<'_>, rng: &mut impl Rng) -> Option<Slot> {
        let mut cold = None;
        for _ in 0..DRAWS {
            let slot = candidates.draw(rng)?;
            if !self.is_fresh(slot) {
                continue;
            }
            if rng.happens(self.warmth(slot)) {
                return Some(slot);
            }
            cold = cold.or(Some(slot));
        }
        // Where all are cold, all are equally so.
        cold.or_else(|| candidates.search(rng, |slot| self.is_fresh(slot)))
    }

    /// What one more request costs at this endpoint, by policies that measure; the same everywhere by others.
    pub(super) fn cost(&self, slot: Slot, peers: &Candidates<'_>) -> f64 {
        let Some(endpoint) = self.slots.get(slot) else { return f64::INFINITY };
        let weight = f64::from(endpoint.member.weight.number()) * self.warmth(slot);
        let load = f64::from(endpoint.pending) * peers.mean_weight() / weight;
        match self.settings.policy {
            Policy::PeakEwma => endpoint.estimate.cost(load, self.now),
            Policy::LeastRequest(_) => load + 1.0,
            Policy::RoundRobin | Policy::Random | Policy::RingHash(..) | Policy::Maglev(..) => 1.0,
        }
    }

    /// A few at random, the cheapest of them.
    ///
    /// Weights count twice: in the draw, so that endpoints without load get their shares; and as the load each request
    /// is to its endpoint, so that endpoints under load have as much of it as they should.
    fn cheapest(&self, candidates: &Candidates<'_>, choices: u32, rng: &mut impl Rng) -> Option<Slot> {
        let cost = |slot| self.cost(slot, candidates);
        let first = self.draw(candidates, rng)?;
        let mut best = (first, None);
        for _ in 1..choices {
            let Some(rival) = self.rival(candidates, best.0, rng) else { continue };
            let best_cost = best.1.unwrap_or_else(|| cost(best.0));
            let rival_cost = cost(rival);
            best = if rival_cost < best_cost { (rival, Some(rival_cost)) } else { (best.0, Some(best_cost)) };
        }
        Some(best.0)
    }

    /// Another one to compare with. A cold one comes into question as often as it is warm, and there is no second draw: it
    /// would make up for the cold.
    ///
    /// Of equal weights, two different ones are compared. Of different weights, drawing the same again means that there is
    /// no rival: with two endpoints the heavy one could else never have more than half.
    fn rival(&self, candidates: &Candidates<'_>, than: Slot, rng: &mut impl Rng) -> Option<Slot> {
        if candidates.count() < 2 {
            return None;
        }
        let is_even = candidates.are_even();
        let mut found = None;
        for _ in 0..DRAWS {
            let slot = candidates.draw(rng)?;
            if self.is_fresh(slot) && !(is_even && slot == than) {
                found = Some(slot);
                break;
            }
        }
        if is_even && found.is_none() {
            found = candidates.search(rng, |slot| slot != than && self.is_fresh(slot));
        }
        found.filter(|slot| *slot != than && rng.happens(self.warmth(*slot)))
    }

    /// The first in the key's order that is a candidate and not overloaded.
    fn hashed(&self, level: &Level, bound: Option<LoadBound>, rng: &mut impl Rng) -> Option<Slot> {
        let candidates = level.candidates();
        let is_usable = |slot: Slot| {
            self.slots.get(slot).is_some_and(|endpoint| level.uses(endpoint.tier())) && self.is_fresh(slot)
        };
        let has_room = |slot: Slot| bound.is_none_or(|bound| self.has_room(slot, bound, &candidates));
        // A retry may have tried all, or all with room: a look at the candidates is shorter than a walk that finds nothing.
        let (mut any, mut any_with_room) = (true, true);
        if !self.request.tried.is_empty() {
            any = candidates.search(rng, is_usable).is_some();
            any_with_room = any && candidates.search(rng, |slot| is_usable(slot) && has_room(slot)).is_some();
        }
        if !any {
            return None;
        }
        let key = self.request.key.unwrap_or_else(|| HashKey::new(rng.next_u64()));
        let mut order = level.table()?.walk(key);
        let found = order.find(|slot| is_usable(*slot) && (!any_with_room || has_room(*slot)));
        // More endpoints than places: those without one are used when nobody else is left.
        found.or_else(|| self.draw(&candidates, rng))
    }

    /// Whether the endpoint may have one more request under way: at most the bound times its share of all that are,
    /// this one included, rounded up. One with room always exists, since the rooms add up to more than there is.
    fn has_room(&self, slot: Slot, bound: LoadBound, candidates: &Candidates<'_>) -> bool {
        let Some(endpoint) = self.slots.get(slot) else { return false };
        let all = u128::from(candidates.pending()) + 1;
        let share = u128::from(bound.number()) * all * u128::from(endpoint.member.weight.number());
        u128::from(endpoint.pending) < share.div_ceil(100 * u128::from(candidates.weight().max(1)))
    }
}
