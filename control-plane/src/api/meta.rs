//! `metadata` and what a write may change. What enters is an object as the client sent it (or as a patch made it) and the
//! object that is there; what leaves is the object to store: identity, age, generation and the other half of a
//! main/status write as the server says. Pure: time and randomness are arguments.

use super::path::Part;
use super::status::Failure;
use crate::store::{Key, Revision};
use jiff::Timestamp;
use manifests::Kind;
use serde_json::{Map, Value, json};

/// What a new object gets from the server.
pub(crate) struct Birth {
    /// A version 4 UUID.
    pub(crate) uid: String,
    pub(crate) now: Timestamp,
}

/// The time as Kubernetes writes it: to the second.
pub(crate) fn timestamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Text at a field of `metadata`.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.as_str().filter(|text| !text.is_empty())
}

/// The revision an object says it is, if it says one.
pub(crate) fn revision(object: &Value) -> Result<Option<Revision>, Failure> {
    let Some(text) = text(object, "resourceVersion") else { return Ok(None) };
    let number = text.parse().map_err(|_| {
        Failure::bad_request(format!("metadata.resourceVersion: `{text}` is not one of this server"))
    })?;
    Ok(Some(Revision(number)))
}

/// Whether a deletion waits for finalizers.
pub(crate) fn is_terminating(object: &Value) -> bool {
    text(object, "deletionTimestamp").is_some()
}

/// Whether something must happen before the object may go.
pub(crate) fn has_finalizers(object: &Value) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|list| !list.is_empty())
}

/// Checks that the object is of the kind, namespace and name its URL says, and says so itself from now on.
pub(crate) fn place(
    kind: Kind,
    namespace: Option<&str>,
    name: Option<&str>,
    object: &mut Value,
) -> Result<(), Failure> {
    let Some(fields) = object.as_object_mut() else {
        return Err(Failure::bad_request("the body is not an object"));
    };
    for (field, expected) in [("apiVersion", kind.api_version()), ("kind", kind.name())] {
        match fields.get(field).map(|value| value.as_str().unwrap_or_default()) {
            None | Some("") => drop(fields.insert(field.into(), expected.into())),
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(Failure::bad_request(format!(
                    "the {field} in the body ({found}) is not the one of the URL ({expected})"
                )));
            }
        }
    }
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else {
        return Err(Failure::bad_request("metadata is not an object"));
    };
    for (field, expected, noun) in [("namespace", namespace, "namespace"), ("name", name, "name")] {
        match (metadata.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()), expected) {
            (Some(found), Some(expected)) if found != expected => {
                return Err(Failure::bad_request(format!(
                    "the {noun} of the object ({found}) does not match the {noun} of the URL ({expected})"
                )));
            }
            (Some(found), None) if field == "namespace" && !kind.is_namespaced() => {
                return Err(Failure::invalid_field(
                    kind,
                    name.unwrap_or_default(),
                    "metadata.namespace",
                    format!("{} objects have no namespace: remove `{found}`", kind.name()),
                ));
            }
            (None, Some(expected)) => drop(metadata.insert(field.into(), expected.into())),
            _ => {}
        }
    }
    Ok(())
}

/// Makes a new object of what the client sent: what only the server may say is said by the server.
pub(crate) fn create(kind: Kind, object: &mut Value, birth: &Birth) -> Result<(), Failure> {
    if text(object, "resourceVersion").is_some() {
        return Err(Failure::bad_request(
            "metadata.resourceVersion must not be set on an object to be created",
        ));
    }
    let Some(fields) = object.as_object_mut() else { return Ok(()) };
    if kind.has_status() {
        fields.remove("status");
    }
    let name = fields.get("metadata").and_then(|m| m.get("name")).cloned();
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else { return Ok(()) };
    for field in
        ["resourceVersion", "selfLink", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), birth.uid.clone().into());
    metadata.insert("creationTimestamp".into(), timestamp(birth.now).into());
    metadata.insert("generation".into(), 1.into());
    if let (Kind::Namespace, Some(name)) = (kind, name) {
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".into(), name);
        }
        fields.insert("status".into(), json!({"phase": "Active"}));
    }
    Ok(())
}

