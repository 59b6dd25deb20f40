//! `endpoints`, of every Service: its EndpointSlices, put together.

use super::{Made, age, column};
use crate::api::meta::text;
use crate::store::{Document, Revision, Store, StoreError, Stored};
use jiff::Timestamp;
use manifests::Kind;
use manifests::kind::slice::SERVICE_NAME_LABEL;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The objects of Services.
pub(super) async fn list(
    store: &dyn Store,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<Made, StoreError> {
    let mut services = store.list(Some(Kind::Service), namespace).await?.items;
    services.retain(|service| name.is_none_or(|wanted| wanted == service.key.name));
    let slices = store.list(Some(Kind::EndpointSlice), namespace).await?.items;
    let mut by_service: HashMap<(String, String), Vec<(Revision, Value)>> = HashMap::new();
    for slice in slices {
        let service = service_of(&slice.object);
        if let Some(service) = service.filter(|service| name.is_none_or(|wanted| wanted == service)) {
            let place = (slice.key.namespace, service);
            by_service.entry(place).or_default().push((slice.revision, slice.object.read()));
        }
    }
    let of = |service: &Stored| {
        let place = (service.key.namespace.clone(), service.key.name.clone());
        object(service, by_service.get(&place).map_or(&[], Vec::as_slice))
    };
    Ok(Made { objects: services.iter().map(of).collect(), warnings: Vec::new() })
}

/// Of whose endpoints a slice tells.
fn service_of(slice: &Document) -> Option<String> {
    #[derive(Deserialize)]
    struct Slice {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        labels: HashMap<String, String>,
    }
    slice.part::<Slice>()?.metadata.labels.remove(SERVICE_NAME_LABEL)
}

fn object(service: &Stored, slices: &[(Revision, Value)]) -> Value {
    let newest = slices.iter().map(|(revision, _)| *revision).fold(service.revision, Revision::max);
    let there = service.object.read();
    let mut metadata = json!({
        "name": service.key.name,
        "namespace": service.key.namespace,
        "resourceVersion": newest.to_string(),
        "creationTimestamp": text(&there, "creationTimestamp"),
    });
    if let (Some(fields), Some(labels)) = (metadata.as_object_mut(), there.pointer("/metadata/labels")) {
        fields.insert("labels".into(), labels.clone());
    }
    json!({"metadata": metadata, "subsets": subsets(slices)})
}

/// One for each set of ports; what neither takes requests nor may come to take them is left out.
fn subsets(slices: &[(Revision, Value)]) -> Vec<Value> {
    let mut subsets: Vec<(&Value, Vec<Value>, Vec<Value>)> = Vec::new();
    for (_, slice) in slices {
        let ports = slice.get("ports").unwrap_or(&Value::Null);
        let place = subsets.iter().position(|(known, ..)| *known == ports).unwrap_or_else(|| {
            subsets.push((ports, Vec::new(), Vec::new()));
            subsets.len() - 1
        });
        let Some((_, ready, unready)) = subsets.get_mut(place) else { continue };
        let endpoints = slice.get("endpoints").and_then(Value::as_array);
        for endpoint in endpoints.into_iter().flatten() {
            let says = |condition: &str| endpoint.pointer("/conditions")?.get(condition)?.as_bool();
            // Unknown means ready.
            match (says("ready").unwrap_or(true), says("terminating").unwrap_or(false)) {
                (true, _) => ready.extend(address(endpoint)),
                (false, false) => unready.extend(address(endpoint)),
                (false, true) => {}
            }
        }
    }
    let subset = |(ports, ready, unready): (&Value, Vec<Value>, Vec<Value>)| {
        if ready.is_empty() && unready.is_empty() {
            return None;
        }
        let fields = [
            ("addresses", Value::from(ready)),
            ("notReadyAddresses", unready.into()),
            ("ports", ports.clone()),
        ];
        let said = fields.into_iter().filter(|(_, value)| value.as_array().is_some_and(|it| !it.is_empty()));
        Some(said.map(|(name, value)| (name.to_owned(), value)).collect::<Value>())
    };
    subsets.into_iter().filter_map(subset).collect()
}

/// All addresses of an endpoint lead to the same instance: the first is told, as it is the one that is used.
fn address(endpoint: &Value) -> Option<Value> {
    let mut address = json!({"ip": endpoint.get("addresses")?.get(0)?});
    for field in ["hostname", "nodeName", "targetRef"] {
        if let (Some(fields), Some(value)) = (address.as_object_mut(), endpoint.get(field)) {
            fields.insert(field.to_owned(), value.clone());
        }
    }
    Some(address)
}

pub(super) fn columns() -> Value {
    json!([
        column("Name", "string", "The Service"),
        column("Endpoints", "string", "Where it takes requests"),
        column("Age", "string", "How long there has been the Service"),
    ])
}

pub(super) fn cells(endpoints: &Value, now: Timestamp) -> Vec<Value> {
    let name = text(endpoints, "name").unwrap_or_default();
    vec![name.into(), shown(endpoints).into(), age(endpoints, now)]
}

/// As Kubernetes: three addresses with their ports, then how many more.
fn shown(endpoints: &Value) -> String {
    const SHOWN: usize = 3;
    let mut sockets = Vec::new();
    let list =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    for subset in list(endpoints, "subsets") {
        let ports = list(&subset, "ports");
        for address in list(&subset, "addresses") {
            let ip = address.get("ip").and_then(Value::as_str).unwrap_or_default();
            let bracketed = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            let of_port = |port: &Value| Some(format!("{bracketed}:{}", port.get("port")?));
            if ports.is_empty() {
                sockets.push(ip.to_owned());
            }
            sockets.extend(ports.iter().filter_map(of_port));
        }
    }
    let first = sockets.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    match sockets.len() {
        0 => "<none>".to_owned(),
        1..=SHOWN => first,
        all => format!("{first} + {} more...", all - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Key;

    fn service(object: Value) -> Stored {
        let key = Key::new(Kind::Service, "shop", "web");
        Stored { key, revision: Revision(7), object: Document::of(&object) }
    }

    fn slice(port: u16, endpoints: Value) -> (Revision, Value) {
        (Revision(9), json!({"ports": [{"name": "http", "port": port}], "endpoints": endpoints}))
    }

    #[test]
    fn slices_of_the_same_ports_are_one_subset_and_what_goes_is_left_out() {
        let service = service(json!({"metadata": {"labels": {"a": "b"}}}));
        let reference = json!({"kind": "Workload", "name": "web-1"});
        let first = slice(
            8080,
            json!([
                {"addresses": ["10.0.0.1", "10.0.0.9"], "conditions": {"ready": true}, "targetRef": reference},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "terminating": true}},
                {"addresses": []},
            ]),
        );
        let second = slice(8080, json!([{"addresses": ["fd00::4"]}]));
        let other = slice(9090, json!([{"addresses": ["10.0.0.5"]}]));
        let empty = slice(7070, json!([]));
        let object = object(&service, &[first, second, other, empty]);
        assert_eq!(object["metadata"]["resourceVersion"], "9");
        assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(
            object["subsets"],
            json!([
                {
                    "addresses": [{"ip": "10.0.0.1", "targetRef": reference}, {"ip": "fd00::4"}],
                    "notReadyAddresses": [{"ip": "10.0.0.2"}],
                    "ports": [{"name": "http", "port": 8080}],
                },
                {"addresses": [{"ip": "10.0.0.5"}], "ports": [{"name": "http", "port": 9090}]},
            ])
        );
        assert_eq!(shown(&object), "10.0.0.1:8080,[fd00::4]:8080,10.0.0.5:9090");
    }

    #[test]
    fn a_service_without_endpoints_has_none_and_of_many_three_are_shown() {
        let service = service(json!({}));
        let none = object(&service, &[]);
        assert_eq!((none["subsets"].clone(), shown(&none).as_str()), (json!([]), "<none>"));
        let all: Vec<Value> = (1..=5).map(|n| json!({"addresses": [format!("10.0.0.{n}")]})).collect();
        let many = object(&service, &[slice(80, all.into())]);
        assert_eq!(shown(&many), "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
    }
}
