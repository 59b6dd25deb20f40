//! The metadata only the server writes, for objects that the control plane itself makes, and conditions.

use crate::api::birth::birth;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A new object's `uid`, `creationTimestamp` and `generation`.
pub fn born(object: &mut Value, now: Timestamp) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), birth().uid.into());
        metadata.insert("creationTimestamp".to_owned(), moment(now).into());
        metadata.insert("generation".to_owned(), 1.into());
    }
}

/// Keeps the metadata of the object that is there, and counts a generation when what it says has changed.
pub fn succeed(object: &mut Value, before: &Value) {
    let content = |value: &Value| {
        let fields = value.as_object().into_iter().flatten();
        fields
            .filter(|(k, _)| !matches!(k.as_str(), "metadata" | "status"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    let (new, old): (serde_json::Map<_, _>, serde_json::Map<_, _>) = (content(object), content(before));
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(earlier) = before.get("metadata").and_then(Value::as_object) else { return };
    for (field, value) in earlier {
        // Labels and annotations are stated by whoever makes the object; all else is the server's.
        metadata.entry(field.clone()).or_insert_with(|| value.clone());
    }
    if new != old {
        let generation = earlier.get("generation").and_then(Value::as_i64).unwrap_or(0);
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
}

/// A condition, with the time of its last change: that of `before` when the status is the same there.
pub fn condition(
    before: Option<&Value>,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> Value {
    let status = if holds { "True" } else { "False" };
    let same = before
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|known| known.get("type").is_some_and(|it| it == kind))
        .filter(|known| known.get("status").is_some_and(|it| it == status));
    let since = same.and_then(|known| known.get("lastTransitionTime")).cloned();
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": since.unwrap_or_else(|| moment(now).into()),
    })
}

/// RFC 3339 in whole seconds, as Kubernetes writes times.
pub fn moment(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_the_time_of_its_last_change() {
        let (then, now) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(20).unwrap());
        let before = json!([condition(None, "Ready", true, "Connected", "yes", 1, then)]);
        let same = condition(Some(&before), "Ready", true, "Other", "still", 2, now);
        assert_eq!(same["lastTransitionTime"], "1970-01-01T00:00:10Z");
        let changed = condition(Some(&before), "Ready", false, "Lost", "no", 2, now);
        assert_eq!(changed["lastTransitionTime"], "1970-01-01T00:00:20Z");
    }

    #[test]
    fn a_generation_counts_changes_of_content_only() {
        let mut first = json!({"metadata": {"name": "a"}, "spec": {"x": 1}});
        born(&mut first, Timestamp::UNIX_EPOCH);
        let mut second = json!({"metadata": {"name": "a"}, "spec": {"x": 1}, "status": {"y": 1}});
        succeed(&mut second, &first);
        assert_eq!(second["metadata"], first["metadata"]);
        let mut third = json!({"metadata": {"name": "a"}, "spec": {"x": 2}});
        succeed(&mut third, &second);
        assert_eq!(third["metadata"]["generation"], 2);
        assert_eq!(third["metadata"]["uid"], first["metadata"]["uid"]);
    }
}
