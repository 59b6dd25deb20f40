//! Deleting stored objects. What enters is a key and the client's conditions; what leaves is whether the object is gone,
//! or waits: for its finalizers, or, a namespace, until what is in it is gone.

use super::garbage::{FOREGROUND, ORPHAN};
use super::query::{Query, Run};
use super::status::Failure;
use super::{Api, birth, meta, read};
use crate::store::{Document, Expect, Key, Revision, StoreError, Stored};
use manifests::{Kind, PERMANENT_NAMESPACES};
use serde_json::Value;

/// How often a deletion is tried again when others write the same object.
const ATTEMPTS: usize = 16;

/// How something is to be deleted. By default: whatever it is by now, with what it owns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Deletion {
    /// What it must be.
    uid: Option<String>,
    revision: Option<String>,
    /// What becomes of what it owns; if it is not said, what was said when its deletion began, else `Background`.
    propagation: Option<Propagation>,
}

/// What becomes of what an object owns when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// It is deleted afterwards.
    Background,
    /// It is deleted first.
    Foreground,
    /// It is left, without this owner.
    Orphan,
}

impl Propagation {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "Background" => Some(Self::Background),
            "Foreground" => Some(Self::Foreground),
            "Orphan" => Some(Self::Orphan),
            _ => None,
        }
    }

    /// What holds the object until it is done.
    fn finalizer(self) -> Option<&'static str> {
        match self {
            Self::Background => None,
            Self::Foreground => Some(FOREGROUND),
            Self::Orphan => Some(ORPHAN),
        }
    }
}

impl Deletion {
    /// Of an object as it was at a revision.
    pub(crate) fn of(uid: String, revision: Revision, propagation: Propagation) -> Self {
        Self { uid: Some(uid), revision: Some(revision.to_string()), propagation: Some(propagation) }
    }

    /// Reads `DeleteOptions`, which go before the query; returns how it is to be run, too.
    pub(crate) fn read(options: &Value, query: &Query) -> Result<(Self, Run), Failure> {
        let text = |pointer: &str| options.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let is_orphaning = options.get("orphanDependents").and_then(Value::as_bool);
        let named = text("/propagationPolicy");
        let propagation = match (&named, is_orphaning) {
            (Some(_), Some(_)) => {
                return Err(Failure::bad_request(
                    "orphanDependents and propagationPolicy say the same: send one",
                ));
            }
            (Some(named), None) => Some(Propagation::parse(named).ok_or_else(|| {
                Failure::bad_request(format!(
                    "propagationPolicy: `{named}` must be `Background`, `Foreground` or `Orphan`"
                ))
            })?),
            (None, Some(true)) => Some(Propagation::Orphan),
            (None, Some(false)) => Some(Propagation::Background),
            (None, None) => query.propagation,
        };
        let is_dry = options.pointer("/dryRun/0").and_then(Value::as_str) == Some("All");
        let run = if is_dry { Run::Dry } else { query.run };
        let (uid, revision) = (text("/preconditions/uid"), text("/preconditions/resourceVersion"));
        Ok((Self { uid, revision, propagation }, run))
    }
}

/// What became of an object.
pub(crate) enum Outcome {
    Gone(Stored),
    /// It is marked, and goes when its finalizers are done.
    Waiting(Stored),
}

/// Deletes one object.
pub(crate) async fn delete(api: &Api, key: &Key, deletion: &Deletion, run: Run) -> Result<Outcome, Failure> {
    if key.kind == Kind::Namespace {
        return delete_namespace(api, key, deletion, run).await;
    }
    delete_object(api, key, deletion, run).await
}

async fn delete_object(api: &Api, key: &Key, deletion: &Deletion, run: Run) -> Result<Outcome, Failure> {
    for _ in 0..ATTEMPTS {
        let before = read::get(api, key).await?;
        let object = before.object.read();
        check(key, &object, before.revision, deletion)?;
        let held = propagating(&object, deletion.propagation);
        if meta::has_finalizers(&held) {
            if meta::is_terminating(&object) && held == object {
                return Ok(Outcome::Waiting(before));
            }
            let marked =
                if meta::is_terminating(&object) { held } else { meta::terminate(&held, birth::now()) };
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

/// The object with the finalizer of its propagation, and of no other.
fn propagating(object: &Value, propagation: Option<Propagation>) -> Value {
    let mut object = object.clone();
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    let (Some(propagation), Some(metadata)) = (propagation, metadata) else { return object };
    let had = metadata.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let others = had.into_iter().filter(|it| it != FOREGROUND && it != ORPHAN);
    let finalizers: Vec<Value> = others.chain(propagation.finalizer().map(Value::from)).collect();
    match finalizers.is_empty() {
        true => drop(metadata.remove("finalizers")),
        false => drop(metadata.insert("finalizers".into(), finalizers.into())),
    }
    object
}

async fn mark(api: &Api, before: &Stored, object: Value, run: Run) -> Result<Stored, StoreError> {
    match run {
        Run::Dry => Ok(Stored { object: Document::of(&object), ..before.clone() }),
        Run::Real => api.store.put(before.key.clone(), object, Expect::At(before.revision)).await,
    }
}

fn check(key: &Key, there: &Value, revision: Revision, deletion: &Deletion) -> Result<(), Failure> {
    let uid = meta::text(there, "uid").unwrap_or_default();
    if let Some(wanted) = deletion.uid.as_deref().filter(|wanted| *wanted != uid) {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
        return Err(Failure::conflict(key, &why));
    }
    let revision = revision.to_string();
    if let Some(wanted) = deletion.revision.as_deref().filter(|wanted| *wanted != revision) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {revision}"
        );
        return Err(Failure::conflict(key, &why));
    }
    Ok(())
}

/// Marks the namespace, so that nothing new comes into it; `namespaces` does the rest.
async fn delete_namespace(api: &Api, key: &Key, deletion: &Deletion, run: Run) -> Result<Outcome, Failure> {
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
        check(key, &object, before.revision, deletion)?;
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
    deletion: &Deletion,
    run: Run,
) -> Result<Vec<Stored>, Failure> {
    let mut gone = Vec::new();
    for stored in api.store.list(Some(kind), namespace).await?.items {
        if !query.selects(&stored.object) {
            continue;
        }
        match delete(api, &stored.key, deletion, run).await {
            Ok(Outcome::Gone(stored) | Outcome::Waiting(stored)) => gone.push(stored),
            Err(failure) if failure.code == http::StatusCode::NOT_FOUND => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(gone)
}