/// Makes the object to store of one that is there and what the client wants it to be.
pub(crate) fn update(key: &Key, part: Part, before: &Value, wanted: Value) -> Result<Value, Failure> {
    let mut wanted = match part {
        Part::Main => wanted,
        Part::Status => with_status_of(before, &wanted),
    };
    if part == Part::Main && key.kind.has_status() {
        copy(&mut wanted, before, "status");
    }
    let uid = text(before, "uid").unwrap_or_default();
    if let Some(claimed) = text(&wanted, "uid").filter(|claimed| *claimed != uid) {
        let why = format!("Precondition failed: UID in precondition: {claimed}, UID in object meta: {uid}");
        return Err(Failure::conflict(key, &why));
    }
    if is_terminating(before) {
        let had = before.pointer("/metadata/finalizers").and_then(Value::as_array);
        let added = wanted
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .and_then(|list| list.iter().find(|entry| !had.is_some_and(|had| had.contains(entry))));
        if let Some(added) = added {
            let why = format!(
                "Forbidden: no new finalizers can be added if the object is being deleted, found {added}"
            );
            return Err(Failure::invalid_field(key.kind, &key.name, "metadata.finalizers", why));
        }
    }
    if let (Some(metadata), Some(old)) =
        (wanted.get_mut("metadata").and_then(Value::as_object_mut), before.get("metadata"))
    {
        metadata.remove("resourceVersion");
        metadata.remove("selfLink");
        for field in
            ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"]
        {
            match old.get(field) {
                Some(value) => drop(metadata.insert(field.into(), value.clone())),
                None => drop(metadata.remove(field)),
            }
        }
        drop_empty(metadata);
        if part == Part::Main && spec_differs(before, &wanted) {
            let generation = before.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0);
            if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("generation".into(), (generation + 1).into());
            }
        }
    }
    Ok(wanted)
}

/// The object as it is while its deletion waits for finalizers.
pub(crate) fn terminate(object: &Value, now: Timestamp) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("deletionTimestamp".into(), timestamp(now).into());
        metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    }
    object
}

/// A name for `generateName`: five characters that never form a word or look alike, as Kubernetes picks them.
pub(crate) fn generated_name(prefix: &str, random: u64) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    const SUFFIX: u32 = 5;
    const PREFIX_MAX: usize = 58;
    let prefix: String = prefix.chars().take(PREFIX_MAX).collect();
    let letter = |place: u32| {
        let index = usize::try_from(random / 27_u64.pow(place) % 27).unwrap_or(0);
        char::from(ALPHABET.get(index).copied().unwrap_or(b'b'))
    };
    prefix.chars().chain((0..SUFFIX).map(letter)).collect()
}

/// Maps that became empty are as good as absent: a label added and removed leaves no trace.
fn drop_empty(metadata: &mut Map<String, Value>) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let is_empty = match metadata.get(field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Null) => true,
            Some(_) | None => false,
        };
        if is_empty {
            metadata.remove(field);
        }
    }
}

/// The object that is there, with the status that is wanted, and the version the client based it on.
fn with_status_of(before: &Value, wanted: &Value) -> Value {
    let mut object = before.clone();
    copy(&mut object, wanted, "status");
    if let (Some(metadata), Some(claimed)) =
        (object.get_mut("metadata").and_then(Value::as_object_mut), wanted.get("metadata"))
    {
        for field in ["uid", "managedFields"] {
            if let Some(value) = claimed.get(field) {
                metadata.insert(field.into(), value.clone());
            }
        }
    }
    object
}

fn copy(to: &mut Value, from: &Value, field: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => drop(to.insert(field.into(), value.clone())),
        None => drop(to.remove(field)),
    }
}

