//! Who is alive. What enters is announcements on discovery streams and the ends of those streams; what leaves is
//! Workload objects in the store: written when a workload registers, changes what it says, is lost or leaves, and never
//! just because time passes. The stream is the lease: there are no heartbeats here, the connection has its own.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`leases`] | who holds which name, until when: pure |
//! | [`keeper`] | the task that brings the store to what the leases say |
//! | `follower` | what the store says of workloads, taken to the leases |
//! | [`orphans`] | the workloads of a control plane that is gone |
//! | `object` | a Workload object as JSON |

mod follower;
pub mod keeper;
pub mod leases;
mod object;
pub mod orphans;

pub use leases::{SILENT_AFTER, Trouble};
pub(crate) use object::LEAVING;

use crate::store::{Revision, Store};
use leases::{Leases, Refusal, StreamId};
use mesh_names::{SpiffeId, WorkloadName};
use mesh_process::Tasks;
use mesh_protocol::announcement::Announcement;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The registered workloads, shared by all streams and the keeper. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Held for one decision, never over an await.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    leases: Leases,
    streams: u64,
    stored: HashMap<StreamId, watch::Sender<Option<StoredAt>>>,
}

/// An announcement that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredAt {
    /// Which.
    pub sequence: u64,
    /// The write that brought it there, or that last changed the object if it said so already.
    pub revision: Revision,
}

/// One stream's place in the registry. Dropping it is the end of the stream, and of the lease.
#[derive(Debug)]
pub struct Registration {
    registry: Registry,
    stream: StreamId,
    stored: watch::Receiver<Option<StoredAt>>,
    /// The stream ends because we do: its workload is as alive as before.
    is_ours_to_end: bool,
}

impl Registry {
    /// An empty registry, and the task that keeps the store as it says.
    pub fn spawn(tasks: &Tasks, store: Arc<dyn Store>) -> Self {
        let registry = Self::default();
        tasks.spawn("registry", keeper::run(registry.clone(), store));
        registry
    }

    /// Opens a place for a stream.
    pub fn open(&self) -> Registration {
        let (sender, stored) = watch::channel(None);
        let mut state = self.state();
        state.streams += 1;
        let stream = StreamId(state.streams);
        state.stored.insert(stream, sender);
        drop(state);
        Registration { registry: self.clone(), stream, stored, is_ours_to_end: false }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Takes the sidecar's word on its workload; it is written to the store soon.
    ///
    /// # Errors
    /// [`Refusal`], which is told to the sidecar.
    pub fn announce(&self, peer: &SpiffeId, announcement: Announcement) -> Result<WorkloadName, Refusal> {
        let name = self.registry.state().leases.announce(self.stream, peer, announcement)?;
        self.registry.0.changed.notify_one();
        Ok(name)
    }

    /// Notes why the sidecar has not applied its configuration; nothing when it has. It is written to the store soon.
    pub fn configured(&self, trouble: Option<Trouble>) {
        self.registry.state().leases.configured(self.stream, trouble);
        self.registry.0.changed.notify_one();
    }

    /// Notes that this process ends the stream, as it does when it stops: that says nothing about the workload.
    pub fn end_by_us(&mut self) {
        self.is_ours_to_end = true;
    }

    /// The newest announcement of this stream that is in the store, when there is a newer one than last time.
    ///
    /// # Cancel safety
    /// Safe: a change that was not returned is returned next time.
    pub async fn stored(&mut self) -> StoredAt {
        loop {
            if self.stored.changed().await.is_err() {
                // The sender lives as long as this value.
                return std::future::pending().await;
            }
            if let Some(stored) = *self.stored.borrow_and_update() {
                return stored;
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        state.stored.remove(&self.stream);
        if self.is_ours_to_end {
            return;
        }
        state.leases.lost(self.stream, Instant::now());
        drop(state);
        self.registry.0.changed.notify_one();
    }
}

#[cfg(test)]
mod several_tests;
