//! A worker's view of the snapshot: one writer (the task that follows the channel), pinned once per request by cloning
//! an `Rc`, so that workers don't share a reference count.

use super::Snapshot;
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
    /// Grows by one with each snapshot this worker sees.
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
        let pinned = Rc::new(Pinned { snapshot, generation: 1 });
        Self { pinned: RefCell::new(pinned), changed: Notify::new() }
    }

    /// The latest snapshot, which stays as it is for as long as it is held.
    pub(crate) fn pin(&self) -> Rc<Pinned> {
        self.pinned.borrow().clone()
    }

    /// Replaces it.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        let generation = self.pinned.borrow().generation + 1;
        *self.pinned.borrow_mut() = Rc::new(Pinned { snapshot, generation });
        self.changed.notify_waiters();
    }

    /// The next change after this call, whenever the future is first polled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}
