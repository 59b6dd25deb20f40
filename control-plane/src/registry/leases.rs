//! Who holds which workload's name, and until when. Pure: the caller passes the time. What enters is announcements,
//! ends of streams and the passing of time; what leaves is, for each workload about which something has changed, what
//! the store should say of it.
//!
//! ```text
//!            announce                     lost                     grace over
//! (nothing) ──────────> Held by a stream ─────> Lost, as it was ─────────────> Unready ──keep over──> (nothing)
//!                 ^           │ leaving, then lost: (nothing)        │
//!                 └───────────┴──────────── announce ────────────────┘
//! ```
//!
//! Several streams may speak for one workload: those of two processes while one takes over from the other, or of one
//! that is back before its old stream's end was noticed. The one opened last is believed. When it ends without having
//! left, the workload is as the one before it says, if that still lives: a process that failed to take over leaves the
//! other one registered.
//!
//! After a restart of the control plane stored workloads are `Lost` with a longer grace: their sidecars are on their
//! way back.
//!
//! Of several control planes, each knows the workloads whose sidecars are connected to it, and what the others wrote of
//! theirs. The last to write has the workload: a sidecar that went from one to the other is at the other. What a stream says
//! whose workload another control plane has is only noted, as behind a newer stream here, until the other has lost it.
//!
//! When most workloads are lost, it is the control plane that is cut off: none of them becomes unready for that, and when
//! the majority is back the others get the longer grace too. Else the first sidecar to reconnect would be told that all
//! others are gone. Callers find out by themselves which endpoints really are.

use mesh_names::{ServiceAccount, SpiffeId, WorkloadName};
use mesh_protocol::announcement::{AnnouncedState, Announcement};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// From the end of a workload's stream to the moment it counts as unready. Long enough for a sidecar to reconnect,
/// to this replica or another; short enough that retries carry callers through.
pub const LOST_GRACE: Duration = Duration::from_secs(10);
/// From the start of the control plane (or the end of the one it was connected to) to the moment a stored workload that has
/// not come back counts as unready: all
/// sidecars reconnect at once then, with backoff.
pub const RESTART_GRACE: Duration = Duration::from_secs(30);
/// From there to its deletion. People can see what was lost for that long.
pub const UNREADY_KEEP: Duration = Duration::from_secs(5 * 60);
/// From sending something to a sidecar to the moment its silence about it is told. One that lives takes milliseconds.
pub const SILENT_AFTER: Duration = Duration::from_secs(30);

/// While most workloads are lost, the time from one look at a lost one to the next.
const CUT_OFF_LOOK: Duration = Duration::from_secs(10);
/// From the end of a stream to the moment its workload becomes unready even though most are lost: a mesh that was
/// stopped for good should not look alive for ever.
pub const CUT_OFF_MAX: Duration = Duration::from_secs(60 * 60);
/// With fewer workloads, only the loss of all of them counts as being cut off: losing two of three is no rare accident.
const MAJORITY_OF: usize = 8;

/// Streams remembered behind the one that is believed: a takeover has one, and a sidecar on a bad network some more that
/// are about to end. One more makes the oldest forgotten, which then ends without effect.
const SUPERSEDED_MAX: usize = 4;

/// One discovery stream, for as long as the process lives. One opened later has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Why an announcement is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another service account's workload has that name and is alive.
    #[error(
        "workload `{name}` is held by a sidecar of service account `{holder}`: give this one another name, or stop the other first"
    )]
    Held {
        /// The name asked for.
        name: WorkloadName,
        /// Who has it.
        holder: ServiceAccount,
    },
    /// A stream is one workload's.
    #[error(
        "this stream announced workload `{first}` before and now `{then}`: open a stream for each workload"
    )]
    Renamed {
        /// The name it began with.
        first: WorkloadName,
        /// The name it now uses.
        then: WorkloadName,
    },
}

/// What the store should say of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Desired {
    /// This, exactly.
    Registered {
        /// What its sidecar said.
        announcement: Box<Announcement>,
        /// Whose it is.
        account: ServiceAccount,
        /// Whether it takes traffic.
        standing: Standing,
        /// Why its sidecar has not applied its configuration, where it has not.
        trouble: Option<Trouble>,
    },
    /// What it says already, but not ready: its sidecar has not been heard since the control plane started.
    Silent,
    /// Nothing.
    Absent,
}

/// Whether a workload takes traffic, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It does.
    Ready,
    /// Its sidecar said that it does not, for now.
    NotReady,
    /// Its sidecar said that it finishes what it has and takes nothing new.
    Leaving,
    /// Its sidecar is gone.
    Lost,
}

