//! `metadata.managedFields`: who set which field. What enters is an object before and after a write, and who wrote;
//! what leaves is the record, in Kubernetes' FieldsV1 form. Server-side apply decides by it. Pure.
//!
//! A field is a leaf of the object: a scalar, an empty map, or a list that is replaced as a whole. Entries of keyed
//! lists count as fields of their own (written `k:{"port":80}`), as do members of sets (`v:"a"`).

use super::meta::timestamp;
use super::patch::{MergeKey, merge_key};
use super::path::Part;
use jiff::Timestamp;
use manifests::Kind;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One step to a field, in the order FieldsV1 writes them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Field(String),
    /// The entry of a keyed list, by its key as JSON.
    Entry(String),
    /// The member of a set, as JSON.
    Member(String),
}

/// Where a field is.
pub(crate) type Path = Vec<Step>;
/// Fields of one manager.
pub(crate) type FieldSet = BTreeSet<Path>;

/// How a manager wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// What one manager set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    pub(crate) operation: Operation,
    pub(crate) part: Part,
    pub(crate) time: String,
    pub(crate) fields: FieldSet,
}

/// Fields nobody manages: the server says them, or they say what the object is.
const UNMANAGED_METADATA: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
];

/// Every field of that part of the object, with its value.
pub(crate) fn leaves(kind: Kind, part: Part, object: &Value) -> BTreeMap<Path, Value> {
    let mut found = BTreeMap::new();
    for (field, value) in object.as_object().into_iter().flatten() {
        let is_status = field == "status";
        let is_of_part = match part {
            Part::Main => !is_status && !matches!(field.as_str(), "apiVersion" | "kind"),
            Part::Status => is_status,
        };
        if !is_of_part {
            continue;
        }
        let step = vec![Step::Field(field.clone())];
        match value.as_object().filter(|_| field == "metadata") {
            Some(metadata) => {
                for (field, value) in metadata {
                    if !UNMANAGED_METADATA.contains(&field.as_str()) {
                        let path = [step.as_slice(), &[Step::Field(field.clone())]].concat();
                        collect(kind, path, &format!("metadata.{field}"), value, &mut found);
                    }
                }
            }
            None => collect(kind, step, field, value, &mut found),
        }
    }
    found
}

fn collect(kind: Kind, path: Path, plain: &str, value: &Value, found: &mut BTreeMap<Path, Value>) {
    let below = |step: Step| [path.as_slice(), &[step]].concat();
    match (value, value.as_array().and_then(|_| merge_key(kind, plain))) {
        (Value::Object(map), _) if !map.is_empty() => {
            for (field, value) in map {
                collect(kind, below(Step::Field(field.clone())), &format!("{plain}.{field}"), value, found);
            }
        }
        (Value::Array(list), Some(key)) if !list.is_empty() => {
            for entry in list {
                let Some(step) = step_of(key, entry) else { continue };
                let path = below(step);
                found.insert(path.clone(), Value::Null);
                if let MergeKey::Field(_) = key {
                    collect(kind, path, plain, entry, found);
                }
            }
        }
        _ => drop(found.insert(path, value.clone())),
    }
}

/// How an entry of a list is named in a path.
pub(crate) fn step_of(key: MergeKey, entry: &Value) -> Option<Step> {
    match key {
        MergeKey::Itself => Some(Step::Member(entry.to_string())),
        MergeKey::Field(field) => Some(Step::Entry(json!({field: entry.get(field)?}).to_string())),
    }
}

/// The entries an object carries; what cannot be read is forgotten.
pub(crate) fn entries(object: &Value) -> Vec<Entry> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(entry).collect()
}

fn entry(json: &Value) -> Option<Entry> {
    let text = |field: &str| json.get(field).and_then(Value::as_str);
    let mut fields = FieldSet::new();
    read(json.get("fieldsV1")?.as_object()?, &Vec::new(), &mut fields);
    Some(Entry {
        manager: text("manager")?.to_owned(),
        operation: if text("operation")? == "Apply" { Operation::Apply } else { Operation::Update },
        part: if text("subresource") == Some("status") { Part::Status } else { Part::Main },
        time: text("time").unwrap_or_default().to_owned(),
        fields,
    })
}

fn read(map: &Map<String, Value>, path: &Path, fields: &mut FieldSet) {
    for (name, below) in map {
        let step = match name.split_once(':') {
            Some(("f", field)) => Step::Field(field.to_owned()),
            Some(("k", key)) => Step::Entry(key.to_owned()),
            Some(("v", member)) => Step::Member(member.to_owned()),
            _ => {
                if name == "." {
                    fields.insert(path.clone());
                }
                continue;
            }
        };
        let path = [path.as_slice(), &[step]].concat();
        match below.as_object().filter(|below| !below.is_empty()) {
            Some(below) => read(below, &path, fields),
            None => drop(fields.insert(path)),
        }
    }
}

fn write(fields: &FieldSet) -> Value {
    let mut root = Map::new();
    for path in fields {
        insert(&mut root, path);
    }
    simplify(&mut root);
    Value::Object(root)
}

fn insert(place: &mut Map<String, Value>, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else {
        // A field with others below it says so; it is read back as both.
        place.insert(".".into(), json!({}));
        return;
    };
    let name = match first {
        Step::Field(field) => format!("f:{field}"),
        Step::Entry(key) => format!("k:{key}"),
        Step::Member(member) => format!("v:{member}"),
    };
    if let Value::Object(below) = place.entry(name).or_insert_with(|| json!({})) {
        insert(below, rest);
    }
}

