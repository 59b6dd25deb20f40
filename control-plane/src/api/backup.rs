//! `GET /backup` and `POST /restore`: everything that somebody wrote, all as it was at one revision, and the way back. What comes
//! about by itself is left out both times: sidecars register their Workloads again, and slices are derived anew. Unlike a
//! manifest that is applied, a restored object keeps its age and identity, by which older ones take precedence.

use super::query::FieldValidation;
use super::represent;
use super::status::Failure;
use super::{Api, birth, meta, validate};
use crate::controller::stamp;
use crate::store::{Expect, Key, StoreError, Stored};
use futures_util::StreamExt;
use manifests::Kind;
use manifests::envelope::kind_of;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Objects written at the same time: they share the store's fsyncs.
const CONCURRENT: usize = 64;
/// What a backup calls itself.
pub(crate) const BACKUP: &str = "Backup";

/// The backup, in the order in which it is restored.
pub(crate) async fn take(api: &Api) -> Result<Value, StoreError> {
    let list = api.store.list(None, None).await?;
    let mut items: Vec<&Stored> =
        list.items.iter().filter(|stored| !stored.key.kind.comes_by_itself(&stored.object.read())).collect();
    let namespaces: BTreeSet<&str> =
        items.iter().filter(|it| it.key.kind == Kind::Namespace).map(|it| it.key.name.as_str()).collect();
    // What is in a namespace that is being deleted goes with it.
    items.retain(|it| it.key.namespace.is_empty() || namespaces.contains(it.key.namespace.as_str()));
    items.sort_by_key(|stored| stored.key.kind.order());
    Ok(json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": BACKUP,
        "metadata": {"resourceVersion": list.revision.to_string(), "creationTimestamp": meta::timestamp(birth::now())},
        "items": items.into_iter().map(represent::object).collect::<Vec<_>>(),
    }))
}

/// Stores the objects of a backup, or of a part of one, as they are in it. Nothing is stored if one of them cannot be.
pub(crate) async fn restore(api: &Api, backup: &Value) -> Result<Value, Failure> {
    if backup.get("kind").and_then(Value::as_str) != Some(BACKUP) {
        return Err(Failure::bad_request(format!(
            "the body is no `{BACKUP}`: send what GET /backup answered"
        )));
    }
    let mut objects = Vec::new();
    for item in backup.get("items").and_then(Value::as_array).into_iter().flatten() {
        let (key, object) = read(item)?;
        if !key.kind.comes_by_itself(&object) {
            objects.push((key, object));
        }
    }
    let store = &api.store;
    let writes = objects.into_iter().map(async |(key, object)| {
        let is_there = store.get(&key).await?.is_some_and(|stored| stored.object.read() == object);
        if !is_there {
            store.put(key, object, Expect::Any).await?;
        }
        Ok::<_, StoreError>(is_there)
    });
    let mut writes = futures_util::stream::iter(writes).buffer_unordered(CONCURRENT);
    let (mut written, mut unchanged) = (0, 0);
    while let Some(was_there) = writes.next().await {
        *(if was_there? { &mut unchanged } else { &mut written }) += 1;
    }
    Ok(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200,
        "message": format!("{written} objects restored, {unchanged} were as they are in the backup"),
    }))
}

fn read(item: &Value) -> Result<(Key, Value), Failure> {
    let kind = kind_of(item).map_err(|problems| {
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::bad_request(format!("an item of the backup is of no kind known here: {}", said.join("; ")))
    })?;
    let mut object = item.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    // One that somebody wrote into the file by hand.
    if meta::text(&object, "uid").is_none() {
        stamp::born(&mut object, birth::now());
    }
    validate::check(kind, &mut object, FieldValidation::Strict)?;
    let text = |field| meta::text(&object, field).unwrap_or_default().to_owned();
    Ok((Key::new(kind, text("namespace"), text("name")), object))
}
