//! Workloads whose control plane is gone: the leading replica takes them over, and gives their sidecars the time to come back
//! that they have after a restart. Those that come back, to whichever replica, are that one's then.

use super::Registry;
use super::follower::account;
use super::object::{adopted, control_plane};
use crate::controller::writer::update;
use crate::store::{Key, Store, StoreError};
use manifests::Kind;
use manifests::kind::workload::is_registered;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between looks. What is an orphan at two of them is taken over: most sidecars have found another replica by then.
const LOOK: Duration = Duration::from_secs(5);

/// Takes orphans over until the task is dropped; for the replica that leads.
pub async fn run(registry: Registry, store: Arc<dyn Store>) {
    if store.replica().is_empty() {
        // Nobody else could have a workload.
        return std::future::pending().await;
    }
    let mut before = HashSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        match look(&registry, &*store, &before).await {
            Ok(orphans) => before = orphans,
            Err(StoreError::Closed) => return,
            Err(error) => tracing::debug!(%error, "no look at orphaned workloads was possible"),
        }
    }
}

/// Takes over those of `before` that are orphans still; returns all there are.
async fn look(
    registry: &Registry,
    store: &dyn Store,
    before: &HashSet<Key>,
) -> Result<HashSet<Key>, StoreError> {
    // In this order: a replica that comes up in between has written nothing that was read.
    let workloads = store.list(Some(Kind::Workload), None).await?.items;
    let alive: HashSet<String> = store.replicas().await?.into_iter().map(|replica| replica.name).collect();
    let orphans: BTreeMap<Key, _> = workloads
        .into_iter()
        .map(|stored| (stored.key, stored.object.read()))
        .filter(|(_, object)| is_registered(object) && !alive.contains(control_plane(object)))
        .collect();
    let here = store.replica();
    for (key, object) in orphans.iter().filter(|(key, _)| before.contains(*key)) {
        let gone = control_plane(object);
        let change =
            |now: Option<&_>| now.filter(|now| control_plane(now) == gone).and_then(|now| adopted(now, here));
        update(store, key, change).await?;
        let is_ours =
            store.get(key).await?.is_some_and(|stored| control_plane(&stored.object.read()) == here);
        let name = format!("{}/{}", key.namespace, key.name).parse();
        if let (true, Ok(name), Some(account)) = (is_ours, name, account(object)) {
            registry.state().leases.restore(name, account, Instant::now());
        }
    }
    registry.0.changed.notify_one();
    Ok(orphans.into_keys().collect())
}