/// Why a sidecar goes on with an older configuration than it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It refused what it was sent: in a sentence, which and why.
    Refused(String),
    /// It does not say that it has applied what it was sent.
    Silent,
}

/// The registered workloads.
#[derive(Debug, Default)]
pub struct Leases {
    leases: BTreeMap<WorkloadName, Lease>,
    /// The streams that hold a workload, and which.
    streams: HashMap<StreamId, WorkloadName>,
    /// The streams behind those, and for which workload they spoke.
    superseded: HashMap<StreamId, WorkloadName>,
    /// When something ends by itself, and whose.
    deadlines: BTreeSet<(Instant, WorkloadName)>,
    changed: BTreeSet<WorkloadName>,
    /// The workloads that other control planes have, alive, and whose they are.
    elsewhere: HashMap<WorkloadName, ServiceAccount>,
    /// How many are [`Phase::Lost`].
    lost: usize,
}

#[derive(Debug)]
struct Lease {
    account: ServiceAccount,
    /// Nothing for a stored workload whose sidecar has not been heard yet.
    said: Option<Announcement>,
    trouble: Option<Trouble>,
    phase: Phase,
    /// The streams opened before the one that holds it, oldest first, and what they said last.
    superseded: Vec<(StreamId, Announcement)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Held(StreamId),
    /// The stream lives, and another control plane has the workload.
    Elsewhere(StreamId),
    Lost {
        since: Instant,
        unready_at: Instant,
        cut_off: bool,
    },
    Unready {
        delete_at: Instant,
    },
}

impl Leases {
    /// Takes over a stored workload whose sidecar is on its way back: of an earlier process, or of a control plane that is
    /// gone.
    pub fn restore(&mut self, name: WorkloadName, account: ServiceAccount, now: Instant) {
        self.elsewhere.remove(&name);
        if self.leases.contains_key(&name) {
            return;
        }
        let unready_at = now + RESTART_GRACE;
        self.deadlines.insert((unready_at, name.clone()));
        let phase = Phase::Lost { since: now, unready_at, cut_off: false };
        self.leases.insert(name, Lease { account, said: None, trouble: None, phase, superseded: Vec::new() });
        self.lost += 1;
    }

    /// Takes a sidecar's word on its workload. The same service account takes a name over even while its old stream
    /// seems alive: a sidecar that lost its connection is back before the loss is noticed. What a stream says that was
    /// opened before the one that holds the workload is only noted.
    ///
    /// # Errors
    /// [`Refusal`]: another service account holds the name, or the stream has announced another name before.
    pub fn announce(
        &mut self,
        stream: StreamId,
        peer: &SpiffeId,
        announcement: Announcement,
    ) -> Result<WorkloadName, Refusal> {
        let name = WorkloadName::new(peer.namespace.clone(), announcement.name.clone());
        let spoken_for = self.streams.get(&stream).or_else(|| self.superseded.get(&stream));
        if let Some(first) = spoken_for.filter(|first| **first != name) {
            return Err(Refusal::Renamed { first: first.clone(), then: name });
        }
        let is_alive = |lease: &&Lease| !matches!(lease.phase, Phase::Unready { .. });
        let here = self.leases.get(&name).filter(is_alive).map(|lease| &lease.account);
        let holder = here.or_else(|| self.elsewhere.get(&name));
        if let Some(holder) = holder.filter(|holder| **holder != peer.service_account) {
            return Err(Refusal::Held { name, holder: holder.clone() });
        }
        let mut superseded = match self.leases.get_mut(&name) {
            Some(Lease { phase: Phase::Elsewhere(holder), said, .. }) if stream == *holder => {
                *said = Some(announcement);
                return Ok(name);
            }
            Some(Lease { phase: Phase::Held(holder) | Phase::Elsewhere(holder), superseded, .. })
                if stream < *holder =>
            {
                let forgotten = note(superseded, stream, announcement);
                self.superseded.insert(stream, name.clone());
                self.forget(forgotten);
                return Ok(name);
            }
            Some(lease) => std::mem::take(&mut lease.superseded),
            None => Vec::new(),
        };
        let before = self.end_phase(&name);
        let is_same = before.as_ref().is_some_and(|(holder, _)| *holder == stream);
        if let Some((holder, said)) = before.filter(|_| !is_same) {
            self.superseded.insert(holder, name.clone());
            let forgotten = note(&mut superseded, holder, said);
            self.forget(forgotten);
        }
        self.superseded.remove(&stream);
        self.elsewhere.remove(&name);
        self.streams.insert(stream, name.clone());
        let trouble = self.leases.get_mut(&name).and_then(|lease| lease.trouble.take());
        let lease = Lease {
            account: peer.service_account.clone(),
            said: Some(announcement),
            trouble: trouble.filter(|_| is_same),
            phase: Phase::Held(stream),
            superseded,
        };
        self.leases.insert(name.clone(), lease);
        self.changed.insert(name.clone());
        Ok(name)
    }

