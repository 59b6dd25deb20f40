//! A route's status as JSON (Gateway API, `RouteStatus`): one entry for each parent Service. Entries of other
//! controllers are kept.

use super::stamp::condition;
use crate::translate::{ParentStatus, RouteStatus};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The name under which the mesh reports on routes and policies.
pub(super) const CONTROLLER: &str = "outrigger.dev/mesh";

/// The object with this status; nothing if it says so already.
pub(super) fn with_status(object: &Value, status: &RouteStatus, now: Timestamp) -> Option<Value> {
    let before = object.pointer("/status/parents").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_ours = |entry: &&Value| entry.get("controllerName").is_some_and(|name| name == CONTROLLER);
    let others = before.iter().filter(|entry| !is_ours(entry)).cloned();
    let ours = status.parents.iter().map(|parent| {
        let reference = parent_ref(parent);
        let known = before.iter().filter(is_ours).find(|entry| entry.get("parentRef") == Some(&reference));
        let conditions = known.and_then(|entry| entry.get("conditions"));
        let stated =
            [("Accepted", &parent.accepted), ("ResolvedRefs", &parent.resolved)].map(|(kind, it)| {
                condition(conditions, kind, it.holds, it.reason, &it.message, status.generation, now)
            });
        json!({ "parentRef": reference, "controllerName": CONTROLLER, "conditions": stated })
    });
    let parents: Vec<Value> = ours.chain(others).collect();
    if parents.as_slice() == before {
        return None;
    }
    let mut object = object.clone();
    let fields = object.as_object_mut()?;
    let status = fields.entry("status").or_insert_with(|| Value::Object(Map::new()));
    status.as_object_mut()?.insert("parents".to_owned(), parents.into());
    Some(object)
}

fn parent_ref(parent: &ParentStatus) -> Value {
    let mut reference = json!({
        "group": "",
        "kind": "Service",
        "namespace": parent.service.namespace.as_str(),
        "name": parent.service.name.as_str(),
    });
    if let Some(fields) = reference.as_object_mut() {
        if let Some(port) = parent.port {
            fields.insert("port".to_owned(), port.number().into());
        }
        if let Some(section) = &parent.section {
            fields.insert("sectionName".to_owned(), section.as_str().into());
        }
    }
    reference
}
