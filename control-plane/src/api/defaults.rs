//! Fields Kubernetes fills in when a client leaves them out, where people see them: `kubectl describe` prints them, and
//! tools compare with them. Pure. What a missing field means to the mesh is decided in `manifests`, not here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use manifests::Kind;
use serde_json::{Map, Value, json};

/// Fills in what is missing.
pub(crate) fn fill(kind: Kind, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if kind == Kind::Service {
        service(fields);
    }
    if kind == Kind::Secret {
        secret(fields);
    }
}

fn service(fields: &mut Map<String, Value>) {
    let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.entry("type").or_insert_with(|| json!("ClusterIP"));
    spec.entry("sessionAffinity").or_insert_with(|| json!("None"));
    let is_external = spec.get("type") == Some(&json!("ExternalName"));
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        port.entry("protocol").or_insert_with(|| json!("TCP"));
        if let (Some(number), false) = (port.get("port").cloned(), is_external) {
            port.entry("targetPort").or_insert(number);
        }
    }
}

/// Keeps what the control plane has decided when a client that replaces an object leaves it out, as Kubernetes does: a
/// Service's virtual addresses. `clusterIP` is the first of `clusterIPs`; a client may write either.
pub(crate) fn keep(kind: Kind, before: &Value, wanted: &mut Value) {
    if kind != Kind::Service {
        return;
    }
    let Some(spec) = wanted.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let first = |ips: &Value| ips.as_array().and_then(|ips| ips.first()).and_then(text);
    match (spec.get("clusterIP").and_then(text), spec.get("clusterIPs").and_then(first)) {
        (Some(one), Some(first)) if one == first => {}
        (Some(one), _) => drop(spec.insert("clusterIPs".to_owned(), json!([one]))),
        (None, Some(first)) => drop(spec.insert("clusterIP".to_owned(), first.into())),
        (None, None) => {
            let had = before.pointer("/spec/clusterIP").and_then(text).filter(|had| had != "None");
            let is_external = spec.get("type") == Some(&json!("ExternalName"));
            for field in ["clusterIP", "clusterIPs"] {
                let kept = before.get("spec").and_then(|spec| spec.get(field));
                match kept.filter(|_| had.is_some() && !is_external) {
                    Some(kept) => drop(spec.insert(field.to_owned(), kept.clone())),
                    None => drop(spec.remove(field)),
                }
            }
        }
    }
}

/// `stringData` is for writing only: it becomes `data`.
fn secret(fields: &mut Map<String, Value>) {
    fields.entry("type").or_insert_with(|| json!("Opaque"));
    let is_text = |map: &Map<String, Value>| map.values().all(Value::is_string);
    if !fields.get("stringData").and_then(Value::as_object).is_some_and(is_text) {
        return;
    }
    let Some(Value::Object(texts)) = fields.remove("stringData") else { return };
    let data = fields.entry("data").or_insert_with(|| json!({}));
    if let Some(data) = data.as_object_mut() {
        for (key, text) in texts {
            data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_filled_in_as_kubernetes_does_and_only_where_fields_are_missing() {
        let mut object =
            json!({"spec": {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]}});
        fill(Kind::Service, &mut object);
        let filled = json!({"spec": {
            "type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80},
                      {"port": 53, "protocol": "UDP", "targetPort": "dns"}],
        }});
        assert_eq!(object, filled);
        fill(Kind::Service, &mut object);
        assert_eq!(object, filled, "filling in again changes nothing");
    }

    #[test]
    fn virtual_addresses_stay_when_a_client_leaves_them_out_and_go_when_it_says_so() {
        let with = |spec: Value| json!({"spec": spec});
        let had = json!({"clusterIP": "240.240.0.1", "clusterIPs": ["240.240.0.1", "fd00::1"]});
        let headless = json!({"clusterIP": "None", "clusterIPs": ["None"]});
        for (before, wanted, kept) in [
            (&had, json!({}), had.clone()),
            (&had, json!({"clusterIP": ""}), had.clone()),
            (&had, had.clone(), had.clone()),
            (&had, json!({"clusterIP": "None", "clusterIPs": ["240.240.0.1"]}), headless.clone()),
            (
                &had,
                json!({"clusterIPs": ["10.0.0.1"]}),
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}),
            ),
            (&had, json!({"type": "ExternalName"}), json!({"type": "ExternalName"})),
            (&headless, json!({}), json!({})),
            (&json!({}), json!({}), json!({})),
        ] {
            let mut object = with(wanted.clone());
            keep(Kind::Service, &with(before.clone()), &mut object);
            assert_eq!(object, with(kept), "{before} replaced by {wanted}");
        }
    }

    #[test]
    fn texts_of_a_secret_become_data() {
        let mut object = json!({"data": {"a": "eA=="}, "stringData": {"a": "y", "b": "z"}});
        fill(Kind::Secret, &mut object);
        assert_eq!(object, json!({"type": "Opaque", "data": {"a": "eQ==", "b": "eg=="}}));
        let mut wrong = json!({"stringData": {"a": 1}});
        fill(Kind::Secret, &mut wrong);
        assert_eq!(wrong["stringData"], json!({"a": 1}), "what is wrong is left for validation to refuse");
    }
}
