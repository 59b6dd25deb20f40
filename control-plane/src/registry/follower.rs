//! What the store says of registered workloads, taken to the leases: those of an earlier process, those that other control
//! planes have, and those that somebody deleted.

use super::Registry;
use super::object::{control_plane, is_lost};
use crate::store::{Event, Store, StoreError, Stored, Watch};
use manifests::Kind;
use manifests::kind::workload::is_registered;
use mesh_names::{ServiceAccount, WorkloadName};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::Instant;

/// Follows the store. One for each process.
pub(super) struct Follower {
    registry: Registry,
    store: Arc<dyn Store>,
    /// Nothing until all workloads have been read.
    watch: Option<Watch>,
    /// Whether the workloads of an earlier process have been taken over.
    has_restored: bool,
}

impl Follower {
    pub(super) fn new(registry: Registry, store: Arc<dyn Store>) -> Self {
        Self { registry, store, watch: None, has_restored: false }
    }

    /// Takes in the next piece of news: all workloads at first, then one after the other.
    ///
    /// # Errors
    /// The store's; all is read again next time.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Result<(), StoreError> {
        let Some(watch) = &mut self.watch else {
            let list = self.store.list(Some(Kind::Workload), None).await?;
            let watch = self.store.watch(Some(Kind::Workload), list.revision).await?;
            self.take_all(&list.items);
            self.watch = Some(watch);
            return Ok(());
        };
        match watch.next().await {
            Ok(Event::Put { stored, .. }) => self.take(&stored, &stored.object.read()),
            Ok(Event::Deleted { stored, .. }) => self.miss(&stored),
            Err(error @ StoreError::Compacted { .. }) => {
                tracing::info!(%error, "the registry fell behind the store; reading all workloads");
                self.watch = None;
            }
            Err(error) => {
                self.watch = None;
                return Err(error);
            }
        }
        Ok(())
    }

    fn take_all(&mut self, items: &[Stored]) {
        let is_first = !std::mem::replace(&mut self.has_restored, true);
        let mut there = HashSet::new();
        for stored in items {
            there.extend(name(stored));
            let object = stored.object.read();
            if is_first && is_registered(&object) && self.is_ours(&object) {
                if let (Some(name), Some(account)) = (name(stored), account(&object)) {
                    self.registry.state().leases.restore(name, account, Instant::now());
                }
            } else {
                self.take(stored, &object);
            }
        }
        let mut state = self.registry.state();
        let gone = |it: &&WorkloadName| !there.contains(*it);
        let freed: Vec<_> = state.leases.elsewhere().filter(gone).cloned().collect();
        let missing: Vec<_> = state.leases.held().filter(gone).cloned().collect();
        freed.into_iter().for_each(|name| state.leases.freed(name));
        if !is_first {
            missing.into_iter().for_each(|name| state.leases.rewrite(name));
        }
    }

    fn take(&self, stored: &Stored, object: &Value) {
        let Some(name) = name(stored).filter(|_| is_registered(object) && !self.is_ours(object)) else {
            return;
        };
        let mut state = self.registry.state();
        match account(object).filter(|_| !is_lost(object)) {
            Some(account) => state.leases.taken(name, account),
            None => state.leases.freed(name),
        }
    }

    fn miss(&self, stored: &Stored) {
        if let Some(name) = name(stored) {
            let mut state = self.registry.state();
            state.leases.freed(name.clone());
            state.leases.rewrite(name);
        }
    }

    fn is_ours(&self, object: &Value) -> bool {
        control_plane(object) == self.store.replica()
    }
}

fn name(stored: &Stored) -> Option<WorkloadName> {
    format!("{}/{}", stored.key.namespace, stored.key.name).parse().ok()
}

/// Whose a stored workload is. Nobody's if that does not parse: it was not written here.
pub(super) fn account(object: &Value) -> Option<ServiceAccount> {
    object.pointer("/spec/serviceAccount").and_then(Value::as_str).unwrap_or("default").parse().ok()
}
