//! Strategic merge patch: a merge patch that knows which lists are sets or keyed by a field, with the directives
//! `$patch: replace|delete`, `$retainKeys`, `$deleteFromPrimitiveList/FIELD` and `$setElementOrder/FIELD`. Behaves as
//! `k8s.io/apimachinery/pkg/util/strategicpatch` does for the kinds we serve.

use manifests::Kind;
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// How the entries of a list are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MergeKey {
    /// By themselves: a set of texts or numbers.
    Itself,
    /// By one of their fields.
    Field(&'static str),
}

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StrategicError {
    #[error("{path}: an entry of the list has no `{key}`, by which entries are told apart")]
    NoKey { path: String, key: &'static str },
    #[error("{path}: `$patch` must be `replace` or `delete` here")]
    BadDirective { path: String },
    #[error("{path}: must be a list")]
    NotAList { path: String },
}

/// The merge key of the list at a path without places (`spec.ports`); `None` if the list is replaced as a whole.
pub(crate) fn merge_key(kind: Kind, path: &str) -> Option<MergeKey> {
    match path {
        "metadata.finalizers" => Some(MergeKey::Itself),
        "metadata.ownerReferences" => Some(MergeKey::Field("uid")),
        "status.conditions" => Some(MergeKey::Field("type")),
        "spec.ports" if kind == Kind::Service || kind == Kind::Workload => Some(MergeKey::Field("port")),
        _ => None,
    }
}

/// The object after the patch.
pub(super) fn apply(kind: Kind, object: &Value, patch: &Value) -> Result<Value, StrategicError> {
    let (Some(object), Some(patch)) = (object.as_object(), patch.as_object()) else {
        return Ok(patch.clone());
    };
    merge_map(kind, "", object, patch).map(Value::Object)
}

fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn merge_map(
    kind: Kind,
    path: &str,
    original: &Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, StrategicError> {
    match patch.get(PATCH).map(Value::as_str) {
        None => {}
        Some(Some("replace")) => {
            return Ok(patch
                .iter()
                .filter(|(field, _)| *field != PATCH)
                .map(|(f, v)| (f.clone(), v.clone()))
                .collect());
        }
        Some(Some("delete")) => return Ok(Map::new()),
        Some(Some("merge")) => {}
        Some(_) => return Err(StrategicError::BadDirective { path: path.into() }),
    }
    let mut merged = original.clone();
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        let keys =
            keys.as_array().ok_or_else(|| StrategicError::NotAList { path: below(path, RETAIN_KEYS) })?;
        merged.retain(|field, _| keys.iter().any(|key| key.as_str() == Some(field)));
    }
    for (field, gone) in patch {
        let Some(field) = field.strip_prefix(DELETE_FROM) else { continue };
        let gone = gone.as_array().ok_or_else(|| StrategicError::NotAList { path: below(path, field) })?;
        if let Some(list) = merged.get_mut(field).and_then(Value::as_array_mut) {
            list.retain(|entry| !gone.contains(entry));
        }
    }
    for (field, value) in patch {
        if field.starts_with('$') {
            continue;
        }
        let path = below(path, field);
        let order = patch.get(&format!("{SET_ORDER}{field}")).and_then(Value::as_array);
        let result = match (merged.get(field), value) {
            (_, Value::Null) => {
                merged.remove(field);
                continue;
            }
            (Some(Value::Object(before)), Value::Object(patch)) => {
                Value::Object(merge_map(kind, &path, before, patch)?)
            }
            (_, Value::Object(patch)) => Value::Object(merge_map(kind, &path, &Map::new(), patch)?),
            (before, Value::Array(patch)) => {
                let before = before.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                match merge_key(kind, &path) {
                    Some(key) => Value::Array(merge_list(kind, &path, key, before, patch, order)?),
                    None => {
                        Value::Array(patch.iter().filter(|entry| !is_directive(entry)).cloned().collect())
                    }
                }
            }
            (_, other) => other.clone(),
        };
        merged.insert(field.clone(), result);
    }
    // An order without a patch of the list only sorts.
    for (field, order) in patch {
        let (Some(field), Some(order)) = (field.strip_prefix(SET_ORDER), order.as_array()) else { continue };
        if patch.contains_key(field) {
            continue;
        }
        if let (Some(key), Some(list)) =
            (merge_key(kind, &below(path, field)), merged.get_mut(field).and_then(Value::as_array_mut))
        {
            let before = std::mem::take(list);
            *list = sorted(key, before.clone(), &before, order);
        }
    }
    Ok(merged)
}

fn is_directive(entry: &Value) -> bool {
    entry.get(PATCH).is_some()
}

fn identity(key: MergeKey, entry: &Value) -> Option<&Value> {
    match key {
        MergeKey::Itself => Some(entry),
        MergeKey::Field(field) => entry.get(field),
    }
}

fn merge_list(
    kind: Kind,
    path: &str,
    key: MergeKey,
    original: &[Value],
    patch: &[Value],
    order: Option<&Vec<Value>>,
) -> Result<Vec<Value>, StrategicError> {
    let directive = |entry: &Value| entry.get(PATCH).and_then(Value::as_str).map(str::to_owned);
    if patch.iter().any(|entry| directive(entry).as_deref() == Some("replace")) {
        return Ok(patch.iter().filter(|entry| !is_directive(entry)).cloned().collect());
    }
    let mut merged = original.to_vec();
    for entry in patch {
        let field = match key {
            MergeKey::Itself => "value",
            MergeKey::Field(field) => field,
        };
        let id =
            identity(key, entry).ok_or_else(|| StrategicError::NoKey { path: path.into(), key: field })?;
        let place = merged.iter().position(|there| identity(key, there) == Some(id));
        match (directive(entry).as_deref(), place) {
            (Some("delete"), _) => merged.retain(|there| identity(key, there) != Some(id)),
            (Some("merge") | None, Some(place)) => {
                if let (Some(there), Some(patch)) = (merged.get_mut(place), entry.as_object())
                    && let Some(before) = there.as_object()
                {
                    *there = Value::Object(merge_map(kind, path, before, patch)?);
                }
            }
            (Some("merge") | None, None) => merged.push(match entry.as_object() {
                Some(patch) => Value::Object(merge_map(kind, path, &Map::new(), patch)?),
                None => entry.clone(),
            }),
            (Some(_), _) => return Err(StrategicError::BadDirective { path: path.into() }),
        }
    }
    Ok(match order {
        Some(order) => sorted(key, merged, original, order),
        None => merged,
    })
}

/// The entries named by `order` in that order; the others stay where they were among the original entries.
fn sorted(key: MergeKey, entries: Vec<Value>, original: &[Value], order: &[Value]) -> Vec<Value> {
    let place_in = |list: &[Value], entry: &Value| {
        list.iter()
            .position(|other| identity(key, other).is_some() && identity(key, other) == identity(key, entry))
    };
    let (mut named, others): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| place_in(order, entry).is_some());
    named.sort_by_key(|entry| place_in(order, entry));
    let mut named = named.into_iter().peekable();
    let mut result = Vec::new();
    for other in others {
        let limit = place_in(original, &other);
        let comes_first = |entry: &Value| match (place_in(original, entry), limit) {
            (Some(named), Some(other)) => named < other,
            _ => true,
        };
        while let Some(entry) = named.next_if(comes_first) {
            result.push(entry);
        }
        result.push(other);
    }
    result.extend(named);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_merge_and_null_removes() {
        let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"x": [1, 2]}});
        let patch =
            json!({"metadata": {"labels": {"a": null, "c": "3"}}, "spec": {"x": [3], "y": {"z": null}}});
        assert_eq!(
            apply(Kind::Service, &object, &patch).unwrap(),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}}, "spec": {"x": [3], "y": {}}})
        );
    }

    #[test]
    fn lists_with_a_key_merge_by_it() {
        let ports = |ports: Value| json!({"spec": {"ports": ports}});
        for (original, patch, result) in [
            // Change one, add one.
            (
                json!([{"port": 80, "name": "http"}, {"port": 90}]),
                json!({"ports": [{"port": 80, "appProtocol": "h2c"}, {"port": 443}]}),
                json!([{"port": 80, "name": "http", "appProtocol": "h2c"}, {"port": 90}, {"port": 443}]),
            ),
            // Remove one, as kubectl writes it.
            (
                json!([{"port": 80}, {"port": 90}]),
                json!({"$setElementOrder/ports": [{"port": 90}], "ports": [{"$patch": "delete", "port": 80}]}),
                json!([{"port": 90}]),
            ),
            // Replace all.
            (
                json!([{"port": 80}]),
                json!({"ports": [{"$patch": "replace"}, {"port": 1}]}),
                json!([{"port": 1}]),
            ),
            // Order: what the server alone has stays where it was.
            (
                json!([{"port": 1}, {"port": 2}, {"port": 3}]),
                json!({"$setElementOrder/ports": [{"port": 4}, {"port": 3}, {"port": 1}], "ports": [{"port": 4}]}),
                json!([{"port": 4}, {"port": 2}, {"port": 3}, {"port": 1}]),
            ),
            // Order alone.
            (
                json!([{"port": 1}, {"port": 2}]),
                json!({"$setElementOrder/ports": [{"port": 2}, {"port": 1}]}),
                json!([{"port": 2}, {"port": 1}]),
            ),
        ] {
            let patched = apply(Kind::Service, &ports(original.clone()), &json!({"spec": patch})).unwrap();
            assert_eq!(patched, ports(result), "{original} patched with {patch}");
        }
    }

    #[test]
    fn sets_of_texts_merge_and_shrink() {
        let object = json!({"metadata": {"finalizers": ["a", "b"]}});
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}});
        let patched = apply(Kind::Service, &object, &patch).unwrap();
        assert_eq!(patched, json!({"metadata": {"finalizers": ["b", "c"]}}));
    }

    #[test]
    fn directives_on_maps_are_obeyed() {
        let object = json!({"spec": {"a": 1, "b": {"c": 1}, "d": 2}});
        for (patch, spec) in [
            (json!({"$patch": "replace", "x": 1}), json!({"x": 1})),
            (json!({"b": {"$patch": "delete"}}), json!({"a": 1, "b": {}, "d": 2})),
            (json!({"$retainKeys": ["a", "x"], "x": 1}), json!({"a": 1, "x": 1})),
        ] {
            let patched = apply(Kind::Service, &object, &json!({"spec": patch})).unwrap();
            assert_eq!(patched, json!({"spec": spec}), "{patch}");
        }
    }

    #[test]
    fn an_entry_without_its_key_is_refused_by_path() {
        let patch = json!({"spec": {"ports": [{"name": "x"}]}});
        let error = apply(Kind::Service, &json!({}), &patch).unwrap_err().to_string();
        assert!(error.starts_with("spec.ports: ") && error.contains("`port`"), "{error}");
    }
}
