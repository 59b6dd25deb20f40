//! A TrafficPolicy's status as JSON (Gateway API, `PolicyStatus`): one entry for each target. Entries of other controllers
//! are kept.

use super::route_status::CONTROLLER;
use super::stamp::condition;
use crate::translate::PolicyStatus;
use jiff::Timestamp;
use manifests::traffic_policy::Target;
use serde_json::{Map, Value, json};

/// The object with this status; nothing if it says so already.
pub(super) fn with_status(object: &Value, status: &PolicyStatus, now: Timestamp) -> Option<Value> {
    let before = object.pointer("/status/ancestors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_ours = |entry: &&Value| entry.get("controllerName").is_some_and(|name| name == CONTROLLER);
    let others = before.iter().filter(|entry| !is_ours(entry)).cloned();
    let ours = status.targets.iter().map(|(target, it)| {
        let reference = reference(target);
        let known = before.iter().filter(is_ours).find(|entry| entry.get("ancestorRef") == Some(&reference));
        let conditions = known.and_then(|entry| entry.get("conditions"));
        let stated =
            condition(conditions, "Accepted", it.holds, it.reason, &it.message, status.generation, now);
        json!({ "ancestorRef": reference, "controllerName": CONTROLLER, "conditions": [stated] })
    });
    let ancestors: Vec<Value> = ours.chain(others).collect();
    if ancestors.as_slice() == before {
        return None;
    }
    let mut object = object.clone();
    let fields = object.as_object_mut()?;
    let status = fields.entry("status").or_insert_with(|| Value::Object(Map::new()));
    status.as_object_mut()?.insert("ancestors".to_owned(), ancestors.into());
    Some(object)
}

fn reference(target: &Target) -> Value {
    let (group, kind, namespace, name, section) = match target {
        Target::Service { service, section } => {
            ("", "Service", service.namespace.as_str(), service.name.as_str(), section)
        }
        Target::Route { namespace, name, section } => {
            ("gateway.networking.k8s.io", "HTTPRoute", namespace.as_str(), name.as_str(), section)
        }
    };
    let mut reference = json!({"group": group, "kind": kind, "namespace": namespace, "name": name});
    if let (Some(fields), Some(section)) = (reference.as_object_mut(), section) {
        fields.insert("sectionName".to_owned(), section.as_str().into());
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::Verdict;

    #[test]
    fn each_target_has_its_condition_and_what_others_say_stays() {
        let target = |section: Option<&str>| Target::Service {
            service: "shop/orders".parse().unwrap(),
            section: section.map(str::to_owned),
        };
        let verdict = |holds, reason| Verdict { holds, reason, message: "because".to_owned() };
        let status = PolicyStatus {
            generation: 3,
            targets: vec![
                (target(None), verdict(true, "Accepted")),
                (target(Some("http")), verdict(false, "Conflicted")),
            ],
        };
        let theirs = json!({"ancestorRef": {"name": "orders"}, "controllerName": "example.com/other"});
        let object = json!({"spec": {}, "status": {"ancestors": [theirs]}});
        let said = with_status(&object, &status, Timestamp::UNIX_EPOCH).unwrap();
        let ancestors = &said["status"]["ancestors"];
        assert_eq!(ancestors[0]["conditions"][0]["status"], "True");
        assert_eq!(ancestors[0]["conditions"][0]["observedGeneration"], 3);
        assert_eq!(ancestors[1]["ancestorRef"]["sectionName"], "http");
        assert_eq!(ancestors[1]["conditions"][0]["reason"], "Conflicted");
        assert_eq!(ancestors[2], theirs);
        assert_eq!(with_status(&said, &status, Timestamp::UNIX_EPOCH), None, "it says so already");
    }
}