/// Whether anything but `metadata` and `status` differs.
fn spec_differs(before: &Value, after: &Value) -> bool {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return false };
    let is_spec = |field: &&String| !matches!(field.as_str(), "metadata" | "status");
    let fields = |object: &Map<String, Value>| object.keys().filter(is_spec).count();
    fields(before) != fields(after)
        || before
            .iter()
            .filter(|(field, _)| is_spec(field))
            .any(|(field, value)| after.get(field) != Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birth() -> Birth {
        Birth { uid: "u-1".into(), now: Timestamp::from_second(0).unwrap() }
    }

    fn key() -> Key {
        Key::new(Kind::Service, "shop", "orders")
    }

    fn service() -> Value {
        let mut object =
            json!({"metadata": {"name": "orders", "uid": "mine"}, "spec": {"a": 1}, "status": {"x": 1}});
        place(Kind::Service, Some("shop"), None, &mut object).unwrap();
        create(Kind::Service, &mut object, &birth()).unwrap();
        object
    }

    #[test]
    fn a_new_object_has_what_only_the_server_says() {
        assert_eq!(
            service(),
            json!({
                "apiVersion": "v1", "kind": "Service", "spec": {"a": 1},
                "metadata": {"name": "orders", "namespace": "shop", "uid": "u-1", "generation": 1,
                             "creationTimestamp": "1970-01-01T00:00:00Z"},
            })
        );
    }

    #[test]
    fn body_and_url_must_agree() {
        for (object, word) in [
            (json!({"kind": "Secret"}), "kind"),
            (json!({"apiVersion": "v2"}), "apiVersion"),
            (json!({"metadata": {"namespace": "other"}}), "namespace"),
            (json!({"metadata": {"name": "other"}}), "name"),
            (json!([]), "object"),
        ] {
            let failure =
                place(Kind::Service, Some("shop"), Some("orders"), &mut object.clone()).unwrap_err();
            assert!(failure.message().contains(word), "{}", failure.message());
        }
    }

    #[test]
    fn generation_counts_changes_of_the_specification_only() {
        let before = service();
        let mut labelled = before.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        labelled["metadata"]["generation"] = json!(77);
        assert_eq!(update(&key(), Part::Main, &before, labelled).unwrap()["metadata"]["generation"], 1);
        let mut changed = before.clone();
        changed["spec"]["a"] = json!(2);
        assert_eq!(update(&key(), Part::Main, &before, changed).unwrap()["metadata"]["generation"], 2);
        let mut status = before.clone();
        status["status"] = json!({"conditions": []});
        assert_eq!(update(&key(), Part::Status, &before, status).unwrap()["metadata"]["generation"], 1);
    }

    #[test]
    fn main_and_status_are_written_apart() {
        let mut before = service();
        before["status"] = json!({"ready": true});
        let wanted = json!({"metadata": {"name": "orders"}, "spec": {"a": 2}, "status": {"ready": false}});
        let main = update(&key(), Part::Main, &before, wanted.clone()).unwrap();
        assert_eq!((&main["spec"]["a"], &main["status"]["ready"]), (&json!(2), &json!(true)));
        let status = update(&key(), Part::Status, &before, wanted).unwrap();
        assert_eq!((&status["spec"]["a"], &status["status"]["ready"]), (&json!(1), &json!(false)));
    }

    #[test]
    fn another_incarnation_is_a_conflict() {
        let mut wanted = service();
        wanted["metadata"]["uid"] = json!("other");
        assert_eq!(
            update(&key(), Part::Main, &service(), wanted).unwrap_err().code,
            http::StatusCode::CONFLICT
        );
    }

    #[test]
    fn an_object_that_is_going_gets_no_new_finalizer() {
        let mut before = service();
        before["metadata"]["finalizers"] = json!(["a", "b"]);
        let going = terminate(&before, Timestamp::from_second(1).unwrap());
        let mut fewer = going.clone();
        fewer["metadata"]["finalizers"] = json!(["b"]);
        assert!(update(&key(), Part::Main, &going, fewer).is_ok());
        let mut more = going.clone();
        more["metadata"]["finalizers"] = json!(["a", "b", "c"]);
        assert!(update(&key(), Part::Main, &going, more).is_err());
    }

    #[test]
    fn generated_names_end_in_five_characters() {
        assert_eq!(generated_name("web-", 0), "web-bbbbb");
        assert_eq!(generated_name(&"x".repeat(70), u64::MAX).len(), 63);
    }
}
