//! Server-side apply: what enters is the object that is there and the configuration one manager wants to be true; what
//! leaves is the object with it, less what the same manager wanted before and wants no longer, and who manages what. A
//! field that others manage and that would change is a conflict, unless the manager insists. Pure.

use super::{MergeKey, merge_key};
use crate::api::fields::{self, Entry, FieldSet, Operation, Path, Step};
use crate::api::meta::timestamp;
use crate::api::path::Part;
use crate::api::status::Failure;
use crate::store::Key;
use jiff::Timestamp;
use manifests::Kind;
use serde_json::{Map, Value};

/// The outcome of an apply.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) object: Value,
    /// `metadata.managedFields`.
    pub(crate) managed: Value,
}

/// The configuration as an object, for the case that there is none yet.
pub(crate) fn desired(key: &Key, configuration: &Value) -> Result<Value, Failure> {
    if !configuration.is_object() {
        return Err(Failure::bad_request("the configuration to apply is not an object"));
    }
    if configuration.pointer("/metadata/managedFields").is_some_and(|managed| !managed.is_null()) {
        let message = format!("{}: metadata.managedFields must not be in a configuration to apply", key.name);
        return Err(Failure::bad_request(message));
    }
    Ok(configuration.clone())
}

/// Records who manages a new object.
pub(crate) fn record_new(
    kind: Kind,
    configuration: &Value,
    object: &mut Value,
    manager: &str,
    now: Timestamp,
) {
    let entry = mine(kind, Part::Main, configuration, manager, now);
    fields::set(object, fields::to_json(kind, &[entry]));
}

fn mine(kind: Kind, part: Part, configuration: &Value, manager: &str, now: Timestamp) -> Entry {
    Entry {
        manager: manager.to_owned(),
        operation: Operation::Apply,
        part,
        time: timestamp(now),
        fields: fields::leaves(kind, part, configuration).into_keys().collect(),
    }
}

/// Applies the configuration to the object that is there.
pub(crate) fn apply(
    key: &Key,
    part: Part,
    live: &Value,
    configuration: &Value,
    manager: &str,
    force: bool,
    now: Timestamp,
) -> Result<Applied, Failure> {
    let configuration = desired(key, configuration)?;
    let (kind, entries) = (key.kind, fields::entries(live));
    let is_mine = |entry: &Entry| {
        (entry.manager.as_str(), entry.operation, entry.part) == (manager, Operation::Apply, part)
    };
    let (mut own, mut others): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_mine);
    let own = own.pop();
    let (there, wanted) = (fields::leaves(kind, part, live), fields::leaves(kind, part, &configuration));
    let changed: FieldSet = wanted
        .iter()
        .filter(|(path, value)| there.get(*path) != Some(value))
        .map(|(path, _)| path.clone())
        .collect();
    let conflicts: Vec<(String, String)> = others
        .iter()
        .filter(|entry| entry.part == part)
        .flat_map(|entry| {
            let owned = changed.intersection(&entry.fields);
            owned.map(|path| (entry.manager.clone(), fields::display(path)))
        })
        .collect();
    if !conflicts.is_empty() && !force {
        return Err(Failure::apply_conflicts(key, &conflicts));
    }
    for other in others.iter_mut().filter(|entry| entry.part == part) {
        other.fields.retain(|path| !changed.contains(path));
    }
    let mut object = live.clone();
    merge(kind, "", &mut object, &configuration);
    let before = own.as_ref().map(|entry| &entry.fields);
    let mut gone: Vec<&Path> = before
        .into_iter()
        .flatten()
        .filter(|path| !wanted.contains_key(*path))
        .filter(|path| !others.iter().any(|other| other.fields.contains(*path)))
        .collect();
    // What is inside goes before what it is in.
    gone.sort_by_key(|path| std::cmp::Reverse(path.len()));
    for path in gone {
        remove(&mut object, path);
    }
    let mut entry = mine(kind, part, &configuration, manager, now);
    if let Some(own) = own.filter(|own| own.fields == entry.fields && changed.is_empty()) {
        entry.time = own.time;
    }
    let managed = fields::to_json(kind, &[&[entry][..], &others].concat());
    // What the configuration says of the version it was made from is checked by the caller.
    Ok(Applied { object, managed })
}

/// Maps merge, keyed lists merge by key, sets unite, everything else is replaced.
fn merge(kind: Kind, path: &str, live: &mut Value, wanted: &Value) {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for (field, value) in wanted {
                let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
                merge(kind, &path, live.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(live), Value::Array(wanted)) => match merge_key(kind, path) {
            None => wanted.clone_into(live),
            Some(key) => {
                for entry in wanted {
                    let step = fields::step_of(key, entry);
                    let there =
                        live.iter_mut().find(|there| step.is_some() && fields::step_of(key, there) == step);
                    match (there, key) {
                        (Some(there), MergeKey::Field(_)) => merge(kind, path, there, entry),
                        (Some(_), MergeKey::Itself) => {}
                        (None, _) => live.push(entry.clone()),
                    }
                }
            }
        },
        (live, wanted) => *live = wanted.clone(),
    }
}

