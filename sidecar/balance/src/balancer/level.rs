//! Levels: endpoints of the same priority and distance, in order, with the share of the traffic each gets.
//!
//! Enters: endpoints coming, going and changing their tier. Leaves: the level for the next request, and its candidates.
//! What depends on all of them (shares, turns, tables) is marked here as out of date, and renewed by the next pick that
//! needs it. Never here: which candidate.

use super::endpoint::{Endpoint, Rank, Standing, Tier};
use super::pool::{Candidates, Entry, Pool};
use super::schedule::Schedule;
use super::slots::Slots;
use super::spill::{Health, LevelHealth, WHOLE, spill};
use super::table::{Owner, Table};
use super::{Slot, maglev, ring};
use crate::{HashKey, Policy, Rng, Settings};

/// Keeps the choice of a level apart from other uses of a key's hash.
const LEVEL: u64 = 4;
/// The tiers that can be used, when it must be: all but the draining.
const USABLE: usize = 3;

#[derive(Debug, Clone, Default)]
pub(super) struct Levels {
    /// In the order of their ranks.
    levels: Vec<Level>,
    plan: Plan,
}

#[derive(Debug, Clone)]
pub(super) struct Level {
    rank: Rank,
    /// By [`Tier::place`].
    pools: [Pool; 4],
    /// How many of the pools are used: 1 the healthy, 2 the ejected too, 3 those that are not ready too, 0 nobody.
    reach: usize,
    /// The shares of all levels up to and including this one.
    up_to: u32,
    turns: Schedule,
    turns_are_current: bool,
    table: Option<Table>,
}

/// Which level is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Plan {
    /// Something has changed since.
    #[default]
    OutOfDate,
    /// None: there is nobody.
    Nobody,
    /// This one for all requests.
    Only(usize),
    /// Each for its share.
    Shared,
}

impl Level {
    fn new(rank: Rank) -> Self {
        Self {
            rank,
            pools: Default::default(),
            reach: 0,
            up_to: 0,
            turns: Schedule::default(),
            turns_are_current: false,
            table: None,
        }
    }

    fn weight(&self, tiers: usize) -> u64 {
        self.pools.iter().take(tiers).map(Pool::weight).sum()
    }

    /// The fewest pools that reach the threshold, in percent of the weight; all if none do.
    fn reach(&self, threshold_percent: u32) -> usize {
        let needed = u128::from(self.weight(USABLE)) * u128::from(threshold_percent);
        let reaches = |tiers: &usize| {
            let weight = self.weight(*tiers);
            weight > 0 && u128::from(weight) * 100 >= needed
        };
        (1..=USABLE).find(reaches).unwrap_or_default()
    }

    /// Those one of whom is chosen.
    pub(super) fn candidates(&self) -> Candidates<'_> {
        Candidates::new(self.pools.get(..self.reach).unwrap_or_default())
    }

    /// Whether an endpoint of this tier is a candidate.
    pub(super) fn uses(&self, tier: Tier) -> bool {
        tier.place() < self.reach
    }

    /// Makes draws by weight possible.
    pub(super) fn prepare(&mut self) {
        self.pools.iter_mut().take(self.reach).for_each(Pool::prepare);
    }

    /// The turns of the candidates.
    pub(super) fn turns(&mut self, rng: &mut impl Rng) -> &mut Schedule {
        if !self.turns_are_current {
            let candidates = Candidates::new(self.pools.get(..self.reach).unwrap_or_default());
            self.turns.renew(candidates.entries().map(|entry| (entry.slot, entry.weight)), rng);
            self.turns_are_current = true;
        }
        &mut self.turns
    }

    /// Makes the table, unless there is one. All endpoints that are not draining have places in it, whatever their health,
    /// so that health moves no keys but those of the endpoint itself.
    pub(super) fn prepare_table<Id>(&mut self, slots: &Slots<Endpoint<Id>>, policy: Policy) {
        if self.table.is_some() {
            return;
        }
        let key = |slot| slots.get(slot).map(|endpoint| endpoint.member.key);
        let owner =
            |entry: Entry| Some(Owner { key: key(entry.slot)?, weight: entry.weight, slot: entry.slot });
        let all = Candidates::new(self.pools.get(..USABLE).unwrap_or_default());
        let members = all.entries().filter_map(owner).collect();
        self.table = match policy {
            Policy::RingHash(size, _) => Some(ring::table(members, size)),
            Policy::Maglev(size, _) => Some(maglev::table(members, size)),
            Policy::PeakEwma | Policy::LeastRequest(_) | Policy::RoundRobin | Policy::Random => None,
        };
    }

    pub(super) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    fn pool(&mut self, tier: Tier) -> Option<&mut Pool> {
        self.pools.get_mut(tier.place())
    }
}

impl Levels {
    /// The level for this request: one draw by the levels' shares, or by its key, so that one key stays in one level.
    pub(super) fn drawn(
        &mut self,
        settings: &Settings,
        key: Option<HashKey>,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        if self.plan == Plan::OutOfDate {
            self.plan = self.share_out(settings);
        }
        match self.plan {
            Plan::OutOfDate | Plan::Nobody => None,
            Plan::Only(place) => Some(place),
            Plan::Shared => {
                let hash = key.map_or_else(|| rng.next_u64(), |key| key.salted(LEVEL));
                let ticket = (u128::from(hash) * u128::from(WHOLE)) >> 64;
                self.levels.iter().position(|level| ticket < u128::from(level.up_to))
            }
        }
    }

