//! The endpoints of one service as one worker sees them, and the choice among them.
//!
//! ```text
//! update ─> slots ─> levels (priority, distance) ─> pools (tier) ─┐
//!                         │ share of each                         │ candidates
//! pick ───────────────> level ────────────────────────────────> choice by policy ─> Slot
//! started, ended ─> pending, estimate, record ─> ejection        (draws, turns, table)
//! ```
//!
//! Enters: the endpoints by id, how each request went, time, randomness. Leaves: the [`Slot`] of the endpoint to use
//! next. Never here: connections; the worker keeps them beside, in a vector indexed by [`Slot::index`].
//!
//! **Levels.** Endpoints of one priority and, if that is asked for, one distance. The first level gets all traffic while it
//! is healthy enough; what it cannot carry goes to the next (`spill`).
//!
//! **Tiers.** In a level, endpoints that are ready and not ejected are used. Only when there are none anywhere, ejected
//! ones are (they may have recovered; refusing would help nobody). Only when there are none of those, endpoints that are
//! not ready are: a lease can end because the control plane lost the endpoint's network while ours still reaches it. A
//! [`PanicThreshold`](crate::PanicThreshold) above 0 makes this happen earlier. Draining endpoints are never used, hashed
//! sessions included: they would refuse, and a session that moves when its endpoint says farewell moves once; holding on
//! to it would only move it later, in the middle of something.
//!
//! **Exclusion.** A retry names the endpoints it has tried. Others of the same level are preferred, by the policy; then
//! healthy ones of other levels; when there are none either, a tried one is used again and the pick says so. A lower
//! tier is not a better place for a retry.
//!
//! **Cost.** A pick allocates nothing and takes constant time by draws of equal weights, logarithmic time by weights, turns
//! or ring; a table is walked past endpoints that are out. The first pick after a change of the endpoints renews what
//! depends on all of them, as far as the policy needs it.

mod choose;
mod endpoint;
mod level;
mod maglev;
mod pool;
mod ring;
mod schedule;
mod slots;
mod spill;
mod table;
#[cfg(test)]
mod tests;

pub use endpoint::{Ejected, Outcome, Tier};
pub use slots::Slot;

use crate::ejection::{Record, outliers};
use crate::{Cause, HashKey, LocalityPreference, Member, Nanos, PeakEwma, Rng, Settings};
use choose::Choice;
use endpoint::{Endpoint, Rank};
use level::Levels;
use slots::Slots;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// What a pick is for.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickFor<'a> {
    /// Requests with the same key go to the same endpoint, if the policy hashes and the endpoint is there. Without one, they
    /// go anywhere.
    pub key: Option<HashKey>,
    /// The endpoints this request has tried before.
    pub tried: &'a [Slot],
}

impl<'a> PickFor<'a> {
    /// A request without a key that has tried these.
    pub fn retry(tried: &'a [Slot]) -> Self {
        Self { key: None, tried }
    }
}

/// A choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The endpoint.
    pub slot: Slot,
    /// The group it was chosen from: anything but [`Tier::Healthy`] is the panic rule at work.
    pub tier: Tier,
    /// The request has tried this endpoint before, and there was no other.
    pub is_repeated: bool,
}

/// The endpoints of one service.
#[derive(Debug, Clone)]
pub struct Balancer<Id> {
    settings: Settings,
    slots: Slots<Endpoint<Id>>,
    by_id: HashMap<Id, Slot>,
    levels: Levels,
    /// No ejection ends earlier; later than any time when nobody is ejected.
    earliest_return: Nanos,
}

