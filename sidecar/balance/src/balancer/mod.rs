//! The endpoints of one service as one worker sees them, and the choice among them.
//!
//! Enters: the endpoints by id with their health, and how each request went. Leaves: the [`Slot`] of the endpoint to use
//! next. Never here: connections; the worker keeps them beside, in a vector indexed by [`Slot::index`].
//!
//! **The choice** is power of two choices (Mitzenmacher, 2001) over [`PeakEwma`] costs: two endpoints at random, the
//! cheaper one is used. Constant time for any number of endpoints, no allocation, and no herd on the single best one.
//!
//! **Tiers.** Endpoints that are ready and not ejected are used first. Only when there are none, ejected ones are (they
//! may have recovered; refusing would help nobody: the panic rule). Only when there are none of those, endpoints that are
//! not ready are: a lease can end because the control plane lost the endpoint's network while ours still reaches it.
//! Draining endpoints are never used: they would refuse.
//!
//! **Exclusion.** A retry names the endpoints it has tried. Others of the same tier are preferred; when all of a tier are
//! excluded, one of them is used and the pick says so. A lower tier is not a better place for a retry.

mod slots;
#[cfg(test)]
mod tests;

pub use slots::Slot;

use crate::{Ejection, Nanos, PeakEwma, Rng, most_ejected};
use slots::Slots;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

/// Random draws that may hit an excluded endpoint before the tier is searched from a random place. Eight miss with
/// probability 1/256 when half are excluded, and a search is then still cheap.
const DRAWS: usize = 8;

/// What the control plane says of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// It takes new requests.
    Ready,
    /// It says that it is not ready, or its lease has ended.
    NotReady,
    /// It finishes what it has and takes nothing new.
    Draining,
}

/// The group an endpoint is in. An earlier one is used up before a later one is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Ready and not ejected.
    Healthy,
    /// Ready, but ejected for a while.
    Ejected,
    /// Not ready, or its lease has ended.
    NotReady,
    /// Never used.
    Draining,
}

/// How a request to an endpoint went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, `latency` after it was sent. For a stream: until its header came, since how long a stream lasts
    /// says nothing about its endpoint.
    Success {
        /// From sending the request to the header of its answer.
        latency: Duration,
    },
    /// The endpoint failed it: it could not be reached, broke the connection, or answered that it is unable to.
    Failure {
        /// From trying to send the request to its failure.
        latency: Duration,
    },
    /// It ended for a reason that says nothing about the endpoint: the client went away.
    Abandoned,
}

/// A choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The endpoint.
    pub slot: Slot,
    /// The group it was chosen from: anything but [`Tier::Healthy`] is the panic rule at work.
    pub tier: Tier,
    /// The request has tried this endpoint before, and there was no other of its tier.
    pub is_repeated: bool,
}

/// The endpoints of one service.
#[derive(Debug, Clone)]
pub struct Balancer<Id> {
    slots: Slots<Endpoint<Id>>,
    by_id: HashMap<Id, Slot>,
    pools: Pools,
    /// No ejection ends earlier; later than any time when nobody is ejected.
    earliest_return: Nanos,
}

#[derive(Debug, Clone)]
struct Endpoint<Id> {
    id: Id,
    health: Health,
    estimate: PeakEwma,
    ejection: Ejection,
    pending: u32,
    /// Where it is in its tier's pool.
    place: usize,
}

impl<Id> Endpoint<Id> {
    fn tier(&self) -> Tier {
        match self.health {
            Health::Ready if self.ejection.until().is_some() => Tier::Ejected,
            Health::Ready => Tier::Healthy,
            Health::NotReady => Tier::NotReady,
            Health::Draining => Tier::Draining,
        }
    }
}

/// The slots of each tier, in no order, so that one can be drawn, added and removed in constant time.
#[derive(Debug, Clone, Default)]
struct Pools {
    healthy: Vec<Slot>,
    ejected: Vec<Slot>,
    not_ready: Vec<Slot>,
    draining: Vec<Slot>,
}