    /// Notes whether the sidecar at the other end has applied its configuration. Of a stream that holds no workload it means
    /// nothing.
    pub fn configured(&mut self, stream: StreamId, trouble: Option<Trouble>) {
        let Some(name) = self.streams.get(&stream) else { return };
        if let Some(lease) = self.leases.get_mut(name)
            && lease.trouble != trouble
        {
            lease.trouble = trouble;
            if let Phase::Held(_) = lease.phase {
                self.changed.insert(name.clone());
            }
        }
    }

    /// Notes that a stream has ended. A stream whose workload has been taken over by another ends without effect.
    pub fn lost(&mut self, stream: StreamId, now: Instant) {
        if let Some(name) = self.superseded.remove(&stream) {
            if let Some(lease) = self.leases.get_mut(&name) {
                lease.superseded.retain(|(other, _)| *other != stream);
            }
            return;
        }
        let Some(name) = self.streams.remove(&stream) else { return };
        let Some(lease) = self.leases.get_mut(&name) else { return };
        if let Phase::Elsewhere(_) = lease.phase {
            match lease.superseded.pop() {
                Some((before, said)) => {
                    lease.phase = Phase::Elsewhere(before);
                    lease.said = Some(said);
                    self.superseded.remove(&before);
                    self.streams.insert(before, name);
                }
                None => drop(self.leases.remove(&name)),
            }
            return;
        }
        let has_left = lease.said.as_ref().is_some_and(|said| said.state == AnnouncedState::Leaving);
        if has_left {
            self.leases.remove(&name);
            self.changed.insert(name);
        } else if let Some((before, said)) = lease.superseded.pop() {
            lease.phase = Phase::Held(before);
            lease.said = Some(said);
            lease.trouble = None;
            self.superseded.remove(&before);
            self.streams.insert(before, name.clone());
            self.changed.insert(name);
        } else {
            let unready_at = now + LOST_GRACE;
            lease.phase = Phase::Lost { since: now, unready_at, cut_off: false };
            self.deadlines.insert((unready_at, name));
            self.lost += 1;
        }
    }

    /// Notes that another control plane has a workload, alive: its sidecar went there.
    pub fn taken(&mut self, name: WorkloadName, account: ServiceAccount) {
        self.changed.remove(&name);
        if let Some(lease) = self.leases.get_mut(&name) {
            match lease.phase {
                Phase::Held(stream) => lease.phase = Phase::Elsewhere(stream),
                Phase::Elsewhere(_) => {}
                Phase::Lost { .. } | Phase::Unready { .. } => {
                    self.end_phase(&name);
                    self.leases.remove(&name);
                }
            }
        }
        self.elsewhere.insert(name, account);
    }

    /// Notes that no other control plane has a workload alive, or that it is not stored any more: whoever is connected here
    /// has it.
    pub fn freed(&mut self, name: WorkloadName) {
        self.elsewhere.remove(&name);
        if let Some(lease) = self.leases.get_mut(&name)
            && let Phase::Elsewhere(stream) = lease.phase
        {
            lease.phase = Phase::Held(stream);
            self.changed.insert(name);
        }
    }

    /// The workloads that other control planes have, as far as is known.
    pub fn elsewhere(&self) -> impl Iterator<Item = &WorkloadName> {
        self.elsewhere.keys()
    }

    /// The workloads that a stream here holds.
    pub fn held(&self) -> impl Iterator<Item = &WorkloadName> {
        let is_held = |lease: &Lease| matches!(lease.phase, Phase::Held(_));
        self.leases.iter().filter(move |(_, lease)| is_held(lease)).map(|(name, _)| name)
    }