/// Removes a field, and the maps and lists that are empty without it.
fn remove(place: &mut Value, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else { return };
    let is_empty = |value: &Value| match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match (first, place) {
        (Step::Field(field), Value::Object(map)) => {
            let is_gone = match (rest, map.get_mut(field)) {
                ([], _) => true,
                (_, None) => false,
                (rest, Some(below)) => {
                    remove(below, rest);
                    is_empty(below)
                }
            };
            if is_gone {
                map.remove(field);
            }
        }
        (Step::Entry(_) | Step::Member(_), Value::Array(list)) => {
            let Some(at) = list.iter().position(|entry| is_named(first, entry)) else { return };
            if rest.is_empty() {
                list.remove(at);
            } else if let Some(entry) = list.get_mut(at) {
                // An entry keeps its key as long as somebody manages the entry itself.
                let is_key = matches!(rest, [Step::Field(field)] if key_fields(first).contains_key(field));
                if !is_key {
                    remove(entry, rest);
                }
            }
        }
        _ => {}
    }
}

fn is_named(step: &Step, entry: &Value) -> bool {
    match step {
        Step::Field(_) => false,
        Step::Member(_) => fields::step_of(MergeKey::Itself, entry).as_ref() == Some(step),
        Step::Entry(_) => key_fields(step).iter().all(|(field, value)| entry.get(field) == Some(value)),
    }
}

fn key_fields(step: &Step) -> Map<String, Value> {
    match step {
        Step::Entry(key) => serde_json::from_str(key).unwrap_or_default(),
        Step::Field(_) | Step::Member(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key() -> Key {
        Key::new(Kind::Service, "shop", "a")
    }

    fn step(live: &Value, configuration: Value, manager: &str, force: bool) -> Result<Value, Failure> {
        let now = Timestamp::UNIX_EPOCH;
        let mut applied = apply(&key(), Part::Main, live, &configuration, manager, force, now)?;
        fields::set(&mut applied.object, applied.managed);
        Ok(applied.object)
    }

    fn first() -> Value {
        let configuration = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}},
            "spec": {"ports": [{"port": 80, "name": "http"}, {"port": 90}]},
        });
        let mut object = configuration.clone();
        record_new(Kind::Service, &configuration, &mut object, "ann", Timestamp::UNIX_EPOCH);
        object
    }

    #[test]
    fn what_a_manager_no_longer_wants_goes() {
        let wanted = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"ports": [{"port": 80}]}});
        let object = step(&first(), wanted, "ann", false).unwrap();
        assert_eq!(object["metadata"]["labels"], json!({"a": "1"}));
        assert_eq!(object["spec"]["ports"], json!([{"port": 80}]));
        let nothing = step(&object, json!({}), "ann", false).unwrap();
        assert_eq!(nothing, json!({"metadata": {}}), "empty maps go with their last field");
    }

    #[test]
    fn what_others_want_stays() {
        let shared =
            step(&first(), json!({"metadata": {"labels": {"b": "2", "c": "3"}}}), "bob", false).unwrap();
        let object = step(&shared, json!({"metadata": {"labels": {"a": "1"}}}), "ann", false).unwrap();
        assert_eq!(object["metadata"]["labels"], json!({"a": "1", "b": "2", "c": "3"}));
    }

    #[test]
    fn changing_what_others_manage_is_a_conflict_unless_forced() {
        let wanted =
            json!({"metadata": {"labels": {"a": "other"}}, "spec": {"ports": [{"port": 80, "name": "web"}]}});
        let failure = step(&first(), wanted.clone(), "bob", false).unwrap_err();
        let message = failure.message();
        assert!(message.contains("conflict with \"ann\": .metadata.labels.a"), "{message}");
        assert!(message.contains(".spec.ports[port=80].name"), "{message}");
        let object = step(&first(), wanted, "bob", true).unwrap();
        assert_eq!(object["spec"]["ports"], json!([{"port": 80, "name": "web"}, {"port": 90}]));
        let back = step(&object, json!({"metadata": {"labels": {"a": "1"}}}), "ann", false).unwrap_err();
        assert!(back.message().contains("conflict with \"bob\""), "{}", back.message());
    }

    #[test]
    fn applying_again_changes_nothing() {
        let wanted = json!({"metadata": {"labels": {"x": "y"}}});
        let once = step(&first(), wanted.clone(), "bob", false).unwrap();
        let later = Timestamp::from_second(1000).unwrap();
        let mut again = apply(&key(), Part::Main, &once, &wanted, "bob", false, later).unwrap();
        fields::set(&mut again.object, again.managed);
        assert_eq!(again.object["metadata"]["labels"], once["metadata"]["labels"]);
        let times = |object: &Value| -> Vec<Value> {
            let list = object["metadata"]["managedFields"].as_array().unwrap();
            list.iter().map(|entry| entry["time"].clone()).collect()
        };
        assert_eq!(times(&again.object), times(&once));
    }
}
