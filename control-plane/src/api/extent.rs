//! How deep an object nests and how much memory it takes. Pure.

use serde_json::Value;

/// Deepest nesting of an object: the deepest of a kind has about a dozen levels, and as many again in the record of who
/// manages its fields. Everything that walks through an object, readers of JSON too, can rely on it.
pub(crate) const NESTING_MAX: usize = 64;

/// Levels of lists and maps. It walks as deep: for what a parser has bounded.
pub(crate) fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(nesting).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(nesting).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Bytes of memory, about.
pub(crate) fn weight(value: &Value) -> usize {
    /// Of a value in its list.
    const VALUE: usize = size_of::<Value>();
    /// Of a map, which has room for eleven entries from the first on.
    const MAP: usize = 11 * (VALUE + size_of::<String>());
    VALUE
        + match value {
            Value::Array(list) => list.iter().map(weight).sum(),
            Value::Object(map) => {
                MAP + map.iter().map(|(key, value)| key.len() + weight(value)).sum::<usize>()
            }
            Value::String(text) => text.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn levels_are_counted_where_they_are_deepest() {
        for (value, levels) in [
            (json!(1), 0),
            (json!([]), 1),
            (json!({}), 1),
            (json!([1, [2, {"a": []}], {}]), 4),
            (json!({"a": {"b": 1}, "c": [[[]]]}), 4),
        ] {
            assert_eq!(nesting(&value), levels, "{value}");
        }
    }

    #[test]
    fn what_takes_more_weighs_more() {
        let text = weight(&json!("x".repeat(1000)));
        assert!((1000..1100).contains(&text));
        assert!(weight(&json!([{}, {}])) > 2 * weight(&json!([1, 2])));
        assert!(weight(&json!({"key": "x".repeat(1000)})) > text);
    }
}
