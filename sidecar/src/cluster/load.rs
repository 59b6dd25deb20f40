//! One attempt's share of an endpoint's load. However the attempt ends, the balancer hears of it exactly once.

use super::Cluster;
use crate::worker::Worker;
use mesh_balance::{Fault, Nanos, Outcome, Slot};
use std::rc::Rc;
use tokio::time::Instant;

/// An attempt under way; ends when dropped.
pub(crate) struct Load {
    worker: Rc<Worker>,
    cluster: Rc<Cluster>,
    slot: Slot,
    started: Nanos,
    outcome: Outcome,
    /// Nothing: when it is dropped.
    ended: Option<Instant>,
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load")
            .field("slot", &self.slot)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl Load {
    pub(super) fn start(worker: Rc<Worker>, cluster: Rc<Cluster>, slot: Slot, now: Nanos) -> Self {
        cluster.balancer.borrow_mut().started(slot);
        Self { worker, cluster, slot, started: now, outcome: Outcome::Abandoned, ended: None }
    }

    /// The request is sent now: what was waited for until then is not the endpoint's latency.
    pub(crate) fn sending(&mut self) {
        self.started = self.worker.nanos(Instant::now());
    }

    /// The head of the response has come.
    pub(crate) fn answered(&mut self) {
        let latency = self.worker.nanos(Instant::now()).since(self.started);
        self.outcome = Outcome::Success { latency };
    }

    /// It has ended, at a time the caller knows already.
    pub(crate) fn end(mut self, now: Instant) {
        self.ended = Some(now);
    }

    /// The endpoint failed.
    pub(crate) fn failed(&mut self) {
        let latency = self.worker.nanos(Instant::now()).since(self.started);
        self.outcome = Outcome::Failure { latency, fault: Fault::Gateway };
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let now = self.worker.nanos(self.ended.unwrap_or_else(Instant::now));
        self.cluster.balancer.borrow_mut().ended(self.slot, now, self.outcome);
    }
}