/// A leaf is `{}`; the dot stands only where there is something beside it.
fn simplify(map: &mut Map<String, Value>) {
    for value in map.values_mut() {
        let Value::Object(below) = value else { continue };
        if below.len() == 1 && below.contains_key(".") {
            below.clear();
        }
        simplify(below);
    }
}

/// The entries as `metadata.managedFields`.
pub(crate) fn to_json(kind: Kind, entries: &[Entry]) -> Value {
    let one = |entry: &Entry| {
        let mut json = json!({
            "manager": entry.manager, "apiVersion": kind.api_version(), "time": entry.time,
            "operation": match entry.operation { Operation::Apply => "Apply", Operation::Update => "Update" },
            "fieldsType": "FieldsV1", "fieldsV1": write(&entry.fields),
        });
        if let (Some(fields), Part::Status) = (json.as_object_mut(), entry.part) {
            fields.insert("subresource".into(), "status".into());
        }
        json
    };
    entries.iter().filter(|entry| !entry.fields.is_empty()).map(one).collect()
}

/// Puts the record into the object.
pub(crate) fn set(object: &mut Value, managed: Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    match managed.as_array().is_some_and(|list| !list.is_empty()) {
        true => drop(metadata.insert("managedFields".into(), managed)),
        false => drop(metadata.remove("managedFields")),
    }
}

/// Records an ordinary write: what it changed is the writer's now, what it removed is nobody's.
pub(crate) fn record(
    kind: Kind,
    before: Option<&Value>,
    object: &mut Value,
    part: Part,
    manager: &str,
    now: Timestamp,
) {
    let none = json!({});
    let before = before.unwrap_or(&none);
    let (old, new) = (leaves(kind, part, before), leaves(kind, part, object));
    // A client that sends the record back, changed or not, means it; one that leaves it out does not.
    let mut entries =
        if object.pointer("/metadata/managedFields").is_some() { entries(object) } else { entries(before) };
    let changed: FieldSet = new
        .iter()
        .filter(|(path, value)| old.get(*path) != Some(value))
        .map(|(path, _)| path.clone())
        .collect();
    let removed: FieldSet = old.keys().filter(|path| !new.contains_key(*path)).cloned().collect();
    if changed.is_empty() && removed.is_empty() {
        let unchanged =
            object.pointer("/metadata/managedFields").or(before.pointer("/metadata/managedFields"));
        let unchanged = unchanged.cloned().unwrap_or_default();
        return set(object, unchanged);
    }
    for entry in entries.iter_mut().filter(|entry| entry.part == part) {
        entry.fields.retain(|path| !changed.contains(path) && !removed.contains(path));
    }
    let is_mine = |entry: &&mut Entry| {
        (entry.manager.as_str(), entry.operation, entry.part) == (manager, Operation::Update, part)
    };
    let time = timestamp(now);
    match entries.iter_mut().find(is_mine) {
        Some(mine) => {
            mine.fields.extend(changed);
            mine.time = time;
        }
        None => entries.push(Entry {
            manager: manager.to_owned(),
            operation: Operation::Update,
            part,
            time,
            fields: changed,
        }),
    }
    set(object, to_json(kind, &entries));
}

/// A path as messages say it: `.spec.ports[port=80].name`.
pub(crate) fn display(path: &Path) -> String {
    let step = |step: &Step| match step {
        Step::Field(field) => format!(".{field}"),
        Step::Entry(key) => {
            let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let pairs: Vec<String> = key.iter().map(|(field, value)| format!("{field}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        Step::Member(member) => format!("[={member}]"),
    };
    path.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "status": {"x": 1},
            "metadata": {"name": "a", "uid": "u", "labels": {"app": "web"}, "finalizers": ["f"]},
            "spec": {"ports": [{"port": 80, "name": "http"}], "selector": {}},
        })
    }

    #[test]
    fn fields_are_written_as_kubernetes_writes_them_and_read_back() {
        let mut object = service();
        record(Kind::Service, None, &mut object, Part::Main, "ann", Timestamp::UNIX_EPOCH);
        let fields = &object["metadata"]["managedFields"][0]["fieldsV1"];
        assert_eq!(
            *fields,
            json!({
                "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {"v:\"f\"": {}}},
                "f:spec": {"f:ports": {"k:{\"port\":80}": {".": {}, "f:name": {}, "f:port": {}}}, "f:selector": {}},
            })
        );
        let read = entries(&object);
        assert_eq!(to_json(Kind::Service, &read), object["metadata"]["managedFields"]);
        assert!(read[0].fields.iter().any(|path| display(path) == ".spec.ports[port=80].name"));
    }

    #[test]
    fn a_changed_field_changes_hands_and_nothing_else_does() {
        let mut first = service();
        record(Kind::Service, None, &mut first, Part::Main, "ann", Timestamp::UNIX_EPOCH);
        let mut second = first.clone();
        record(Kind::Service, Some(&first), &mut second, Part::Main, "bob", Timestamp::UNIX_EPOCH);
        assert_eq!(first, second, "a write without change leaves no trace");
        second["metadata"]["labels"]["app"] = json!("api");
        second["spec"]["ports"] = json!([]);
        record(Kind::Service, Some(&first), &mut second, Part::Main, "bob", Timestamp::UNIX_EPOCH);
        let owned = |manager: &str| {
            let all = entries(&second);
            let entry = all.iter().find(|entry| entry.manager == manager).unwrap().clone();
            entry.fields.iter().map(display).collect::<Vec<_>>()
        };
        assert_eq!(owned("bob"), [".metadata.labels.app", ".spec.ports"]);
        assert_eq!(owned("ann"), [".metadata.finalizers[=\"f\"]", ".spec.selector"]);
    }
}