    fn share_out(&mut self, settings: &Settings) -> Plan {
        let health = |level: &Level| LevelHealth { healthy: level.weight(1), whole: level.weight(USABLE) };
        let healths: Vec<LevelHealth> = self.levels.iter().map(health).collect();
        let (shares, health) = spill(&healths, settings.overprovisioning.number());
        // While others can take over, nobody panics.
        let threshold = if health == Health::Enough { 0 } else { settings.panic.number() };
        let mut sum = 0;
        for (level, share) in self.levels.iter_mut().zip(&shares) {
            let reach = level.reach(threshold);
            level.turns_are_current &= reach == level.reach;
            level.reach = reach;
            sum += share;
            level.up_to = sum;
        }
        if health == Health::None {
            return self.last_resort();
        }
        shares.iter().position(|share| *share == WHOLE).map_or(Plan::Shared, Plan::Only)
    }

    /// Nothing is healthy: the first level with anybody in the best tier there is.
    fn last_resort(&self) -> Plan {
        let tiers = 1..=USABLE;
        let first = |tiers: usize| self.levels.iter().position(|level| level.weight(tiers) > 0);
        tiers.into_iter().find_map(first).map_or(Plan::Nobody, Plan::Only)
    }

    pub(super) fn get(&self, place: usize) -> Option<&Level> {
        self.levels.get(place)
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Level> {
        self.levels.get_mut(place)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether this level has healthy endpoints.
    pub(super) fn is_healthy(&self, place: usize) -> bool {
        self.levels.get(place).is_some_and(|level| level.weight(1) > 0)
    }

    /// The next farther level of the same priority that has healthy endpoints.
    pub(super) fn farther(&self, than: usize) -> Option<usize> {
        let near = self.levels.get(than)?.rank;
        let farther = self.levels.iter().enumerate().skip(than + 1);
        let mut farther = farther.take_while(|(_, level)| level.rank.is_as_important_as(near));
        farther.find(|(_, level)| level.weight(1) > 0).map(|(place, _)| place)
    }

    /// How many endpoints are in this tier.
    pub(super) fn count(&self, tier: Tier) -> usize {
        self.levels
            .iter()
            .filter_map(|level| level.pools.get(tier.place()))
            .map(|pool| pool.entries().len())
            .sum()
    }

    /// Adds an endpoint; says in which place of its pool it is.
    pub(super) fn enter(&mut self, slot: Slot, standing: Standing, pending: u32) -> usize {
        self.plan = Plan::OutOfDate;
        let place = match self.find(standing.rank) {
            Ok(place) => place,
            Err(place) => {
                self.levels.insert(place, Level::new(standing.rank));
                place
            }
        };
        let Some(level) = self.levels.get_mut(place) else { return 0 };
        level.turns_are_current = false;
        let entry = Entry { slot, weight: standing.weight };
        level.pool(standing.tier).map(|pool| pool.push(entry, pending)).unwrap_or_default()
    }

    /// Removes the endpoint in this place; says who is in it now.
    pub(super) fn leave(&mut self, standing: Standing, place: usize, pending: u32) -> Option<Slot> {
        self.plan = Plan::OutOfDate;
        let level_place = self.find(standing.rank).ok()?;
        let level = self.levels.get_mut(level_place)?;
        level.turns_are_current = false;
        level.pool(standing.tier)?.remove(place, pending)
    }

    /// Tables that this endpoint is in, or was, are no longer right.
    pub(super) fn forget_table(&mut self, rank: Rank) {
        if let Ok(place) = self.find(rank)
            && let Some(level) = self.levels.get_mut(place)
        {
            level.table = None;
        }
    }

    /// Drops levels without endpoints.
    pub(super) fn tidy(&mut self) {
        self.levels.retain(|level| level.pools.iter().any(|pool| !pool.entries().is_empty()));
        self.plan = Plan::OutOfDate;
    }

    pub(super) fn shift_pending(&mut self, standing: Standing, before: u32, after: u32) {
        if let Ok(place) = self.find(standing.rank)
            && let Some(pool) = self.levels.get_mut(place).and_then(|level| level.pool(standing.tier))
        {
            pool.shift_pending(before, after);
        }
    }

    /// Calls `pending_of` with every entry, its place and its tier, and compares what it says with what is summed up here.
    #[cfg(test)]
    pub(super) fn check(&self, pending_of: impl Fn(&Entry, usize, Tier) -> u64) {
        for level in &self.levels {
            for (pool, tier) in level.pools.iter().zip(Tier::ALL) {
                let entries = pool.entries().iter().enumerate();
                let pending: u64 = entries.map(|(place, entry)| pending_of(entry, place, tier)).sum();
                let weight: u64 = pool.entries().iter().map(|entry| u64::from(entry.weight.number())).sum();
                let candidates = Candidates::new(std::slice::from_ref(pool));
                assert_eq!((candidates.pending(), candidates.weight()), (pending, weight));
            }
        }
    }

    fn find(&self, rank: Rank) -> Result<usize, usize> {
        self.levels.binary_search_by_key(&rank, |level| level.rank)
    }
}
