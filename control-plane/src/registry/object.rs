//! A registered Workload as JSON: made of what its sidecar announced, keeping what the server and people added.

use super::leases::{LOST_GRACE, SILENT_AFTER, Standing, Trouble};
use crate::controller::stamp;
use jiff::Timestamp;
use manifests::kind::workload::{BY_SIDECAR, REGISTERED_BY};
use mesh_names::{ServiceAccount, WorkloadName};
use mesh_protocol::announcement::Announcement;
use mesh_protocol::{Locality, Weight};
use serde_json::{Map, Value, json};

/// The condition on a sidecar that refuses its configuration or does not acknowledge it; only there once that was so.
const CONFIGURATION_APPLIED: &str = "ConfigurationApplied";
/// The reason of the condition `Ready` while a workload drains for good.
pub(crate) const LEAVING: &str = "Leaving";
/// That of a workload whose sidecar is gone.
const LOST: &str = "Lost";

/// The control plane that has a registered workload; empty where there is only one.
pub(super) fn control_plane(object: &Value) -> &str {
    object.pointer("/status/controlPlane").and_then(Value::as_str).unwrap_or_default()
}

/// Whether a registered workload's sidecar is known to be gone.
pub(super) fn is_lost(object: &Value) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|it| it.get("type").is_some_and(|it| it == "Ready"));
    ready.is_some_and(|it| it.get("reason").is_some_and(|it| it == LOST))
}

/// The object as another control plane's; nothing if it is already.
pub(super) fn adopted(before: &Value, control_plane: &str) -> Option<Value> {
    let mut object = before.clone();
    let status = object.as_object_mut()?.entry("status").or_insert_with(|| json!({}));
    status.as_object_mut()?.insert("controlPlane".to_owned(), control_plane.into());
    (object != *before).then_some(object)
}

/// What is known of a workload whose sidecar has been heard.
pub(super) struct Word<'a> {
    /// What its sidecar said.
    pub(super) announcement: &'a Announcement,
    /// Whose it is.
    pub(super) account: &'a ServiceAccount,
    /// Whether it takes traffic.
    pub(super) standing: Standing,
    /// Why its sidecar has not applied its configuration, where it has not.
    pub(super) trouble: Option<&'a Trouble>,
}

/// The object to store for a sidecar's word to the control plane `here`; nothing if `before` says the same.
pub(super) fn registered(
    name: &WorkloadName,
    word: &Word<'_>,
    here: &str,
    before: Option<&Value>,
    now: Timestamp,
) -> Option<Value> {
    let Word { announcement, account, standing, trouble } = word;
    let mut annotations = before
        .and_then(|it| it.get("metadata")?.get("annotations")?.as_object())
        .cloned()
        .unwrap_or_default();
    annotations.insert(REGISTERED_BY.to_owned(), BY_SIDECAR.into());
    let mut object = json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "Workload",
        "metadata": {
            "name": name.name.as_str(),
            "namespace": name.namespace.as_str(),
            "labels": announcement.labels,
            "annotations": annotations,
        },
        "spec": spec(announcement, account),
    });
    match before {
        None => stamp::born(&mut object, now),
        Some(before) => stamp::succeed(&mut object, before),
    }
    let generation = generation(&object);
    let mut status = with_condition(before, *standing, &announcement.reason, generation, now);
    applied(&mut status, *trouble, generation, now);
    if let Some(fields) = status.as_object_mut().filter(|_| !here.is_empty()) {
        fields.insert("controlPlane".to_owned(), here.into());
    }
    object.as_object_mut()?.insert("status".to_owned(), status);
    (before != Some(&object)).then_some(object)
}

/// The object with its condition saying that its sidecar is gone; nothing if it says so already.
pub(super) fn silenced(before: &Value, now: Timestamp) -> Option<Value> {
    let mut object = before.clone();
    let status = with_condition(Some(before), Standing::Lost, "", generation(before), now);
    object.as_object_mut()?.insert("status".to_owned(), status);
    (object != *before).then_some(object)
}

