//! An office that one replica holds at a time, and what a replica is.

use super::Store;
use super::etcd::Lease;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;

/// The office of the one replica that writes what follows from other objects: derived objects, statuses, Events, the ends of
/// namespaces.
pub const CONTROLLERS: &str = "controllers";

/// A control plane among those that share a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its own for good: made once, and kept in its data directory. Empty for the only one of an embedded store.
    pub name: String,
    /// Where the others reach its discovery listener: `ADDRESS:PORT`.
    pub discovery: String,
}

/// This process holds an office. Writes that others could make too must still be based on what is there: a process that
/// was stopped and goes on may act for a moment before it notices that its time is over.
#[derive(Debug)]
pub struct Leadership(Option<(watch::Receiver<Option<Lease>>, i64)>);

impl Leadership {
    /// For as long as the process lives: there is no other.
    pub(super) fn alone() -> Self {
        Self(None)
    }

    /// For as long as this lease lasts.
    pub(super) fn under(leases: watch::Receiver<Option<Lease>>, id: i64) -> Self {
        Self(Some((leases, id)))
    }

    /// Ends when the office is lost.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn lost(&mut self) {
        let Some((leases, id)) = &mut self.0 else { return std::future::pending().await };
        loop {
            let held = *leases.borrow_and_update();
            let Some(lease) = held.filter(|lease| lease.id == *id) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(lease.until) => return,
                changed = leases.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Does the office's work whenever this process holds it: begun anew each time, cut off when the office is lost. Ends when
/// the work ends by itself.
pub async fn as_leader<F: Future<Output = ()>>(
    store: Arc<dyn Store>,
    office: &'static str,
    work: impl Fn() -> F,
) {
    loop {
        let mut leads = store.lead(office).await;
        tokio::select! {
            () = work() => return,
            () = leads.lost() => tracing::info!(office, "another replica does this now, or none can"),
        }
    }
}
