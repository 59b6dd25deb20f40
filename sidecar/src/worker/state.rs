//! What one worker owns. Everything here lives on one thread and is shared by its tasks through one `Rc`.

use super::run::Shared;
use crate::cluster::Clusters;
use crate::connect::relay::Buffers;
use crate::deadline;
use crate::inbound::port::InboundPorts;
use crate::limit::{Complaints, Gate};
use crate::listen::activity::Watch;
use crate::outbound::circle::Circle;
use crate::outbound::destination::Destinations;
use crate::outbound::entry::Entries;
use crate::pool::Origins;
use crate::snapshot::{Current, Pinned};
use crate::telemetry::Recorder;
use mesh_balance::{Nanos, SmallRng};
use mesh_process::Tasks;
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use tokio::time::Instant;

/// Most downstream connections a worker holds open, in each direction. One more waits in the kernel's backlog until another ends: their
/// memory, about 20 KiB each with TLS, is what a flood of connections costs.
pub(crate) const CONNECTIONS_MAX: usize = 16 * 1024;

/// One worker's everything.
pub(crate) struct Worker {
    /// What all workers share, none of it written to.
    pub(crate) shared: Arc<Shared>,
    pub(crate) current: Current,
    pub(crate) clusters: Clusters,
    pub(crate) destinations: Destinations,
    pub(crate) entries: Entries,
    pub(crate) origins: Origins,
    pub(crate) recorder: Recorder,
    pub(crate) buffers: Buffers,
    pub(crate) tasks: Tasks,
    /// Connections from peers; while there are any, the application still calls others.
    pub(crate) inbound: Gate,
    /// Connections from the application.
    pub(crate) outbound: Gate,
    pub(crate) inbound_ports: InboundPorts,
    /// Guards against rules that capture ourselves.
    pub(crate) circle: Circle,
    pub(crate) watch: Watch,
    /// For log lines that peers can cause.
    pub(crate) complaints: Complaints,
    rng: RefCell<SmallRng>,
    started: Instant,
}

/// How long one question has been waited with. It ends once, but that the first configuration gives it its time anew:
/// nobody could answer before.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<(bool, Instant)>);

/// From the system, by way of the keys of the standard library's hash maps: two workers must not march in step, be it in one
/// process or in two containers, in each of which the sidecar is process 1.
fn seed() -> u64 {
    RandomState::new().hash_one(())
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let snapshot = shared.config.snapshots.borrow().clone();
        Self {
            current: Current::new(snapshot),
            clusters: Clusters::default(),
            destinations: Destinations::default(),
            entries: Entries::new(&shared.upstreams),
            origins: Origins::default(),
            recorder: Recorder::new(shared.config.families.clone()),
            buffers: Buffers::default(),
            tasks: Tasks::new(),
            inbound: Gate::new(CONNECTIONS_MAX),
            outbound: Gate::new(CONNECTIONS_MAX),
            inbound_ports: InboundPorts::default(),
            circle: Circle::default(),
            watch: Watch::default(),
            complaints: Complaints::default(),
            rng: RefCell::new(SmallRng::seeded(seed())),
            started: Instant::now(),
            shared,
        }
    }

    /// Until when an answer of the control plane that is asked for now is waited for.
    fn discovery_until(&self, pinned: &Pinned) -> Instant {
        let first = (!pinned.snapshot.received).then(|| self.started + deadline::FIRST_CONFIGURATION);
        deadline::discovery(Instant::now(), first)
    }

    /// The same for a question that is asked again with each change of the snapshot.
    pub(crate) fn patience(&self, patience: &mut Patience, pinned: &Pinned) -> Instant {
        let is_told = pinned.snapshot.received;
        let until = match patience.0 {
            Some((was_told, until)) if was_told == is_told => until,
            Some((_, until)) => self.discovery_until(pinned).max(until),
            None => self.discovery_until(pinned),
        };
        patience.0 = Some((is_told, until));
        until
    }

    /// Monotonic time as the balancer counts it.
    pub(crate) fn nanos(&self, now: Instant) -> Nanos {
        let elapsed = now.saturating_duration_since(self.started).as_nanos();
        Nanos(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// A random number.
    pub(crate) fn random(&self) -> u64 {
        use mesh_balance::Rng as _;
        self.rng.borrow_mut().next_u64()
    }

    /// The generator, for the balancer.
    pub(crate) fn rng(&self) -> std::cell::RefMut<'_, SmallRng> {
        self.rng.borrow_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_workers_have_one_seed() {
        let other_threads = (0..4).map(|_| std::thread::spawn(seed));
        let other_threads: Vec<_> = other_threads.collect();
        let seeds = other_threads.into_iter().map(|thread| thread.join().unwrap());
        let seeds: HashSet<_> = seeds.chain((0..4).map(|_| seed())).collect();
        assert_eq!(seeds.len(), 8, "{seeds:?}");
    }
}