/// Says whether the sidecar has applied its configuration, where it has not, and where that is over.
fn applied(status: &mut Value, trouble: Option<&Trouble>, generation: i64, now: Timestamp) {
    let before = status.get("conditions").and_then(Value::as_array);
    let is_it = |it: &&Value| it.get("type").is_some_and(|kind| kind == CONFIGURATION_APPLIED);
    if trouble.is_none() && !before.into_iter().flatten().any(|it| is_it(&it)) {
        return;
    }
    let (reason, message) = match trouble {
        None => ("Applied", "its sidecar has applied what it was sent".to_owned()),
        Some(Trouble::Refused(what)) => ("Refused", what.clone()),
        Some(Trouble::Silent) => {
            let seconds = SILENT_AFTER.as_secs();
            (
                "Unacknowledged",
                format!("its sidecar has not acknowledged what it was sent {seconds} s ago or longer"),
            )
        }
    };
    let known = status.get("conditions");
    let holds = trouble.is_none();
    let condition = stamp::condition(known, CONFIGURATION_APPLIED, holds, reason, &message, generation, now);
    let others = known.and_then(Value::as_array).into_iter().flatten().filter(|it| !is_it(it)).cloned();
    let conditions: Vec<Value> = others.chain([condition]).collect();
    if let Some(fields) = status.as_object_mut() {
        fields.insert("conditions".to_owned(), conditions.into());
    }
}

fn spec(announcement: &Announcement, account: &ServiceAccount) -> Value {
    let ports = announcement.ports.iter().map(|port| {
        let mut entry = Map::new();
        entry.insert("port".to_owned(), port.port.number().into());
        if !port.name.is_empty() {
            entry.insert("name".to_owned(), port.name.as_str().into());
        }
        if port.app_protocol != mesh_names::AppProtocol::Detect {
            entry.insert("appProtocol".to_owned(), port.app_protocol.as_str().into());
        }
        Value::Object(entry)
    });
    let mut spec = json!({
        "address": announcement.address.to_string(),
        "inboundPort": announcement.inbound_port.number(),
        "serviceAccount": account.as_str(),
    });
    if let Some(fields) = spec.as_object_mut() {
        let ports: Vec<_> = ports.collect();
        if !ports.is_empty() {
            fields.insert("ports".to_owned(), ports.into());
        }
        let Locality { region, zone, subzone } = &announcement.locality;
        for (field, part) in [("region", region), ("zone", zone), ("subzone", subzone)] {
            if let Some(part) = part {
                fields.insert(field.to_owned(), part.as_str().into());
            }
        }
        if announcement.weight != Weight::default() {
            fields.insert("weight".to_owned(), announcement.weight.number().into());
        }
    }
    spec
}

/// `why` is what the sidecar says of an application that does not take traffic.
fn with_condition(
    before: Option<&Value>,
    standing: Standing,
    why: &str,
    generation: i64,
    now: Timestamp,
) -> Value {
    let status = before.and_then(|it| it.get("status")?.as_object()).cloned();
    let mut status = status.unwrap_or_default();
    let (holds, reason, message) = match standing {
        Standing::Ready => (true, "Connected", "its sidecar is connected and wants traffic".to_owned()),
        Standing::NotReady if !why.is_empty() => (
            false,
            "Unhealthy",
            format!("its sidecar is connected and finds its application not well: {why}"),
        ),
        Standing::NotReady => (
            false,
            "NotReady",
            "its sidecar is connected and its application does not accept connections yet".to_owned(),
        ),
        Standing::Leaving => (false, LEAVING, "its sidecar drains: it finishes what it has".to_owned()),
        Standing::Lost => {
            let grace = LOST_GRACE.as_secs();
            (false, LOST, format!("its sidecar's stream ended and did not come back within {grace} s"))
        }
    };
    let others = status.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let others = others.filter(|it| it.get("type").is_none_or(|kind| kind != "Ready")).cloned();
    let ready = stamp::condition(status.get("conditions"), "Ready", holds, reason, &message, generation, now);
    let conditions: Vec<Value> = std::iter::once(ready).chain(others).collect();
    status.insert("conditions".to_owned(), conditions.into());
    Value::Object(status)
}

fn generation(object: &Value) -> i64 {
    object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1)
}
