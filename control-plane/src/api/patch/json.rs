//! JSON patch, RFC 6902, with JSON pointers, RFC 6901. All operations succeed or the object stays as it was. Unlike every other
//! body, a patch can make much more of an object than it has bytes: it copies, and leads deeper with each operation. So it is
//! bounded here.

use crate::api::extent::{NESTING_MAX, nesting, weight};
use serde::Deserialize;
use serde_json::Value;

/// Most operations of a patch: those that people and their tools write have dozens, and one at the start of a long list costs
/// as much as the list.
const OPERATIONS_MAX: usize = 1_000;
/// Most bytes of memory that a patch may copy and move.
const CARRIED_MAX: usize = 4 * 1024 * 1024;

/// One operation. Fields that are not known are refused by nobody: RFC 6902 §4 says to ignore them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(crate) enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

/// Why an operation cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonPatchError {
    #[error("`{0}` is not a JSON pointer: it must be empty or start with `/`")]
    NotAPointer(String),
    #[error("nothing is at `{0}`")]
    Missing(String),
    #[error("`{0}` does not lead into an object or a list")]
    NoParent(String),
    #[error("`{0}` is outside its list")]
    OutOfRange(String),
    #[error("the test of `{0}` fails: another value is there")]
    TestFailed(String),
    #[error("`{0}` cannot be moved into itself")]
    IntoItself(String),
    #[error("what would be at `{0}` leads more than {NESTING_MAX} levels deep")]
    TooDeep(String),
    #[error("at `{0}` it has copied and moved more than 4 MiB: write it out, or make several patches of it")]
    TooMuch(String),
    #[error("it has {0} operations and may have {OPERATIONS_MAX}: make several patches of it")]
    TooMany(usize),
}

/// The object after all operations.
pub(super) fn apply(object: &Value, operations: &[Operation]) -> Result<Value, JsonPatchError> {
    if operations.len() > OPERATIONS_MAX {
        return Err(JsonPatchError::TooMany(operations.len()));
    }
    let mut result = object.clone();
    let mut carried = 0;
    let mut carry = |path: &String, value: &Value| {
        carried += weight(value);
        if carried > CARRIED_MAX { Err(JsonPatchError::TooMuch(path.clone())) } else { Ok(()) }
    };
    for operation in operations {
        match operation {
            Operation::Add { path, value } => add(&mut result, path, value.clone())?,
            Operation::Remove { path } => drop(remove(&mut result, path)?),
            Operation::Replace { path, value } => {
                pointer(path)?;
                let place = result.pointer_mut(path).ok_or_else(|| JsonPatchError::Missing(path.clone()))?;
                within(path, value)?;
                *place = value.clone();
            }
            Operation::Move { from, path } => {
                if path.strip_prefix(from.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                    return Err(JsonPatchError::IntoItself(from.clone()));
                }
                let value = remove(&mut result, from)?;
                carry(path, &value)?;
                add(&mut result, path, value)?;
            }
            Operation::Copy { from, path } => {
                pointer(from)?;
                let value = result.pointer(from).ok_or_else(|| JsonPatchError::Missing(from.clone()))?;
                carry(path, value)?;
                let value = value.clone();
                add(&mut result, path, value)?;
            }
            Operation::Test { path, value } => {
                pointer(path)?;
                if result.pointer(path) != Some(value) {
                    return Err(JsonPatchError::TestFailed(path.clone()));
                }
            }
        }
    }
    Ok(result)
}

/// Whether a value may be at a place.
fn within(path: &str, value: &Value) -> Result<(), JsonPatchError> {
    let above = path.bytes().filter(|byte| *byte == b'/').count();
    if above + nesting(value) > NESTING_MAX {
        return Err(JsonPatchError::TooDeep(path.to_owned()));
    }
    Ok(())
}

fn pointer(path: &str) -> Result<(), JsonPatchError> {
    if path.is_empty() || path.starts_with('/') {
        return Ok(());
    }
    Err(JsonPatchError::NotAPointer(path.into()))
}

/// The pointer to the parent, and the last key.
fn parent(path: &str) -> Result<(&str, String), JsonPatchError> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| JsonPatchError::NotAPointer(path.into()))?;
    pointer(parent)?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn place(key: &str, path: &str) -> Result<usize, JsonPatchError> {
    let is_canonical = key == "0" || (!key.starts_with('0') && key.bytes().all(|b| b.is_ascii_digit()));
    match key.parse() {
        Ok(place) if is_canonical => Ok(place),
        Ok(_) | Err(_) => Err(JsonPatchError::OutOfRange(path.into())),
    }
}

fn add(root: &mut Value, path: &str, value: Value) -> Result<(), JsonPatchError> {
    within(path, &value)?;
    if path.is_empty() {
        *root = value;
        return Ok(());
    }
    let (above, key) = parent(path)?;
    match root.pointer_mut(above) {
        Some(Value::Object(map)) => {
            map.insert(key, value);
            Ok(())
        }
        Some(Value::Array(list)) => {
            let place = if key == "-" { list.len() } else { place(&key, path)? };
            if place > list.len() {
                return Err(JsonPatchError::OutOfRange(path.into()));
            }
            list.insert(place, value);
            Ok(())
        }
        Some(_) | None => Err(JsonPatchError::NoParent(path.into())),
    }
}

