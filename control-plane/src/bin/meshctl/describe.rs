//! `meshctl describe`: one object with what belongs to it, for reading.

use crate::Place;
use crate::client::{Client, Form};
use crate::failure::Failure;
use crate::get::yaml;
use crate::paths::{Resource, escaped};
use crate::table::Table;
use clap::Args;
use manifests::Kind;
use serde_json::Value;
use std::io::Write;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The kind: service, httproute, workload …
    kind: String,
    /// The object's name
    name: String,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(
    arguments: &Arguments,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let kind = Resource::named(&arguments.kind)?;
    let namespace = arguments.place.namespace(client);
    let object = client.get(&kind.object(&namespace, &arguments.name), Form::Objects).await?;
    out.write_all(describe(&object).as_bytes())?;
    if kind == Resource::Stored(Kind::Service) {
        let selector = format!("kubernetes.io/service-name={}", arguments.name);
        let slices = Resource::Stored(Kind::EndpointSlice).collection(Some(&namespace));
        let slices =
            client.get(&format!("{slices}?labelSelector={}", escaped(&selector)), Form::Objects).await?;
        out.write_all(endpoints(&slices).as_bytes())?;
    }
    Ok(())
}

fn describe(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let mut lines = String::new();
    for (title, pointer) in [
        ("Kind", "/kind"),
        ("Name", "/metadata/name"),
        ("Namespace", "/metadata/namespace"),
        ("Created", "/metadata/creationTimestamp"),
    ] {
        if let Some(value) = text(pointer) {
            lines.push_str(&format!("{:<12}{value}\n", format!("{title}:")));
        }
    }
    for (title, pointer) in [("Labels", "/metadata/labels"), ("Annotations", "/metadata/annotations")] {
        let pairs = object.pointer(pointer).and_then(Value::as_object);
        for (index, (key, value)) in pairs.into_iter().flatten().enumerate() {
            let title = if index == 0 { format!("{title}:") } else { String::new() };
            lines.push_str(&format!("{title:<12}{key}={}\n", value.as_str().unwrap_or_default()));
        }
    }
    for (title, name) in [("Spec", "spec"), ("Data", "data")] {
        if let Some(section) = object.get(name) {
            lines.push_str(&format!("{title}:\n{}", indented(&yaml(section))));
        }
    }
    let mut conditions = Table::new(&["CONDITION", "STATUS", "REASON", "MESSAGE"]);
    gather_conditions(object.get("status").unwrap_or(&Value::Null), &mut conditions);
    if !conditions.rows.is_empty() {
        lines.push_str(&format!("Conditions:\n{}", indented(&conditions.render())));
    } else if let Some(status) = object.get("status") {
        lines.push_str(&format!("Status:\n{}", indented(&yaml(status))));
    }
    lines
}

/// Every condition below `value`, wherever the kind keeps them (`status.conditions`, `status.parents[].conditions`).
fn gather_conditions(value: &Value, table: &mut Table) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match (name.as_str(), value) {
            ("conditions", Value::Array(conditions)) => {
                for condition in conditions {
                    let cell = |name: &str| {
                        condition.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
                    };
                    table.rows.push(vec![cell("type"), cell("status"), cell("reason"), cell("message")]);
                }
            }
            (_, value) => gather_conditions(value, table),
        }),
        Value::Array(items) => items.iter().for_each(|item| gather_conditions(item, table)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn endpoints(slices: &Value) -> String {
    let mut table = Table::new(&["ADDRESS", "READY", "WORKLOAD", "ZONE"]);
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for slice in list(slices, "items") {
        for endpoint in list(&slice, "endpoints") {
            let text =
                |pointer: &str| endpoint.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
            let ready = endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
            table.rows.push(vec![
                text("/addresses/0"),
                if ready { "yes".to_owned() } else { "no".to_owned() },
                text("/targetRef/name"),
                text("/zone"),
            ]);
        }
    }
    if table.rows.is_empty() {
        return "Endpoints:  none: no Workload carries the labels of its selector and announces its target port\n".to_owned();
    }
    format!("Endpoints:\n{}", indented(&table.render()))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_told_from_its_name_to_its_conditions() {
        let route = json!({
            "kind": "HTTPRoute",
            "metadata": {"name": "orders", "namespace": "shop", "labels": {"a": "1", "b": "2"}},
            "spec": {"hostnames": ["orders"]},
            "status": {"parents": [{"conditions": [
                {"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound", "message": "no service x"},
            ]}]},
        });
        let expected = "\
Kind:       HTTPRoute
Name:       orders
Namespace:  shop
Labels:     a=1
            b=2
Spec:
  hostnames:
  - orders
Conditions:
  CONDITION      STATUS   REASON            MESSAGE
  ResolvedRefs   False    BackendNotFound   no service x
";
        assert_eq!(describe(&route), expected);
    }

    #[test]
    fn endpoints_say_whether_they_are_ready() {
        let slices = json!({"items": [{"endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": false}, "targetRef": {"name": "orders-1"}},
        ]}]});
        assert!(endpoints(&slices).contains("10.0.0.1   no      orders-1   -"), "{}", endpoints(&slices));
        assert!(endpoints(&json!({})).contains("none"));
    }
}
