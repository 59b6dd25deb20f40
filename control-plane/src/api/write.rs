//! Writing stored objects: create, replace, patch, apply. What enters is a decoded body; what leaves is the object as it
//! is now stored, or would be (dry run). Every write is a compare-and-swap against the state it was computed from: a
//! client that names a revision gets 409 when it is not the current one, the others are computed again.

use super::patch::{Patch, apply};
use super::path::Part;
use super::query::{FieldManager, Query, Run};
use super::status::Failure;
use super::{Api, birth, defaults, fields, meta, namespaces, read, represent, validate};
use crate::store::{Document, Expect, Key, Revision, StoreError, Stored};
use http::StatusCode;
use manifests::Kind;
use serde_json::Value;

/// How often a write is computed again when others write the same object: each time one of them succeeds.
const ATTEMPTS: usize = 16;
/// How many names are tried for `generateName`: 14 million are possible per prefix.
const NAMES: usize = 8;

/// A write that is done.
pub(crate) struct Written {
    pub(crate) stored: Stored,
    pub(crate) code: StatusCode,
    pub(crate) warnings: Vec<String>,
}

/// Who writes, for `managedFields`.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    /// `fieldManager`, else the client's program.
    pub(crate) manager: String,
}

impl Writer {
    /// The manager a query names, or the first word of the user agent, as Kubernetes does.
    pub(crate) fn new(manager: &FieldManager, user_agent: Option<&str>) -> Self {
        let program = user_agent.and_then(|agent| agent.split('/').next()).filter(|name| !name.is_empty());
        Self { manager: manager.name.clone().unwrap_or_else(|| program.unwrap_or("unknown").to_owned()) }
    }
}

/// Creates an object.
pub(crate) async fn create(
    api: &Api,
    kind: Kind,
    namespace: Option<&str>,
    mut object: Value,
    query: &Query,
    writer: &Writer,
) -> Result<Written, Failure> {
    meta::place(kind, namespace, None, &mut object)?;
    let prefix = match (meta::text(&object, "name"), meta::text(&object, "generateName")) {
        (Some(_), _) => None,
        (None, Some(prefix)) => Some(prefix.to_owned()),
        (None, None) => {
            return Err(Failure::invalid_field(
                kind,
                "",
                "metadata.name",
                "Required value: name or generateName is required",
            ));
        }
    };
    let mut tries = 0;
    loop {
        let mut object = object.clone();
        if let (Some(prefix), Some(metadata)) =
            (&prefix, object.get_mut("metadata").and_then(Value::as_object_mut))
        {
            metadata.insert("name".into(), meta::generated_name(prefix, birth::random()).into());
        }
        tries += 1;
        let manage = |object: &mut Value| {
            fields::record(kind, None, object, Part::Main, &writer.manager, birth::now())
        };
        match create_named(api, kind, namespace, object, query, manage).await {
            Err(failure) if failure.code == StatusCode::CONFLICT && prefix.is_some() && tries < NAMES => {}
            result => return result,
        }
    }
}

async fn create_named(
    api: &Api,
    kind: Kind,
    namespace: Option<&str>,
    mut object: Value,
    query: &Query,
    manage: impl FnOnce(&mut Value),
) -> Result<Written, Failure> {
    meta::create(kind, &mut object, &birth::birth())?;
    defaults::fill(kind, &mut object);
    let name = meta::text(&object, "name").unwrap_or_default().to_owned();
    let key = Key::new(kind, namespace.unwrap_or_default(), name);
    let warnings = validate::check(kind, &mut object, query.validation)?;
    manage(&mut object);
    // Held until the object is stored: a namespace does not start to terminate in between.
    let _open = api.namespaces.read().await;
    namespaces::enter(api, &key).await?;
    let stored = match query.run {
        Run::Real => api.store.put(key, object, Expect::Absent).await?,
        Run::Dry if api.store.get(&key).await?.is_some() => return Err(Failure::already_exists(&key)),
        Run::Dry => Stored { key, revision: Revision(0), object: Document::of(&object) },
    };
    Ok(Written { stored, code: StatusCode::CREATED, warnings })
}

