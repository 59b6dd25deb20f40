//! What waits to be written: one entry for each subject, the newest desired state in it, so that a storm of changes
//! costs one write a subject. Bounded by the number of objects.

use super::virtual_ips::Assignment;
use crate::translate::{
    DerivedSlice, PolicyName, PolicyStatus, RouteName, RouteStatus, TrafficPolicyName, Verdict,
};
use mesh_names::{ExternalServiceName, ServiceName};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Whose desired state it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The derived EndpointSlices of a Service.
    Slices(ServiceName),
    /// The status of a route.
    Status(RouteName),
    /// The condition of a Service on its target ports.
    TargetPorts(ServiceName),
    /// The condition of a Service on its endpoints.
    EndpointsReady(ServiceName),
    /// The virtual addresses of a Service.
    VirtualIps(ServiceName),
    /// The condition of an ExternalService on what it refers to.
    External(ExternalServiceName),
    /// The status of a TrafficPolicy.
    Policy(TrafficPolicyName),
    /// The condition of a PeerAuthentication on whom it holds for.
    PeerAuthentication(PolicyName),
}

/// What the store should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Desired {
    /// These slices, and none of those.
    Slices {
        /// To be there, exactly.
        wanted: Vec<DerivedSlice>,
        /// Names of derived slices to be gone.
        unwanted: Vec<String>,
    },
    /// This status.
    Status(RouteStatus),
    /// This condition.
    TargetPorts(Verdict),
    /// This condition.
    EndpointsReady(Verdict),
    /// These addresses, and a condition on them.
    VirtualIps(Assignment),
    /// This condition on references.
    External(Verdict),
    /// This status of a policy.
    Policy(PolicyStatus),
    /// This condition.
    PeerAuthentication(Verdict),
}

/// From the moment in which nothing behind a Service takes traffic to its saying so: between a Service and its first
/// workload, or in a restart, lie seconds that are nothing to tell of.
pub const LATER: Duration = Duration::from_secs(5);

/// The entries that wait. One writer takes them.
#[derive(Debug, Default)]
pub struct Work {
    /// Held for one insertion, or one swap of the whole map.
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    now: BTreeMap<Subject, Desired>,
    /// What is not to be written before its time, and may be overtaken until then.
    later: BTreeMap<Subject, (Instant, Desired)>,
    /// Those times, in order; some are of entries that were overtaken.
    dues: VecDeque<(Instant, Subject)>,
}

impl Work {
    /// Adds an entry in place of an older one of the same subject.
    pub fn put(&self, subject: Subject, desired: Desired) {
        let mut waiting = self.waiting();
        waiting.later.remove(&subject);
        waiting.now.insert(subject, desired);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Adds an entry in place of an older one of the same subject, to be taken [`LATER`] than the first of those that were
    /// added in this way.
    pub fn put_later(&self, subject: Subject, desired: Desired) {
        let mut waiting = self.waiting();
        waiting.now.remove(&subject);
        if let Some((_, there)) = waiting.later.get_mut(&subject) {
            *there = desired;
            return;
        }
        let due = Instant::now() + LATER;
        waiting.later.insert(subject.clone(), (due, desired));
        waiting.dues.push_back((due, subject));
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Puts an entry back whose write failed, unless a newer one has come.
    pub fn put_back(&self, subject: Subject, desired: Desired) {
        let mut waiting = self.waiting();
        if !waiting.later.contains_key(&subject) {
            waiting.now.entry(subject).or_insert(desired);
        }
    }

    /// Takes an entry out that is of no use any more.
    pub fn forget(&self, subject: &Subject) {
        let mut waiting = self.waiting();
        waiting.now.remove(subject);
        waiting.later.remove(subject);
    }

    /// Everything that waits and whose time has come, at least one entry.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken before it is returned.
    pub async fn take(&self) -> BTreeMap<Subject, Desired> {
        loop {
            let (taken, due) = self.waiting().take(Instant::now());
            if !taken.is_empty() {
                return taken;
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                () = async {
                    match due {
                        Some(due) => tokio::time::sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// What may be written, and when there is more.
    fn take(&mut self, now: Instant) -> (BTreeMap<Subject, Desired>, Option<Instant>) {
        let is_ripe = |(due, _): &&(Instant, Subject)| *due <= now;
        while let Some((due, subject)) = self.dues.front().filter(is_ripe).cloned() {
            self.dues.pop_front();
            if self.later.get(&subject).is_some_and(|(at, _)| *at == due)
                && let Some((_, desired)) = self.later.remove(&subject)
            {
                self.now.insert(subject, desired);
            }
        }
        (std::mem::take(&mut self.now), self.dues.front().map(|(due, _)| *due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(holds: bool) -> Desired {
        Desired::EndpointsReady(Verdict { holds, reason: "X", message: String::new() })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_for_later_is_overtaken_or_taken_in_its_time() {
        let (work, start) = (Work::default(), Instant::now());
        let subject = |name: &str| Subject::EndpointsReady(format!("shop/{name}").parse().unwrap());
        for name in ["lost", "late", "gone"] {
            work.put_later(subject(name), ready(false));
        }
        tokio::time::sleep(LATER / 2).await;
        work.put(subject("late"), ready(true));
        work.forget(&subject("gone"));
        work.put_later(subject("lost"), ready(false));
        assert_eq!(work.take().await, [(subject("late"), ready(true))].into());
        assert_eq!(start.elapsed(), LATER / 2, "what is not for later is taken at once");
        assert_eq!(work.take().await, [(subject("lost"), ready(false))].into());
        assert_eq!(start.elapsed(), LATER, "said again, it does not wait longer");
        work.put_later(subject("lost"), ready(false));
        work.put_back(subject("lost"), ready(true));
        assert_eq!(work.take().await, [(subject("lost"), ready(false))].into(), "the newer one");
    }
}
