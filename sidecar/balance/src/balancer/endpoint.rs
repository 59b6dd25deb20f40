//! One endpoint: what the control plane says of it and what we learn.
//!
//! Enters: a [`Member`], outcomes. Leaves: the tier and rank it has. Never here: its peers.

use super::Slot;
use crate::ejection::Record;
use crate::{
    Distance, Fault, HashKey, Health, LocalityPreference, Member, Nanos, PeakEwma, Priority, Weight,
};
use std::time::Duration;

/// The group an endpoint is in. An earlier one is used up before a later one is looked at, unless there is panic.
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

impl Tier {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Ejected, Self::NotReady, Self::Draining];

    /// Its place among [`Tier::ALL`].
    pub(super) fn place(self) -> usize {
        match self {
            Self::Healthy => 0,
            Self::Ejected => 1,
            Self::NotReady => 2,
            Self::Draining => 3,
        }
    }
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
        /// Who failed.
        fault: Fault,
    },
    /// It ended without an answer for a reason that is none of the endpoint's: the client went away, say. It would have
    /// taken longer, no more is known.
    Abandoned {
        /// From sending the request to its end.
        waited: Duration,
    },
}

/// Which level an endpoint belongs to; the lower, the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: Priority,
    distance: Distance,
}

impl Rank {
    pub(super) fn of(member: &Member, preference: LocalityPreference) -> Self {
        let distance = match preference {
            LocalityPreference::None => Distance::Here,
            LocalityPreference::Nearest | LocalityPreference::Balanced(_) => member.distance,
        };
        Self { priority: member.priority, distance }
    }

    /// Whether they differ by distance alone.
    pub(super) fn is_as_important_as(self, other: Self) -> bool {
        self.priority == other.priority
    }
}

#[derive(Debug, Clone)]
pub(super) struct Endpoint<Id> {
    pub(super) id: Id,
    pub(super) member: Member,
    pub(super) rank: Rank,
    pub(super) estimate: PeakEwma,
    pub(super) record: Record,
    /// Requests under way.
    pub(super) pending: u32,
    /// When it became healthy, if it is new or was not healthy before.
    pub(super) cold_since: Option<Nanos>,
    /// Where it is in its pool.
    pub(super) place: usize,
}

/// Where an endpoint is: everything that decides on its pool and on the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) rank: Rank,
    pub(super) tier: Tier,
    pub(super) weight: Weight,
    key: HashKey,
}

impl Standing {
    /// What tables are made of: a change of health alone moves nothing in them, unless it is a farewell.
    pub(super) fn in_table(&self) -> Option<(Rank, Weight, HashKey)> {
        (self.tier != Tier::Draining).then_some((self.rank, self.weight, self.key))
    }
}

impl<Id> Endpoint<Id> {
    pub(super) fn tier(&self) -> Tier {
        match self.member.health {
            Health::Ready if self.record.until().is_some() => Tier::Ejected,
            Health::Ready => Tier::Healthy,
            Health::NotReady => Tier::NotReady,
            Health::Draining => Tier::Draining,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        Standing { rank: self.rank, tier: self.tier(), weight: self.member.weight, key: self.member.key }
    }

    /// Takes in how a request went. Says which detector strikes.
    pub(super) fn ended(
        &mut self,
        outcome: Outcome,
        now: Nanos,
        detection: &crate::Detection,
    ) -> Option<crate::Cause> {
        self.pending = self.pending.saturating_sub(1);
        match outcome {
            Outcome::Success { latency } => {
                self.estimate.succeeded(latency, now);
                self.record.succeeded(latency);
                None
            }
            Outcome::Failure { latency, fault } => {
                self.estimate.failed(latency, now);
                self.record.failed(fault, detection)
            }
            Outcome::Abandoned { waited } => {
                self.estimate.abandoned(waited, now);
                None
            }
        }
    }
}

/// Somebody was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejected {
    /// The endpoint.
    pub slot: Slot,
    /// Why.
    pub cause: crate::Cause,
    /// Until when.
    pub until: Nanos,
}