/// What an update wants of the object that is there.
pub(crate) enum Wish {
    /// This object in its place.
    Replace(Value),
    /// This change.
    Patch(Patch),
    /// Server-side apply of this configuration, with the right to take fields over or not.
    Apply { configuration: Value, force: bool },
}

/// Changes an object that is there; server-side apply also creates it.
pub(crate) async fn update(
    api: &Api,
    key: &Key,
    part: Part,
    wish: &Wish,
    query: &Query,
    writer: &Writer,
) -> Result<Written, Failure> {
    for _ in 0..ATTEMPTS {
        let before = match (read::get(api, key).await, wish) {
            (Ok(before), _) => before,
            (Err(missing), Wish::Apply { configuration, .. })
                if missing.code == StatusCode::NOT_FOUND && part == Part::Main =>
            {
                let namespace = Some(key.namespace.as_str()).filter(|namespace| !namespace.is_empty());
                let mut object = apply::desired(key, configuration)?;
                meta::place(key.kind, namespace, Some(&key.name), &mut object)?;
                let manage = |object: &mut Value| {
                    apply::record_new(key.kind, configuration, object, &writer.manager, birth::now())
                };
                match create_named(api, key.kind, namespace, object, query, manage).await {
                    // Somebody else was faster: apply to what they made.
                    Err(exists) if exists.code == StatusCode::CONFLICT => continue,
                    result => return result,
                }
            }
            (Err(failure), _) => return Err(failure),
        };
        let there = before.object.read();
        let (object, warnings) = compute(key, part, (&there, before.revision), wish, query, writer)?;
        if there == object {
            return Ok(Written { stored: before, code: StatusCode::OK, warnings });
        }
        match store(api, key, &before, object, query.run).await {
            // Computed again; a client that names a revision is refused by then.
            Err(StoreError::Conflict { .. }) => {}
            result => return Ok(Written { stored: result?, code: StatusCode::OK, warnings }),
        }
    }
    Err(Failure::stale(key))
}

/// The object to store, and the warnings to send.
fn compute(
    key: &Key,
    part: Part,
    (there, revision): (&Value, Revision),
    wish: &Wish,
    query: &Query,
    writer: &Writer,
) -> Result<(Value, Vec<String>), Failure> {
    let (mut wanted, managed) = match wish {
        Wish::Replace(object) => (object.clone(), None),
        // Patched as the client sees it: a patch may test or name the revision.
        Wish::Patch(patch) => {
            (patch.apply(key.kind, &represent::at_revision(there.clone(), revision))?, None)
        }
        Wish::Apply { configuration, force } => {
            let applied =
                apply::apply(key, part, there, configuration, &writer.manager, *force, birth::now())?;
            (applied.object, Some(applied.managed))
        }
    };
    let namespace = Some(key.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    meta::place(key.kind, namespace, Some(&key.name), &mut wanted)?;
    if meta::revision(&wanted)?.is_some_and(|named| named != revision) {
        return Err(Failure::stale(key));
    }
    // Before the comparison that counts generations: a default taken away and filled in again is no change.
    if part == Part::Main {
        defaults::keep(key.kind, there, &mut wanted);
    }
    defaults::fill(key.kind, &mut wanted);
    let mut object = meta::update(key, part, there, wanted)?;
    let warnings = validate::check(key.kind, &mut object, query.validation)?;
    match managed {
        Some(managed) => fields::set(&mut object, managed),
        None => fields::record(key.kind, Some(there), &mut object, part, &writer.manager, birth::now()),
    }
    Ok((object, warnings))
}

/// Stores the object, or lets it go if it was only waiting for its finalizers.
async fn store(api: &Api, key: &Key, before: &Stored, object: Value, run: Run) -> Result<Stored, StoreError> {
    let is_gone = meta::is_terminating(&object) && !meta::has_finalizers(&object);
    match (run, is_gone) {
        (Run::Dry, _) => {
            Ok(Stored { key: key.clone(), revision: before.revision, object: Document::of(&object) })
        }
        (Run::Real, false) => api.store.put(key.clone(), object, Expect::At(before.revision)).await,
        (Run::Real, true) => {
            let gone = api.store.delete(key.clone(), Expect::At(before.revision)).await?;
            Ok(Stored { object: Document::of(&object), ..gone })
        }
    }
}
