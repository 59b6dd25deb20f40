//! The task that brings the store to what the leases say.

use super::leases::Desired;
use super::object::{registered, silenced};
use super::{Registry, StoredAt};
use crate::controller::stamp;
use crate::controller::writer::update;
use crate::store::{Event, Expect, Key, Revision, Store, StoreError, Watch};
use futures_util::StreamExt;
use jiff::Timestamp;
use manifests::Kind;
use manifests::kind::workload::is_registered;
use mesh_names::{Namespace, WorkloadName};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many workloads are written at once: they share the store's fsyncs.
const CONCURRENT: usize = 64;
/// From a failed write to the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Keeps the store until the task is dropped or the store is closed. Workloads registered before the process started
/// are taken over first. A Workload that someone deletes while its sidecar is connected is written again.
pub async fn run(registry: Registry, store: Arc<dyn Store>) {
    while let Err(error) = restore(&registry, &*store).await {
        if matches!(error, StoreError::Closed) {
            return;
        }
        tracing::warn!(%error, "registered workloads could not be read; trying again");
        tokio::time::sleep(RETRY_AFTER).await;
    }
    let mut deletions = None;
    loop {
        let (changes, deadline) = {
            let mut state = registry.state();
            (state.leases.take_changes(Instant::now()), state.leases.next_deadline())
        };
        if changes.is_empty() {
            tokio::select! {
                () = registry.0.changed.notified() => {}
                () = until(deadline) => {}
                deleted = next_deletion(&*store, &mut deletions) => match deleted {
                    Ok(name) => registry.state().leases.rewrite(name),
                    Err(StoreError::Closed) => return,
                    // What was deleted meanwhile stays so until its sidecar says something.
                    Err(error) => tracing::debug!(%error, "the watch of workloads starts again"),
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

/// The next Workload that was deleted, by whomever.
///
/// # Cancel safety
/// Safe once the watch is there: it is kept in `watch`.
async fn next_deletion(store: &dyn Store, watch: &mut Option<Watch>) -> Result<WorkloadName, StoreError> {
    loop {
        let running = match watch {
            Some(running) => running,
            None => {
                let now = store.revision().await?;
                watch.insert(store.watch(Some(Kind::Workload), now).await?)
            }
        };
        match running.next().await {
            Ok(Event::Deleted(stored)) => {
                let name = format!("{}/{}", stored.key.namespace, stored.key.name);
                if let Ok(name) = name.parse() {
                    return Ok(name);
                }
            }
            Ok(Event::Put { .. }) => {}
            Err(error) => {
                *watch = None;
                return Err(error);
            }
        }
    }
}

async fn restore(registry: &Registry, store: &dyn Store) -> Result<(), StoreError> {
    let workloads = store.list(Some(Kind::Workload), None).await?;
    let now = Instant::now();
    let mut state = registry.state();
    for stored in workloads.items.iter().filter(|stored| is_registered(&stored.object)) {
        let account = stored.object.pointer("/spec/serviceAccount").and_then(|it| it.as_str());
        let account = account.unwrap_or("default").parse();
        let name = format!("{}/{}", stored.key.namespace, stored.key.name).parse::<WorkloadName>();
        // What does not parse was not written here.
        if let (Ok(name), Ok(account)) = (name, account) {
            state.leases.restore(name, account, now);
        }
    }
    Ok(())
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
    let now = Timestamp::now();
    match desired {
        Desired::Registered { announcement, account, standing } => {
            ensure_namespace(store, &name.namespace).await?;
            let object = |before: Option<&_>| registered(name, announcement, account, *standing, before, now);
            update(store, &key, object).await
        }
        Desired::Silent => update(store, &key, |before| before.and_then(|it| silenced(it, now))).await,
        Desired::Absent => match store.delete(key, Expect::Any).await {
            Ok(stored) => Ok(stored.revision),
            Err(StoreError::NotFound { .. }) => Ok(Revision::default()),
            Err(error) => Err(error),
        },
    }
}

/// An identity of a namespace is issued for a token made for it, so that someone meant the namespace to be there.
async fn ensure_namespace(store: &dyn Store, namespace: &Namespace) -> Result<(), StoreError> {
    let key = Key::new(Kind::Namespace, "", namespace.as_str());
    let create = |before: Option<&serde_json::Value>| {
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