impl Pools {
    fn of(&mut self, tier: Tier) -> &mut Vec<Slot> {
        match tier {
            Tier::Healthy => &mut self.healthy,
            Tier::Ejected => &mut self.ejected,
            Tier::NotReady => &mut self.not_ready,
            Tier::Draining => &mut self.draining,
        }
    }
}

impl<Id: Clone + Eq + Hash> Balancer<Id> {
    /// Without endpoints: every pick is `None`.
    pub fn new() -> Self {
        let pools = Pools::default();
        Self { slots: Slots::new(), by_id: HashMap::new(), pools, earliest_return: Nanos(u64::MAX) }
    }

    /// Takes over the list of endpoints. Those that stay keep their slot, estimate, record and pending requests; an id
    /// given twice counts once, with the health given last. Returns the slots that are gone.
    pub fn update(&mut self, endpoints: impl IntoIterator<Item = (Id, Health)>, now: Nanos) -> Vec<Slot> {
        let endpoints: Vec<(Id, Health)> = endpoints.into_iter().collect();
        let wanted: HashSet<&Id> = endpoints.iter().map(|(id, _)| id).collect();
        let gone: Vec<Slot> =
            self.by_id.iter().filter(|(id, _)| !wanted.contains(id)).map(|(_, slot)| *slot).collect();
        for slot in &gone {
            if let Some(endpoint) = self.slots.remove(*slot) {
                self.leave_pool(endpoint.tier(), endpoint.place);
                self.by_id.remove(&endpoint.id);
            }
        }
        for (id, health) in endpoints {
            match self.by_id.get(&id).copied() {
                Some(slot) => self.change(slot, |endpoint| endpoint.health = health),
                None => self.insert(id, health, now),
            }
        }
        gone
    }

    /// Chooses the endpoint for a request that has already tried those in `exclude`. `None` when there is none, or all
    /// are draining.
    pub fn pick(&mut self, rng: &mut impl Rng, now: Nanos, exclude: &[Slot]) -> Option<Pick> {
        self.readmit(now);
        let Pools { healthy, ejected, not_ready, draining: _ } = &self.pools;
        let tiers = [(Tier::Healthy, healthy), (Tier::Ejected, ejected), (Tier::NotReady, not_ready)];
        let (tier, pool) = tiers.into_iter().find(|(_, pool)| !pool.is_empty())?;
        let fresh = draw(pool, rng, |slot| !exclude.contains(&slot));
        let is_repeated = fresh.is_none();
        let first = fresh.or_else(|| draw(pool, rng, |_| true))?;
        let second = draw(pool, rng, |slot| slot != first && (is_repeated || !exclude.contains(&slot)));
        let slot = match second {
            Some(second) if self.cost(second, now) < self.cost(first, now) => second,
            Some(_) | None => first,
        };
        Some(Pick { slot, tier, is_repeated })
    }

    /// A request is under way to this endpoint. Every call is followed by one of [`ended`](Self::ended), from a guard.
    pub fn started(&mut self, slot: Slot) {
        if let Some(endpoint) = self.slots.get_mut(slot) {
            endpoint.pending = endpoint.pending.saturating_add(1);
        }
    }

    /// A request to this endpoint has ended. Nothing happens when the endpoint is gone meanwhile.
    pub fn ended(&mut self, slot: Slot, now: Nanos, outcome: Outcome) {
        let ready = self.pools.healthy.len() + self.pools.ejected.len();
        let may_eject = self.pools.ejected.len() < most_ejected(ready);
        let mut until = None;
        self.change(slot, |endpoint| {
            endpoint.pending = endpoint.pending.saturating_sub(1);
            match outcome {
                Outcome::Success { latency } => {
                    endpoint.estimate.succeeded(latency, now);
                    endpoint.ejection.succeeded();
                }
                Outcome::Failure { latency } => {
                    endpoint.estimate.failed(latency, now);
                    until = endpoint.ejection.failed(now, may_eject && endpoint.health == Health::Ready);
                }
                Outcome::Abandoned => {}
            }
        });
        self.earliest_return = until.map_or(self.earliest_return, |until| until.min(self.earliest_return));
    }

