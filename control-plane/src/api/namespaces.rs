//! The end of namespaces: a deletion marks a namespace, and this room, a task of its own, deletes what is in it and then
//! the namespace. Whatever interrupts it, it takes up again: the mark is in the store.

use super::delete::{self, Deletion, Outcome};
use super::query::Run;
use super::status::Failure;
use super::{Api, birth, meta};
use crate::store::{Expect, Key, Revision, StoreError, Stored, Watch};
use jiff::Timestamp;
use manifests::Kind;
use std::sync::Arc;
use std::time::Duration;

/// From the mark until contents are deleted. `kubectl delete -f` deletes the namespace and what it names in it one by
/// one; without a pause the later ones would be reported as not found. Kubernetes' own pause is longer.
const PAUSE_SECONDS: i64 = 2;
/// Between looks while a namespace waits, for the pause or for finalizers.
const LOOK: Duration = Duration::from_millis(500);

/// Empties and removes marked namespaces until the server drains.
pub(crate) async fn reap(api: Arc<Api>) {
    loop {
        // Opened before looking, so that no mark is missed in between.
        let watch = watch(&api).await;
        let is_pending = match pass(&api, birth::now()).await {
            Ok(is_pending) => is_pending,
            Err(failure) => {
                tracing::warn!(
                    reason = failure.message(),
                    "a namespace could not be emptied; it is tried again"
                );
                true
            }
        };
        tokio::select! {
            () = api.drain.draining() => return,
            () = tokio::time::sleep(LOOK), if is_pending => {}
            () = change(watch), if !is_pending => {}
        }
    }
}

async fn watch(api: &Api) -> Result<Watch, StoreError> {
    let revision: Revision = api.store.revision().await?;
    api.store.watch(Some(Kind::Namespace), revision).await
}

/// Ends with the next change of a namespace, or soon if changes cannot be watched.
async fn change(watch: Result<Watch, StoreError>) {
    let changed = match watch {
        Ok(mut watch) => watch.next().await.map(drop),
        Err(error) => Err(error),
    };
    if changed.is_err() {
        tokio::time::sleep(LOOK).await;
    }
}

/// One look at every namespace; whether one still waits.
pub(crate) async fn pass(api: &Api, now: Timestamp) -> Result<bool, Failure> {
    let mut is_pending = false;
    for namespace in api.store.list(Some(Kind::Namespace), None).await?.items {
        let object = namespace.object.read();
        let Some(marked) = meta::text(&object, "deletionTimestamp") else { continue };
        let is_due =
            marked.parse().is_ok_and(|at: Timestamp| now.as_second() - at.as_second() >= PAUSE_SECONDS);
        is_pending |= !is_due || !empty(api, &namespace).await?;
    }
    Ok(is_pending)
}

/// Deletes what is in the namespace, then the namespace; whether it is gone.
async fn empty(api: &Api, namespace: &Stored) -> Result<bool, Failure> {
    let mut is_empty = true;
    for inside in api.store.list(None, Some(&namespace.key.name)).await?.items {
        match delete::delete(api, &inside.key, &Deletion::default(), Run::Real).await {
            Ok(Outcome::Gone(_)) => {}
            Ok(Outcome::Waiting(_)) => is_empty = false,
            Err(failure) if failure.code == http::StatusCode::NOT_FOUND => {}
            Err(failure) => return Err(failure),
        }
    }
    if !is_empty || meta::has_finalizers(&namespace.object.read()) {
        return Ok(false);
    }
    match api.store.delete(namespace.key.clone(), Expect::At(namespace.revision)).await {
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(true),
        // Changed meanwhile: looked at again.
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether objects may be created in the key's namespace.
pub(crate) async fn enter(api: &Api, key: &Key) -> Result<(), Failure> {
    if key.namespace.is_empty() {
        return Ok(());
    }
    match api.store.get(&Key::new(Kind::Namespace, "", key.namespace.as_str())).await? {
        None => Err(Failure::no_namespace(&key.namespace)),
        Some(namespace) if meta::is_terminating(&namespace.object.read()) => Err(Failure::terminating(key)),
        Some(_) => Ok(()),
    }
}
