//! What waits to be written: one entry for each object, the newest desired state in it, so that a storm of changes
//! costs one write an object. Bounded by the number of objects.

use super::virtual_ips::Assignment;
use crate::translate::{DerivedSlice, PolicyStatus, RouteName, RouteStatus, TrafficPolicyName, Verdict};
use mesh_names::{ExternalServiceName, ServiceName};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Whose desired state it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The derived EndpointSlices of a Service.
    Slices(ServiceName),
    /// The status of a route.
    Status(RouteName),
    /// The conditions of a Service on what is behind it.
    Endpoints(ServiceName),
    /// The virtual addresses of a Service.
    VirtualIps(ServiceName),
    /// The condition of an ExternalService on what it refers to.
    External(ExternalServiceName),
    /// The status of a TrafficPolicy.
    Policy(TrafficPolicyName),
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
    /// These conditions.
    Endpoints {
        /// Whether every selected Workload has the ports the Service leads to.
        target_ports: Verdict,
        /// Whether there are endpoints that take traffic.
        ready: Verdict,
    },
    /// These addresses, and a condition on them.
    VirtualIps(Assignment),
    /// This condition on references.
    External(Verdict),
    /// This status of a policy.
    Policy(PolicyStatus),
}

/// The entries that wait. One writer takes them.
#[derive(Debug, Default)]
pub struct Work {
    /// Held for one insertion, or one swap of the whole map.
    waiting: Mutex<BTreeMap<Subject, Desired>>,
    arrived: Notify,
}

impl Work {
    /// Adds an entry in place of an older one of the same subject.
    pub fn put(&self, subject: Subject, desired: Desired) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(subject, desired);
        self.arrived.notify_one();
    }

    /// Puts an entry back whose write failed, unless a newer one has come.
    pub fn put_back(&self, subject: Subject, desired: Desired) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(subject).or_insert(desired);
    }

    /// Takes an entry out that is of no use any more.
    pub fn forget(&self, subject: &Subject) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(subject);
    }

    /// Everything that waits, at least one entry.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken before it is returned.
    pub async fn take(&self) -> BTreeMap<Subject, Desired> {
        loop {
            let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.arrived.notified().await;
        }
    }
}
