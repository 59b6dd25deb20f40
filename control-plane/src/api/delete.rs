//! Deleting stored objects. What enters is a key and the client's conditions; what leaves is whether the object is gone,
//! or waits: for its finalizers, or, a namespace, until what is in it is gone.

use super::query::{Query, Run};
use super::status::Failure;
use super::{Api, birth, meta, read};
use crate::store::{Document, Expect, Key, Revision, StoreError, Stored};
use manifests::{Kind, PERMANENT_NAMESPACES};
use serde_json::Value;

/// How often a deletion is tried again when others write the same object.
const ATTEMPTS: usize = 16;

/// What a client makes a deletion depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Conditions {
    uid: Option<String>,
    revision: Option<String>,
}

/// What became of an object.
pub(crate) enum Outcome {
    Gone(Stored),
    /// It is marked, and goes when its finalizers are done.
    Waiting(Stored),
}

/// Reads `DeleteOptions`; returns whether they ask for a dry run, too.
pub(crate) fn conditions(options: &Value) -> (Conditions, bool) {
    let text = |pointer: &str| options.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let is_dry = options.pointer("/dryRun/0").and_then(Value::as_str) == Some("All");
    (Conditions { uid: text("/preconditions/uid"), revision: text("/preconditions/resourceVersion") }, is_dry)
}

/// Deletes one object.
pub(crate) async fn delete(
    api: &Api,
    key: &Key,
    conditions: &Conditions,
    run: Run,
) -> Result<Outcome, Failure> {
    if key.kind == Kind::Namespace {
        return delete_namespace(api, key, conditions, run).await;
    }
    delete_object(api, key, conditions, run).await
}

async fn delete_object(api: &Api, key: &Key, conditions: &Conditions, run: Run) -> Result<Outcome, Failure> {
    for _ in 0..ATTEMPTS {
        let before = read::get(api, key).await?;
        let object = before.object.read();
        check(key, &object, before.revision, conditions)?;
        if meta::has_finalizers(&object) {
            if meta::is_terminating(&object) {
                return Ok(Outcome::Waiting(before));
            }
            let marked = meta::terminate(&object, birth::now());
            match mark(api, &before, marked, run).await {
                Err(StoreError::Conflict { .. }) => continue,
                result => return Ok(Outcome::Waiting(result?)),
            }
        }
        if run == Run::Dry {
            return Ok(Outcome::Gone(before));
        }
        match api.store.delete(key.clone(), Expect::At(before.revision)).await {
            Err(StoreError::Conflict { .. }) => {}
            result => return Ok(Outcome::Gone(result?)),
        }
    }
    Err(Failure::stale(key))
}

async fn mark(api: &Api, before: &Stored, object: Value, run: Run) -> Result<Stored, StoreError> {
    match run {
        Run::Dry => Ok(Stored { object: Document::of(&object), ..before.clone() }),
        Run::Real => api.store.put(before.key.clone(), object, Expect::At(before.revision)).await,
    }
}

fn check(key: &Key, there: &Value, revision: Revision, conditions: &Conditions) -> Result<(), Failure> {
    let uid = meta::text(there, "uid").unwrap_or_default();
    if let Some(wanted) = conditions.uid.as_deref().filter(|wanted| *wanted != uid) {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
        return Err(Failure::conflict(key, &why));
    }
    let revision = revision.to_string();
    if let Some(wanted) = conditions.revision.as_deref().filter(|wanted| *wanted != revision) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {revision}"
        );
        return Err(Failure::conflict(key, &why));
    }
    Ok(())
}

/// Marks the namespace, so that nothing new comes into it; `namespaces` does the rest.
async fn delete_namespace(
    api: &Api,
    key: &Key,
    conditions: &Conditions,
    run: Run,
) -> Result<Outcome, Failure> {
    if PERMANENT_NAMESPACES.contains(&key.name.as_str()) {
        return Err(Failure::forbidden(format!(
            "namespaces \"{}\" is forbidden: this namespace may not be deleted",
            key.name
        )));
    }
    let _closed = api.namespaces.write().await;
    for _ in 0..ATTEMPTS {
        let before = read::get(api, key).await?;
        let object = before.object.read();
        check(key, &object, before.revision, conditions)?;
        if meta::is_terminating(&object) {
            return Ok(Outcome::Waiting(before));
        }
        let mut marked = meta::terminate(&object, birth::now());
        if let Some(fields) = marked.as_object_mut() {
            fields.insert("status".into(), serde_json::json!({"phase": "Terminating"}));
        }
        match mark(api, &before, marked, run).await {
            Err(StoreError::Conflict { .. }) => {}
            result => return Ok(Outcome::Waiting(result?)),
        }
    }
    Err(Failure::stale(key))
}

/// Deletes every object of a collection that the query selects.
pub(crate) async fn delete_collection(
    api: &Api,
    kind: Kind,
    namespace: Option<&str>,
    query: &Query,
    run: Run,
) -> Result<Vec<Stored>, Failure> {
    let mut gone = Vec::new();
    for stored in api.store.list(Some(kind), namespace).await?.items {
        if !query.selects(&stored.object) {
            continue;
        }
        match delete(api, &stored.key, &Conditions::default(), run).await {
            Ok(Outcome::Gone(stored) | Outcome::Waiting(stored)) => gone.push(stored),
            Err(failure) if failure.code == http::StatusCode::NOT_FOUND => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(gone)
}
