//! A Service's condition on its target ports as JSON. It is written when there is a problem, and when one is mended: a
//! Service that never had one is left alone.

use super::stamp::condition;
use crate::translate::Verdict;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The condition's type.
const TARGET_PORTS: &str = "outrigger.dev/TargetPortsResolved";

/// The object with this condition; nothing if it says so already.
pub(super) fn with_target_ports(object: &Value, verdict: &Verdict, now: Timestamp) -> Option<Value> {
    let conditions = object.pointer("/status/conditions");
    let is_it = |it: &&Value| it.get("type").is_some_and(|kind| kind == TARGET_PORTS);
    let known = conditions.and_then(Value::as_array).into_iter().flatten();
    let (stated, mut all): (Vec<Value>, Vec<Value>) = known.cloned().partition(|it| is_it(&it));
    if stated.is_empty() && verdict.holds {
        return None;
    }
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let next =
        condition(conditions, TARGET_PORTS, verdict.holds, verdict.reason, &verdict.message, generation, now);
    if stated.first() == Some(&next) {
        return None;
    }
    all.push(next);
    let mut object = object.clone();
    let status = object.as_object_mut()?.entry("status").or_insert_with(|| Value::Object(Map::new()));
    status.as_object_mut()?.insert("conditions".to_owned(), all.into());
    Some(object)
}