impl<Id: Clone + Eq + Hash> Balancer<Id> {
    /// Without endpoints, by the default settings: every pick is `None`.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Without endpoints, by these settings.
    pub fn with(settings: Settings) -> Self {
        let (slots, by_id) = (Slots::new(), HashMap::new());
        Self { settings, slots, by_id, levels: Levels::default(), earliest_return: Nanos(u64::MAX) }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes over other settings. What is known of the endpoints stays, and so does who is ejected, until its time is over.
    pub fn set(&mut self, settings: Settings) {
        if settings == self.settings {
            return;
        }
        if !self.settings.detection.needs_intervals() {
            // Counted since the start, not since an interval's end.
            self.slots.iter_mut().for_each(|(_, endpoint)| drop_interval(endpoint));
        }
        self.settings = settings;
        self.levels = Levels::default();
        for (slot, endpoint) in self.slots.iter_mut() {
            endpoint.rank = Rank::of(&endpoint.member, settings.locality);
            endpoint.place = self.levels.enter(slot, endpoint.standing(), endpoint.pending);
        }
    }

    /// Takes over the list of endpoints. Those that stay keep their slot, estimate, record and pending requests; an id
    /// given twice counts once, as given last. Returns the slots that are gone.
    ///
    /// Endpoints of the first list are taken to be warm, since they were there before us; later ones start slowly, if
    /// that is asked for.
    pub fn update(&mut self, endpoints: impl IntoIterator<Item = (Id, Member)>, now: Nanos) -> Vec<Slot> {
        let endpoints: Vec<(Id, Member)> = endpoints.into_iter().collect();
        let wanted: HashSet<&Id> = endpoints.iter().map(|(id, _)| id).collect();
        let gone: Vec<Slot> =
            self.by_id.iter().filter(|(id, _)| !wanted.contains(id)).map(|(_, slot)| *slot).collect();
        let cold_since = (!self.by_id.is_empty()).then_some(now);
        for slot in &gone {
            self.remove(*slot);
        }
        for (id, member) in endpoints {
            match self.by_id.get(&id).copied() {
                Some(slot) => {
                    let rank = Rank::of(&member, self.settings.locality);
                    self.change(slot, now, |endpoint| (endpoint.member, endpoint.rank) = (member, rank));
                }
                None => self.insert(id, member, now, cold_since),
            }
        }
        self.levels.tidy();
        gone
    }

    /// Chooses the endpoint for a request. `None` when there is none, or all are draining.
    pub fn pick(&mut self, request: PickFor<'_>, now: Nanos, rng: &mut impl Rng) -> Option<Pick> {
        self.readmit(now);
        let drawn = self.levels.drawn(&self.settings, request.key, rng)?;
        let near = self.choose(drawn, request, now, rng);
        let mut fresh = near.map(|near| self.farther(drawn, near, request, now, rng).unwrap_or(near));
        if fresh.is_none() {
            for other in (0..self.levels.len()).filter(|other| *other != drawn) {
                if self.levels.is_healthy(other) {
                    fresh = fresh.or_else(|| self.choose(other, request, now, rng));
                }
            }
        }
        let is_repeated = fresh.is_none();
        let slot = fresh.or_else(|| self.choose(drawn, PickFor { tried: &[], ..request }, now, rng))?;
        Some(Pick { slot, tier: self.slots.get(slot)?.tier(), is_repeated })
    }

    fn choose(&mut self, level: usize, request: PickFor<'_>, now: Nanos, rng: &mut impl Rng) -> Option<Slot> {
        let level = self.levels.get_mut(level)?;
        Choice { slots: &self.slots, settings: &self.settings, request, now }.choose(level, rng)
    }

    /// An endpoint of the next distance that costs so much less than this near one that it is worth the way.
    fn farther(
        &mut self,
        drawn: usize,
        near: Slot,
        request: PickFor<'_>,
        now: Nanos,
        rng: &mut impl Rng,
    ) -> Option<Slot> {
        let LocalityPreference::Balanced(transfer_cost) = self.settings.locality else { return None };
        if !self.settings.policy.measures() {
            return None;
        }
        let level = self.levels.farther(drawn)?;
        let far = self.choose(level, request, now, rng)?;
        let choice = Choice { slots: &self.slots, settings: &self.settings, request, now };
        let near_cost = choice.cost(near, &self.levels.get(drawn)?.candidates());
        let far_cost = choice.cost(far, &self.levels.get(level)?.candidates());
        (near_cost > far_cost * f64::from(transfer_cost.number()) / 100.0).then_some(far)
    }

    /// A request is under way to this endpoint. Every call is followed by one of [`ended`](Self::ended), from a guard.
    pub fn started(&mut self, slot: Slot) {
        if let Some(endpoint) = self.slots.get_mut(slot) {
            let before = endpoint.pending;
            endpoint.pending = before.saturating_add(1);
            self.levels.shift_pending(endpoint.standing(), before, endpoint.pending);
        }
    }

    /// A request to this endpoint has ended. Nothing happens when the endpoint is gone meanwhile. Says if this ejects it.
    pub fn ended(&mut self, slot: Slot, now: Nanos, outcome: Outcome) -> Option<Ejected> {
        let endpoint = self.slots.get_mut(slot)?;
        let (standing, before) = (endpoint.standing(), endpoint.pending);
        let cause = endpoint.ended(outcome, now, &self.settings.detection);
        self.levels.shift_pending(standing, before, endpoint.pending);
        self.eject(slot, now, cause?)
    }

    /// Ends an interval: detectors that compare endpoints judge what happened since the last one. To be called by the owner
    /// every ten seconds or so (Envoy's interval), if `settings().detection.needs_intervals()`; longer intervals judge by
    /// more requests, and later.
    pub fn evaluate(&mut self, now: Nanos) -> Vec<Ejected> {
        let detection = self.settings.detection;
        if !detection.needs_intervals() {
            return Vec::new();
        }
        self.readmit(now);
        let observed: Vec<_> = self
            .slots
            .iter_mut()
            .map(|(slot, endpoint)| (endpoint.tier(), (slot, endpoint.record.take_interval())))
            .filter_map(|(tier, observed)| (tier == Tier::Healthy).then_some(observed))
            .collect();
        let outliers = outliers(&observed, &detection);
        outliers.into_iter().filter_map(|(slot, cause)| self.eject(slot, now, cause)).collect()
    }

    /// Ejects an endpoint, if it is in use and there is room.
    fn eject(&mut self, slot: Slot, now: Nanos, cause: Cause) -> Option<Ejected> {
        let (healthy, ejected) = (self.levels.count(Tier::Healthy), self.levels.count(Tier::Ejected));
        let has_room = ejected < self.settings.detection.most_ejected(healthy + ejected);
        if !has_room || self.slots.get(slot)?.tier() != Tier::Healthy {
            return None;
        }
        let sentence = self.settings.detection.sentence;
        let until = self.change(slot, now, |endpoint| endpoint.record.eject(now, &sentence))?;
        self.earliest_return = until.min(self.earliest_return);
        Some(Ejected { slot, cause, until })
    }

    /// The endpoint in this slot, unless it is gone.
    pub fn id(&self, slot: Slot) -> Option<&Id> {
        self.slots.get(slot).map(|endpoint| &endpoint.id)
    }

    /// What the control plane says of the endpoint in this slot.
    pub fn member(&self, slot: Slot) -> Option<&Member> {
        self.slots.get(slot).map(|endpoint| &endpoint.member)
    }

    /// Until when the endpoint in this slot is ejected, if it is.
    pub fn ejected_until(&self, slot: Slot) -> Option<Nanos> {
        self.slots.get(slot).and_then(|endpoint| endpoint.record.until())
    }

    /// The slot of this endpoint.
    pub fn slot(&self, id: &Id) -> Option<Slot> {
        self.by_id.get(id).copied()
    }

    /// How many requests are under way to this endpoint.
    pub fn pending(&self, slot: Slot) -> u32 {
        self.slots.get(slot).map_or(0, |endpoint| endpoint.pending)
    }

    /// How many endpoints there are, in any tier.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are no endpoints at all.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many endpoints are in this tier: to say why there is no pick, and for metrics.
    pub fn count(&self, tier: Tier) -> usize {
        self.levels.count(tier)
    }

    /// Every endpoint with its slot and tier, in no order; for views and metrics.
    pub fn endpoints(&self) -> impl Iterator<Item = (Slot, &Id, Tier)> {
        self.by_id.iter().filter_map(|(id, slot)| Some((*slot, id, self.slots.get(*slot)?.tier())))
    }

    /// Lets those back in whose ejection is over. One comparison unless there are any. Every pick does this first; for
    /// whoever counts them between picks.
    pub fn readmit(&mut self, now: Nanos) {
        if now < self.earliest_return {
            return;
        }
        self.earliest_return = Nanos(u64::MAX);
        // Health may hide an ejection (not ready meanwhile), so all are asked, not only the pool of the ejected.
        for index in 0..self.slots.places() {
            let Some(slot) = self.slots.slot_at(index) else { continue };
            self.change(slot, now, |endpoint| endpoint.record.returns(now));
            let until = self.slots.get(slot).and_then(|endpoint| endpoint.record.until());
            self.earliest_return =
                until.map_or(self.earliest_return, |until| until.min(self.earliest_return));
        }
    }

    fn insert(&mut self, id: Id, member: Member, now: Nanos, cold_since: Option<Nanos>) {
        let rank = Rank::of(&member, self.settings.locality);
        let (estimate, record) = (PeakEwma::unmeasured(now), Record::new());
        let endpoint =
            Endpoint { id: id.clone(), member, rank, estimate, record, pending: 0, cold_since, place: 0 };
        let standing = endpoint.standing();
        let slot = self.slots.insert(endpoint);
        self.by_id.insert(id, slot);
        let place = self.levels.enter(slot, standing, 0);
        self.levels.forget_table(rank);
        if let Some(endpoint) = self.slots.get_mut(slot) {
            endpoint.place = place;
        }
    }

    fn remove(&mut self, slot: Slot) {
        let Some(endpoint) = self.slots.remove(slot) else { return };
        self.by_id.remove(&endpoint.id);
        let moved = self.levels.leave(endpoint.standing(), endpoint.place, endpoint.pending);
        self.levels.forget_table(endpoint.rank);
        self.moved(moved, endpoint.place);
    }

    /// Changes anything of an endpoint but its pending requests, and moves it to where it then belongs.
    fn change<T>(
        &mut self,
        slot: Slot,
        now: Nanos,
        change: impl FnOnce(&mut Endpoint<Id>) -> T,
    ) -> Option<T> {
        let endpoint = self.slots.get_mut(slot)?;
        let (before, place, pending) = (endpoint.standing(), endpoint.place, endpoint.pending);
        let result = change(endpoint);
        let after = endpoint.standing();
        if after == before {
            return Some(result);
        }
        if after.tier == Tier::Healthy && before.tier != Tier::Healthy {
            endpoint.cold_since = Some(now);
        }
        let moved = self.levels.leave(before, place, pending);
        self.moved(moved, place);
        let place = self.levels.enter(slot, after, pending);
        self.moved(Some(slot), place);
        if after.in_table() != before.in_table() {
            self.levels.forget_table(before.rank);
            self.levels.forget_table(after.rank);
        }
        Some(result)
    }

    fn moved(&mut self, slot: Option<Slot>, place: usize) {
        if let Some(endpoint) = slot.and_then(|slot| self.slots.get_mut(slot)) {
            endpoint.place = place;
        }
    }
}

fn drop_interval<Id>(endpoint: &mut Endpoint<Id>) {
    endpoint.record.take_interval();
}

impl<Id: Clone + Eq + Hash> Default for Balancer<Id> {
    fn default() -> Self {
        Self::new()
    }
}
