//! What the control plane writes into a Service: its virtual addresses, and conditions on them and on what is behind it;
//! and the condition of an ExternalService on what it refers to. A condition is written when there is a problem, and when
//! one is mended: an object that never had one is left alone.

use super::stamp::condition;
use super::virtual_ips::Assignment;
use crate::translate::Verdict;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Whether every selected Workload has the ports the Service leads to.
pub(super) const TARGET_PORTS: &str = "outrigger.dev/TargetPortsResolved";
/// Whether there are endpoints that take traffic.
pub(super) const ENDPOINTS_READY: &str = "outrigger.dev/EndpointsReady";
/// Whether there are Workloads that a PeerAuthentication holds for.
pub(super) const ACCEPTED: &str = "Accepted";
/// Whether what an ExternalService refers to is there.
pub(super) const RESOLVED_REFS: &str = "ResolvedRefs";
/// Whether its virtual addresses are its own.
const VIRTUAL_ADDRESSES: &str = "outrigger.dev/VirtualAddressesAssigned";

/// The object with this condition; nothing if it says so already.
pub(super) fn with_condition(object: &Value, kind: &str, verdict: &Verdict, now: Timestamp) -> Option<Value> {
    let conditions = object.pointer("/status/conditions");
    let is_it = |it: &&Value| it.get("type").is_some_and(|known| known == kind);
    let known = conditions.and_then(Value::as_array).into_iter().flatten();
    let (stated, mut all): (Vec<Value>, Vec<Value>) = known.cloned().partition(|it| is_it(&it));
    if stated.is_empty() && verdict.holds {
        return None;
    }
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let next = condition(conditions, kind, verdict.holds, verdict.reason, &verdict.message, generation, now);
    if stated.first() == Some(&next) {
        return None;
    }
    all.push(next);
    let mut object = object.clone();
    let status = object.as_object_mut()?.entry("status").or_insert_with(|| Value::Object(Map::new()));
    status.as_object_mut()?.insert("conditions".to_owned(), all.into());
    Some(object)
}

/// The object with these virtual addresses, and the condition on them; nothing if it says so already, or if someone has
/// just written other addresses: then that is observed first.
pub(super) fn with_virtual_ips(object: &Value, assignment: &Assignment, now: Timestamp) -> Option<Value> {
    let wanted: Vec<String> = assignment.addresses.iter().map(ToString::to_string).collect();
    let spec = object.get("spec")?.as_object()?;
    let many = spec.get("clusterIPs").and_then(Value::as_array).into_iter().flatten();
    let stored: Vec<&str> = spec.get("clusterIP").into_iter().chain(many).filter_map(Value::as_str).collect();
    let is_other =
        |text: &&str| !text.is_empty() && text.parse().is_ok_and(|it| !assignment.addresses.contains(&it));
    let is_external = spec.get("type").is_some_and(|kind| kind == "ExternalName");
    if is_external || stored.contains(&"None") || stored.iter().any(is_other) {
        return None;
    }
    let mut changed = object.clone();
    if let (Some(first), Some(spec)) =
        (wanted.first(), changed.get_mut("spec").and_then(Value::as_object_mut))
    {
        spec.insert("clusterIP".to_owned(), json!(first));
        spec.insert("clusterIPs".to_owned(), json!(wanted));
    }
    let stated = with_condition(&changed, VIRTUAL_ADDRESSES, &assignment.verdict, now);
    Some(stated.unwrap_or(changed)).filter(|changed| changed != object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(addresses: &[&str]) -> Assignment {
        Assignment {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            verdict: Verdict { holds: true, reason: "Assigned", message: "yes".into() },
        }
    }

    #[test]
    fn addresses_are_written_once_and_never_over_those_of_others() {
        let given = assignment(&["240.240.0.9", "fd6f:7574:7269::9"]);
        let now = Timestamp::UNIX_EPOCH;
        let bare = json!({"metadata": {"generation": 1}, "spec": {"ports": []}});
        let written = with_virtual_ips(&bare, &given, now).unwrap();
        assert_eq!(written["spec"]["clusterIP"], "240.240.0.9");
        assert_eq!(written["spec"]["clusterIPs"], json!(["240.240.0.9", "fd6f:7574:7269::9"]));
        assert_eq!(written["metadata"], bare["metadata"], "no generation: nobody asked for anything new");
        assert_eq!(with_virtual_ips(&written, &given, now), None);
        for spec in
            [json!({"clusterIP": "None"}), json!({"clusterIP": "10.0.0.1"}), json!({"type": "ExternalName"})]
        {
            assert_eq!(with_virtual_ips(&json!({"spec": spec}), &given, now), None, "{spec}");
        }
    }

    #[test]
    fn a_problem_is_said_and_so_is_its_end() {
        let mut given = assignment(&[]);
        given.verdict = Verdict { holds: false, reason: "Exhausted", message: "none left".into() };
        let now = Timestamp::UNIX_EPOCH;
        let said = with_virtual_ips(&json!({"spec": {}}), &given, now).unwrap();
        assert_eq!(said["status"]["conditions"][0]["reason"], "Exhausted");
        assert!(said["spec"].get("clusterIP").is_none());
        let mended = with_virtual_ips(&said, &assignment(&["240.240.0.9"]), now).unwrap();
        assert_eq!(mended["status"]["conditions"][0]["status"], "True");
    }
}
