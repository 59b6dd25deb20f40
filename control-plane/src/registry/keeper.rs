//! The task that brings the store to what the leases say.

use super::follower::Follower;
use super::leases::{Desired, Standing};
use super::object::{Word, control_plane, registered, silenced};
use super::{Registry, StoredAt};
use crate::controller::stamp;
use crate::controller::writer::update;
use crate::store::{Expect, Key, Revision, Store, StoreError};
use futures_util::StreamExt;
use jiff::Timestamp;
use manifests::Kind;
use mesh_names::{Namespace, WorkloadName};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many workloads are written at once: they share the store's fsyncs.
const CONCURRENT: usize = 64;
/// From a failed write to the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Keeps the store until the task is dropped or the store is closed. Workloads registered here before the process started
/// are taken over first. A Workload that someone deletes while its sidecar is connected is written again.
pub async fn run(registry: Registry, store: Arc<dyn Store>) {
    let mut follower = Follower::new(registry.clone(), Arc::clone(&store));
    let mut again: Option<Instant> = None;
    loop {
        let (changes, deadline) = {
            let mut state = registry.state();
            (state.leases.take_changes(Instant::now()), state.leases.next_deadline())
        };
        if changes.is_empty() {
            tokio::select! {
                () = registry.0.changed.notified() => {}
                () = until(deadline) => {}
                () = until(again), if again.is_some() => again = None,
                followed = follower.next(), if again.is_none() => match followed {
                    Ok(()) => {}
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(%error, "registered workloads could not be read; trying again");
                        again = Some(Instant::now() + RETRY_AFTER);
                    }
                },
            }
            continue;
        }
        let writes = changes.into_iter().map(|(name, desired)| {
            let (registry, store) = (&registry, &*store);
            async move {
                let outcome = write(store, &name, &desired).await;
                match outcome {
                    Ok(revision) => {
                        confirm(registry, &name, &desired, revision);
                        None
                    }
                    Err(error) => {
                        registry.state().leases.retry(name);
                        Some(error)
                    }
                }
            }
        });
        let mut writes = futures_util::stream::iter(writes).buffer_unordered(CONCURRENT);
        let (mut failures, mut last) = (0_usize, None);
        while let Some(outcome) = writes.next().await {
            if let Some(error) = outcome {
                failures += 1;
                last = Some(error);
            }
        }
        if let Some(StoreError::Closed) = last {
            return;
        }
        if let Some(error) = last {
            tracing::warn!(failures, %error, "workloads could not be written; trying again");
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Tells the stream behind a workload that what it announced is stored.
fn confirm(registry: &Registry, name: &WorkloadName, desired: &Desired, revision: Revision) {
    let Desired::Registered { announcement, .. } = desired else { return };
    let state = registry.state();
    let Some(sender) = state.leases.holder(name).and_then(|stream| state.stored.get(&stream)) else { return };
    sender.send_replace(Some(StoredAt { sequence: announcement.sequence, revision }));
}

async fn write(store: &dyn Store, name: &WorkloadName, desired: &Desired) -> Result<Revision, StoreError> {
    let key = Key::new(Kind::Workload, name.namespace.as_str(), name.name.as_str());
    let (here, now) = (store.replica(), Timestamp::now());
    // Nothing is said of a workload that another control plane has meanwhile.
    let ours = |before: Option<&Value>| before.is_some_and(|it| control_plane(it) == here);
    match desired {
        Desired::Registered { announcement, account, standing, trouble } => {
            let is_word_of_its_sidecar = *standing != Standing::Lost;
            if is_word_of_its_sidecar {
                ensure_namespace(store, &name.namespace).await?;
            }
            let object = |before: Option<&Value>| match is_word_of_its_sidecar || ours(before) {
                true => {
                    let word = Word { announcement, account, standing: *standing, trouble: trouble.as_ref() };
                    registered(name, &word, here, before, now)
                }
                false => None,
            };
            update(store, &key, object).await
        }
        Desired::Silent => {
            update(store, &key, |before| before.filter(|it| ours(Some(it))).and_then(|it| silenced(it, now)))
                .await
        }
        Desired::Absent => match store.get(&key).await? {
            Some(there) if ours(Some(&there.object.read())) => {
                match store.delete(key, Expect::At(there.revision)).await {
                    Ok(stored) => Ok(stored.revision),
                    Err(StoreError::NotFound { .. }) => Ok(Revision::default()),
                    // Changed in between: it is looked at again.
                    Err(error) => Err(error),
                }
            }
            Some(_) | None => Ok(Revision::default()),
        },
    }
}

/// An identity of a namespace is issued for a token made for it, so that someone meant the namespace to be there.
async fn ensure_namespace(store: &dyn Store, namespace: &Namespace) -> Result<(), StoreError> {
    let key = Key::new(Kind::Namespace, "", namespace.as_str());
    let create = |before: Option<&Value>| {
        if before.is_some() {
            return None;
        }
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace.as_str(),
                "labels": { "kubernetes.io/metadata.name": namespace.as_str() },
                "annotations": { "outrigger.dev/created-because": "a workload with an identity of this namespace registered" },
            },
            "status": { "phase": "Active" },
        });
        stamp::born(&mut object, Timestamp::now());
        Some(object)
    };
    update(store, &key, create).await.map(|_| ())
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
