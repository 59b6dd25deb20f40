//! A worker's view of the snapshot: one writer a source (the tasks that follow the channels), pinned once per request by cloning
//! an `Rc`, so that workers don't share a reference count.

use super::Snapshot;
use crate::resolve::Resolved;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A snapshot as one worker sees it.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// What the control plane has said.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Where places outside of the mesh are.
    pub(crate) resolved: Arc<Resolved>,
    /// Grows by one with each change of either.
    pub(crate) generation: u64,
}

/// The latest snapshot.
#[derive(Debug)]
pub(crate) struct Current {
    pinned: RefCell<Rc<Pinned>>,
    changed: Notify,
}

impl Current {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        let pinned = Rc::new(Pinned { snapshot, resolved: Arc::default(), generation: 1 });
        Self { pinned: RefCell::new(pinned), changed: Notify::new() }
    }

    /// The latest snapshot, which stays as it is for as long as it is held.
    pub(crate) fn pin(&self) -> Rc<Pinned> {
        self.pinned.borrow().clone()
    }

    /// Replaces what the control plane has said.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        let resolved = self.pinned.borrow().resolved.clone();
        self.replace(snapshot, resolved);
    }

    /// Replaces what DNS has said.
    pub(crate) fn resolved(&self, resolved: Arc<Resolved>) {
        let snapshot = self.pinned.borrow().snapshot.clone();
        self.replace(snapshot, resolved);
    }

    fn replace(&self, snapshot: Arc<Snapshot>, resolved: Arc<Resolved>) {
        let generation = self.pinned.borrow().generation + 1;
        *self.pinned.borrow_mut() = Rc::new(Pinned { snapshot, resolved, generation });
        self.changed.notify_waiters();
    }

    /// The next change after this call, whenever the future is first polled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}