    /// The endpoint in this slot, unless it is gone.
    pub fn id(&self, slot: Slot) -> Option<&Id> {
        self.slots.get(slot).map(|endpoint| &endpoint.id)
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

    /// Every endpoint with its slot and tier, in no order; for views and metrics.
    pub fn endpoints(&self) -> impl Iterator<Item = (Slot, &Id, Tier)> {
        self.by_id.iter().filter_map(|(id, slot)| Some((*slot, id, self.slots.get(*slot)?.tier())))
    }

    fn cost(&self, slot: Slot, now: Nanos) -> f64 {
        self.slots.get(slot).map_or(f64::INFINITY, |endpoint| endpoint.estimate.cost(endpoint.pending, now))
    }

    /// Lets those back in whose ejection is over. One comparison unless there are any.
    fn readmit(&mut self, now: Nanos) {
        if now < self.earliest_return {
            return;
        }
        // Health may hide an ejection (not ready meanwhile), so all are asked, not only the pool of the ejected.
        let slots: Vec<Slot> = self.by_id.values().copied().collect();
        self.earliest_return = Nanos(u64::MAX);
        for slot in slots {
            self.change(slot, |endpoint| {
                endpoint.ejection.returns(now);
            });
            let until = self.slots.get(slot).and_then(|endpoint| endpoint.ejection.until());
            self.earliest_return =
                until.map_or(self.earliest_return, |until| until.min(self.earliest_return));
        }
    }

    fn insert(&mut self, id: Id, health: Health, now: Nanos) {
        let estimate = PeakEwma::unmeasured(now);
        let endpoint =
            Endpoint { id: id.clone(), health, estimate, ejection: Ejection::new(), pending: 0, place: 0 };
        let slot = self.slots.insert(endpoint);
        self.by_id.insert(id, slot);
        self.enter_pool(slot);
    }

    /// Changes an endpoint and moves it to the tier it is then in.
    fn change(&mut self, slot: Slot, change: impl FnOnce(&mut Endpoint<Id>)) {
        let Some(endpoint) = self.slots.get_mut(slot) else { return };
        let (tier, place) = (endpoint.tier(), endpoint.place);
        change(endpoint);
        if endpoint.tier() != tier {
            self.leave_pool(tier, place);
            self.enter_pool(slot);
        }
    }

    fn enter_pool(&mut self, slot: Slot) {
        if let Some(endpoint) = self.slots.get_mut(slot) {
            let pool = self.pools.of(endpoint.tier());
            endpoint.place = pool.len();
            pool.push(slot);
        }
    }

    fn leave_pool(&mut self, tier: Tier, place: usize) {
        let pool = self.pools.of(tier);
        pool.swap_remove(place);
        let moved = pool.get(place).copied();
        if let Some(moved) = moved.and_then(|moved| self.slots.get_mut(moved)) {
            moved.place = place;
        }
    }
}

impl<Id: Clone + Eq + Hash> Default for Balancer<Id> {
    fn default() -> Self {
        Self::new()
    }
}

/// One slot of the pool for which `is_wanted` holds, at random.
fn draw(pool: &[Slot], rng: &mut impl Rng, is_wanted: impl Fn(Slot) -> bool) -> Option<Slot> {
    let bound = u32::try_from(pool.len()).unwrap_or(u32::MAX);
    let mut at = |bound| usize::try_from(rng.below(bound)).unwrap_or_default();
    for _ in 0..DRAWS {
        if let Some(slot) = pool.get(at(bound)).copied().filter(|slot| is_wanted(*slot)) {
            return Some(slot);
        }
    }
    let (before, after) = pool.split_at_checked(at(bound))?;
    after.iter().chain(before).copied().find(|slot| is_wanted(*slot))
}