fn remove(root: &mut Value, path: &str) -> Result<Value, JsonPatchError> {
    if path.is_empty() {
        return Ok(root.take());
    }
    let (above, key) = parent(path)?;
    match root.pointer_mut(above) {
        Some(Value::Object(map)) => map.remove(&key).ok_or_else(|| JsonPatchError::Missing(path.into())),
        Some(Value::Array(list)) => {
            let place = place(&key, path)?;
            if place >= list.len() {
                return Err(JsonPatchError::OutOfRange(path.into()));
            }
            Ok(list.remove(place))
        }
        Some(_) | None => Err(JsonPatchError::NoParent(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(object: Value, patch: Value) -> Result<Value, JsonPatchError> {
        apply(&object, &serde_json::from_value::<Vec<Operation>>(patch).unwrap())
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (object, patch, result) in [
            (
                json!({"foo": "bar"}),
                json!([{"op": "add", "path": "/baz", "value": "qux"}]),
                json!({"baz": "qux", "foo": "bar"}),
            ),
            (
                json!({"foo": ["bar", "baz"]}),
                json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
                json!({"foo": ["bar", "qux", "baz"]}),
            ),
            (
                json!({"baz": "qux", "foo": "bar"}),
                json!([{"op": "remove", "path": "/baz"}]),
                json!({"foo": "bar"}),
            ),
            (
                json!({"foo": ["bar", "qux", "baz"]}),
                json!([{"op": "remove", "path": "/foo/1"}]),
                json!({"foo": ["bar", "baz"]}),
            ),
            (
                json!({"baz": "qux", "foo": "bar"}),
                json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
                json!({"baz": "boo", "foo": "bar"}),
            ),
            (
                json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
                json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
                json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
            ),
            (
                json!({"foo": ["all", "grass", "cows", "eat"]}),
                json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
                json!({"foo": ["all", "cows", "eat", "grass"]}),
            ),
            (
                json!({"baz": "qux"}),
                json!([{"op": "test", "path": "/baz", "value": "qux"}]),
                json!({"baz": "qux"}),
            ),
            (
                json!({"foo": "bar"}),
                json!([{"op": "add", "path": "/child", "value": {"grandchild": {}}}]),
                json!({"foo": "bar", "child": {"grandchild": {}}}),
            ),
            (
                json!({"/": 9, "~1": 10}),
                json!([{"op": "test", "path": "/~01", "value": 10}]),
                json!({"/": 9, "~1": 10}),
            ),
            (
                json!({"foo": ["bar"]}),
                json!([{"op": "add", "path": "/foo/-", "value": ["abc"]}]),
                json!({"foo": ["bar", ["abc"]]}),
            ),
            (json!({"a": {"b/c": 1}}), json!([{"op": "remove", "path": "/a/b~1c"}]), json!({"a": {}})),
            (json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), json!({"a": 1, "b": 1})),
        ] {
            assert_eq!(patched(object, patch.clone()).unwrap(), result, "{patch}");
        }
    }

    #[test]
    fn a_patch_that_makes_ever_more_of_an_object_is_refused() {
        let copies = |paths: &mut dyn Iterator<Item = String>| -> Value {
            paths.map(|path| json!({"op": "copy", "from": "/a", "path": path})).collect()
        };
        // Twice as much each time.
        let bomb = copies(&mut (0..64).map(|n| format!("/a/{n}")));
        let error = patched(json!({"a": {}}), bomb).unwrap_err();
        assert!(matches!(error, JsonPatchError::TooMuch(_) | JsonPatchError::TooDeep(_)), "{error}");
        let wide = copies(&mut std::iter::repeat_n("/b/-".to_owned(), 999));
        let error = patched(json!({"a": "x".repeat(10_000), "b": []}), wide).unwrap_err();
        assert!(error.to_string().contains("more than 4 MiB: write it out"), "{error}");
        // One level deeper each time.
        let deeper = copies(&mut (1..100).map(|n| format!("/a{}", "/b".repeat(n))));
        let error = patched(json!({"a": {"b": {}}}), deeper).unwrap_err();
        assert!(error.to_string().contains("leads more than 64 levels deep"), "{error}");
        let long = json!([{"op": "add", "path": "/b".repeat(65), "value": 1}]);
        assert_eq!(patched(json!({}), long).unwrap_err(), JsonPatchError::TooDeep("/b".repeat(65)));
        let many = json!(vec![json!({"op": "test", "path": "/a", "value": 1}); 1001]);
        assert_eq!(patched(json!({"a": 1}), many).unwrap_err(), JsonPatchError::TooMany(1001));
    }

    #[test]
    fn an_impossible_operation_says_where() {
        let object = json!({"a": [1], "b": {"c": 1}, "d": 2});
        for (operation, path) in [
            (json!({"op": "remove", "path": "/x"}), "/x"),
            (json!({"op": "replace", "path": "/x", "value": 1}), "/x"),
            (json!({"op": "add", "path": "/a/3", "value": 1}), "/a/3"),
            (json!({"op": "add", "path": "/a/01", "value": 1}), "/a/01"),
            (json!({"op": "add", "path": "/d/x", "value": 1}), "/d/x"),
            (json!({"op": "remove", "path": "/a/1"}), "/a/1"),
            (json!({"op": "test", "path": "/d", "value": 3}), "/d"),
            (json!({"op": "copy", "from": "/y", "path": "/z"}), "/y"),
            (json!({"op": "move", "from": "/b", "path": "/b/c"}), "/b"),
            (json!({"op": "add", "path": "x", "value": 1}), "x"),
        ] {
            let error = patched(object.clone(), json!([operation])).unwrap_err().to_string();
            assert!(error.contains(&format!("`{path}`")), "{error}");
        }
    }
}