    /// When something will end by itself, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Notes the passing of time and hands out what has changed since the last call.
    pub fn take_changes(&mut self, now: Instant) -> Vec<(WorkloadName, Desired)> {
        while let Some((at, name)) = self.deadlines.pop_first() {
            if at > now {
                self.deadlines.insert((at, name));
                break;
            }
            self.expire(name, at);
        }
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|name| (name.clone(), self.desired(&name))).collect()
    }

    /// Has `name` handed out again by the next [`Leases::take_changes`]: writing it failed.
    pub fn retry(&mut self, name: WorkloadName) {
        self.changed.insert(name);
    }

    /// Has `name` handed out again if a stream holds it: it is not in the store any more, by no doing of ours.
    pub fn rewrite(&mut self, name: WorkloadName) {
        if self.holder(&name).is_some() {
            self.changed.insert(name);
        }
    }

    /// The stream that holds a workload.
    pub fn holder(&self, name: &WorkloadName) -> Option<StreamId> {
        match self.leases.get(name)?.phase {
            Phase::Held(stream) => Some(stream),
            Phase::Elsewhere(_) | Phase::Lost { .. } | Phase::Unready { .. } => None,
        }
    }

    /// Whether so many are lost at once that it must be us.
    fn is_cut_off(&self) -> bool {
        let total = self.lost + self.streams.len();
        let most = if total >= MAJORITY_OF { total / 2 + 1 } else { total.max(2) };
        self.lost >= most
    }

    fn expire(&mut self, name: WorkloadName, at: Instant) {
        let is_cut_off = self.is_cut_off();
        let Some(lease) = self.leases.get_mut(&name) else { return };
        match lease.phase {
            Phase::Lost { since, cut_off, .. } if (is_cut_off || cut_off) && at < since + CUT_OFF_MAX => {
                let wait = if is_cut_off { CUT_OFF_LOOK } else { RESTART_GRACE };
                lease.phase = Phase::Lost { since, unready_at: at + wait, cut_off: is_cut_off };
                self.deadlines.insert((at + wait, name));
                return;
            }
            Phase::Lost { .. } => {
                self.lost -= 1;
                let delete_at = at + UNREADY_KEEP;
                lease.phase = Phase::Unready { delete_at };
                self.deadlines.insert((delete_at, name.clone()));
            }
            Phase::Unready { .. } => {
                self.leases.remove(&name);
            }
            Phase::Held(_) | Phase::Elsewhere(_) => return,
        }
        self.changed.insert(name);
    }

    /// Takes a workload out of whatever phase it is in: its deadline, or the stream that held it, which is returned with
    /// what it said.
    fn end_phase(&mut self, name: &WorkloadName) -> Option<(StreamId, Announcement)> {
        let lease = self.leases.get_mut(name)?;
        match lease.phase {
            Phase::Held(stream) | Phase::Elsewhere(stream) => {
                self.streams.remove(&stream);
                return Some((stream, lease.said.take()?));
            }
            Phase::Lost { unready_at, .. } => {
                self.deadlines.remove(&(unready_at, name.clone()));
                self.lost -= 1;
            }
            Phase::Unready { delete_at } => {
                self.deadlines.remove(&(delete_at, name.clone()));
            }
        }
        None
    }

    fn forget(&mut self, stream: Option<StreamId>) {
        if let Some(stream) = stream {
            self.superseded.remove(&stream);
        }
    }

    fn desired(&self, name: &WorkloadName) -> Desired {
        let Some(lease) = self.leases.get(name) else { return Desired::Absent };
        let Some(announcement) = lease.said.clone() else { return Desired::Silent };
        let standing = match (lease.phase, announcement.state) {
            (Phase::Unready { .. }, _) => Standing::Lost,
            (Phase::Held(_) | Phase::Elsewhere(_) | Phase::Lost { .. }, AnnouncedState::Ready) => {
                Standing::Ready
            }
            (Phase::Held(_) | Phase::Elsewhere(_) | Phase::Lost { .. }, AnnouncedState::NotReady) => {
                Standing::NotReady
            }
            (Phase::Held(_) | Phase::Elsewhere(_) | Phase::Lost { .. }, AnnouncedState::Leaving) => {
                Standing::Leaving
            }
        };
        let (account, trouble) = (lease.account.clone(), lease.trouble.clone());
        Desired::Registered { announcement: Box::new(announcement), account, standing, trouble }
    }
}

/// Remembers what a stream said that is not the one believed. Returns the one forgotten for it, if there are too many.
fn note(
    superseded: &mut Vec<(StreamId, Announcement)>,
    stream: StreamId,
    announcement: Announcement,
) -> Option<StreamId> {
    superseded.retain(|(other, _)| *other != stream);
    let place = superseded.partition_point(|(other, _)| *other < stream);
    superseded.insert(place, (stream, announcement));
    (superseded.len() > SUPERSEDED_MAX).then(|| superseded.remove(0).0)
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
