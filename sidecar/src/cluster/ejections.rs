//! What is said of endpoints that are left out for a while: a line in the log with the numbers, a counter by cause, and how
//! many are out. Who is ejected and for how long is `mesh_balance`'s; this room only asks it when an interval ends, and tells.

use super::{Cluster, Clusters};
use crate::worker::Worker;
use mesh_balance::{Ejected, Nanos, Tier};
use std::cell::Cell;
use tokio::time::Instant;

impl Clusters {
    /// Waits until a cluster has intervals that end.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn have_intervals(&self) {
        self.judging.notified().await;
    }

    /// Ends the interval of every cluster whose time it is, and says what came of it. Returns whether any cluster has
    /// intervals.
    pub(crate) fn judge(&self, worker: &Worker) -> bool {
        let now = worker.nanos(Instant::now());
        let any = Cell::new(false);
        self.each(|cluster| any.set(cluster.judge(worker, now) || any.get()));
        any.get()
    }

    /// Brings the numbers of ejected endpoints up to date, before a scrape.
    pub(crate) fn count_ejected(&self, worker: &Worker) {
        let now = worker.nanos(Instant::now());
        self.each(|cluster| cluster.count_ejected(now));
    }
}

impl Cluster {
    /// Says that an endpoint was ejected.
    pub(super) fn ejected(&self, worker: &Worker, now: Nanos, ejected: Ejected) {
        let cause = ejected.cause.as_str();
        let families = &worker.shared.config.families.endpoints;
        families.ejections.with_label_values(&[&*self.name, cause]).inc();
        let balancer = self.balancer.borrow();
        let out = balancer.count(Tier::Ejected);
        self.ejected.get_or_init(|| families.share(&self.name)).set(out);
        tracing::warn!(
            service = &*self.name,
            endpoint = balancer.id(ejected.slot).map(|place| place.address.to_string()),
            cause,
            seconds = ejected.until.since(now).as_secs_f64(),
            ejected = out,
            endpoints = balancer.len(),
            "an endpoint is left out for a while"
        );
    }

    /// Returns whether it has intervals.
    fn judge(&self, worker: &Worker, now: Nanos) -> bool {
        let every = self.policy.borrow().as_ref().map(|policy| policy.interval);
        let Some(every) = every.filter(|_| self.balancer.borrow().settings().detection.needs_intervals())
        else {
            return false;
        };
        if now.since(self.judged.get()) < every {
            return true;
        }
        self.judged.set(now);
        let ejected = self.balancer.borrow_mut().evaluate(now);
        for ejected in ejected {
            self.ejected(worker, now, ejected);
        }
        true
    }

    fn count_ejected(&self, now: Nanos) {
        // Nobody was ever ejected in most clusters.
        let Some(share) = self.ejected.get() else { return };
        let mut balancer = self.balancer.borrow_mut();
        balancer.readmit(now);
        share.set(balancer.count(Tier::Ejected));
    }
}
