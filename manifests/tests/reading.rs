//! What the control plane gets to read: defaults applied, references resolved, nothing optional that has an answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use manifests::field::{PathPattern, TextPattern};
use manifests::route::{BackendRef, HttpRoute, NamedPattern, ParentRef, Retry};
use manifests::service::{Service, ServicePort, TargetPort};
use manifests::slice::EndpointSlice;
use manifests::workload::Workload;
use manifests::{Diagnostic, Kind, Object, Severity};
use mesh_names::{AppProtocol, Port};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

fn taken(kind: Kind, value: Value) -> (Object, Vec<Diagnostic>) {
    let reading = Object::read(kind, value);
    let problems: Vec<String> = reading.diagnostics.iter().map(ToString::to_string).collect();
    (reading.object.unwrap_or_else(|| panic!("{}", problems.join("\n"))), reading.diagnostics)
}

fn service(value: Value) -> Service {
    let (Object::Service(service), _) = taken(Kind::Service, value) else { panic!("a Service") };
    service
}

fn route(spec: Value) -> (HttpRoute, Vec<Diagnostic>) {
    let value = json!({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec});
    let (Object::HttpRoute(route), warnings) = taken(Kind::HttpRoute, value) else { panic!("a route") };
    (route, warnings)
}

fn slice(value: Value) -> (EndpointSlice, Vec<Diagnostic>) {
    let (Object::EndpointSlice(slice), warnings) = taken(Kind::EndpointSlice, value) else {
        panic!("a slice")
    };
    (slice, warnings)
}

fn workload(value: Value) -> Workload {
    let (Object::Workload(workload), _) = taken(Kind::Workload, value) else { panic!("a Workload") };
    workload
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

#[test]
fn a_service_is_read_with_kubernetes_defaults() {
    let read = service(json!({
        "metadata": {"name": "front"},
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "ports": [
            {"name": "a", "port": 80},
            {"name": "b", "port": 81, "targetPort": 8081, "appProtocol": "kubernetes.io/h2c"},
            {"name": "c", "port": 82, "targetPort": "web", "protocol": "TCP"},
            {"name": "d", "port": 53, "protocol": "UDP"},
        ]},
    }));
    assert_eq!(read.name.to_string(), "default/front");
    assert_eq!(
        read.cluster_ips,
        ["10.0.0.1".parse::<std::net::IpAddr>().unwrap(), "fd00::1".parse().unwrap()]
    );
    let expected = |name: &str, number, app_protocol, target| ServicePort {
        port: port(number),
        name: name.to_owned(),
        app_protocol,
        target,
    };
    assert_eq!(
        read.ports,
        [
            expected("a", 80, AppProtocol::Detect, TargetPort::Number(port(80))),
            expected("b", 81, AppProtocol::H2c, TargetPort::Number(port(8081))),
            expected("c", 82, AppProtocol::Detect, TargetPort::Name("web".to_owned())),
        ]
    );
}

#[test]
fn a_service_without_selector_selects_nothing() {
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let with = |selector: Value| {
        service(json!({"metadata": {"name": "a"}, "spec": {"selector": selector, "ports": [{"port": 80}]}}))
    };
    assert!(with(json!({"app": "a"})).selects(&labels(&[("app", "a"), ("version", "v1")])));
    assert!(!with(json!({"app": "a", "version": "v2"})).selects(&labels(&[("app", "a"), ("version", "v1")])));
    assert!(!with(json!({})).selects(&labels(&[("app", "a")])));
}

#[test]
fn a_route_is_read_with_the_gateway_apis_defaults() {
    let (route, warnings) = route(json!({
        "parentRefs": [{"kind": "Service", "group": "", "name": "orders"}, {"name": "edge", "namespace": "infra"}],
        "rules": [{"backendRefs": [{"name": "orders", "port": 80}]}],
    }));
    assert_eq!(warnings, []);
    assert_eq!(
        route.parents,
        [
            ParentRef::Service { service: "shop/orders".parse().unwrap(), port: None, section: None },
            ParentRef::Gateway {
                namespace: "infra".parse().unwrap(),
                name: "edge".parse().unwrap(),
                port: None,
                section: None,
            },
        ]
    );
    let rule = &route.rules[0];
    assert_eq!(rule.matches.len(), 1);
    assert_eq!(rule.matches[0].path, PathPattern::Prefix("/".to_owned()));
    let backend = BackendRef { service: "shop/orders".parse().unwrap(), port: port(80), weight: 1 };
    assert_eq!(rule.backends, [backend]);
    assert_eq!((rule.request_timeout, rule.backend_request_timeout, &rule.retry), (None, None, &None));
}

#[test]
fn every_condition_and_policy_of_a_rule_is_read() {
    let (route, warnings) = route(json!({
        "parentRefs": [{"kind": "Service", "name": "orders", "port": 80, "sectionName": "http"}],
        "rules": [{
            "matches": [{
                "path": {"type": "RegularExpression", "value": "/[0-9]+"},
                "method": "POST",
                "headers": [{"name": "X-Canary", "value": "yes"}],
                "queryParams": [{"name": "Q", "type": "RegularExpression", "value": "a|b"}],
            }, {"path": {"type": "Exact", "value": "/a/"}}, {"path": {"type": "PathPrefix", "value": "/b/"}}],
            "timeouts": {"request": "0s", "backendRequest": "1s500ms"},
            "retry": {"codes": [500, 503], "attempts": 0, "backoff": "25ms"},
        }],
    }));
    assert_eq!(warnings, []);
    let rule = &route.rules[0];
    let [first, exact, prefix] = rule.matches.as_slice() else { panic!("{:?}", rule.matches) };
    let canary = NamedPattern { name: "x-canary".to_owned(), value: TextPattern::Exact("yes".to_owned()) };
    let param = NamedPattern { name: "Q".to_owned(), value: TextPattern::Regex("a|b".to_owned()) };
    assert_eq!(first.path, PathPattern::Regex("/[0-9]+".to_owned()));
    assert_eq!(
        (first.method.as_deref(), &first.headers[..], &first.query_params[..]),
        (Some("POST"), &[canary][..], &[param][..])
    );
    assert_eq!(
        (&exact.path, &prefix.path),
        (&PathPattern::Exact("/a/".to_owned()), &PathPattern::Prefix("/b".to_owned()))
    );
    assert_eq!(rule.request_timeout, Some(Duration::ZERO));
    assert_eq!(rule.backend_request_timeout, Some(Duration::from_millis(1500)));
    let retry = Retry { codes: vec![500, 503], attempts: 0, backoff: Some(Duration::from_millis(25)) };
    assert_eq!(rule.retry, Some(retry));
}

#[test]
fn what_the_mesh_does_not_do_is_kept_with_its_rule() {
    let (route, warnings) = route(json!({
        "parentRefs": [{"kind": "Service", "name": "orders"}],
        "rules": [
            {"matches": [{"path": {"value": "/a"}}], "backendRefs": [{"name": "orders", "port": 80}]},
            {"filters": [{"type": "CORS"}], "backendRefs": [{"name": "orders", "port": 80}]},
        ],
    }));
    assert!(!route.is_supported());
    assert_eq!(route.rules[0].unsupported, []);
    assert_eq!(route.rules[1].unsupported[0].path.to_string(), "spec.rules[1].filters[0]");
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].severity, Severity::Warning);
}

#[test]
fn endpoints_are_read_as_kubernetes_defines_their_conditions() {
    let endpoint = |conditions: Value| json!({"addresses": ["10.0.0.1"], "conditions": conditions});
    let (slice, warnings) = slice(json!({
        "metadata": {"name": "s", "namespace": "shop", "labels": {"kubernetes.io/service-name": "orders"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.1"], "zone": "a", "targetRef": {"kind": "Workload", "name": "orders-1"}},
            endpoint(json!({"ready": null})),
            endpoint(json!({"ready": false})),
            endpoint(json!({"ready": false, "serving": true, "terminating": true})),
        ],
        "ports": [{"name": "http", "port": 8080, "appProtocol": "http"}],
    }));
    assert_eq!(warnings, []);
    assert_eq!(slice.service, Some("shop/orders".parse().unwrap()));
    let states: Vec<_> =
        slice.endpoints.iter().map(|it| (it.is_ready, it.is_serving, it.is_terminating)).collect();
    assert_eq!(
        states,
        [(true, true, false), (true, true, false), (false, false, false), (false, true, true)]
    );
    let target = slice.endpoints[0].target.as_ref().unwrap();
    assert_eq!(
        (target.kind.as_str(), target.namespace.as_str(), target.name.as_str()),
        ("Workload", "shop", "orders-1")
    );
    assert_eq!(slice.endpoints[0].zone.as_deref(), Some("a"));
    assert_eq!(slice.ports[0].port, port(8080));
}

#[test]
fn a_workload_with_a_sidecar_is_ready_once_it_says_so() {
    let with = |inbound: Value, status: Value| {
        workload(json!({
            "metadata": {"name": "orders-1", "namespace": "shop"},
            "spec": {"address": "127.0.0.1", "inboundPort": inbound, "ports": [{"port": 80, "name": "web", "appProtocol": "grpc"}]},
            "status": status,
        }))
    };
    let ready = |status: &str| {
        json!({"conditions": [{
            "type": "Ready", "status": status, "reason": "Registered", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]})
    };
    assert!(with(json!(null), json!(null)).is_ready);
    assert!(!with(json!(15008), json!(null)).is_ready);
    assert!(with(json!(15008), ready("True")).is_ready);
    assert!(!with(json!(null), ready("False")).is_ready);
    let read = with(json!(15008), ready("True"));
    assert_eq!(read.service_account.as_str(), "default");
    assert_eq!((read.inbound_port, read.ports[0].port), (Some(port(15008)), port(80)));
    assert_eq!((read.ports[0].name.as_deref(), read.ports[0].app_protocol), (Some("web"), AppProtocol::Grpc));
}

#[test]
fn what_the_server_writes_into_metadata_is_read_back() {
    let (object, warnings) = taken(
        Kind::Namespace,
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": "demo", "uid": "1", "resourceVersion": "7", "generation": 3, "creationTimestamp": "1970-01-01T00:00:01Z",
                "managedFields": [{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "time": "1970-01-01T00:00:01Z",
                                   "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}}}],
            },
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        }),
    );
    assert_eq!(warnings, []);
    assert_eq!(object.metadata().generation, 3);
    assert_eq!(object.metadata().created.unwrap().as_second(), 1);
}

#[test]
fn a_secret_keeps_its_contents_to_itself() {
    let (Object::Secret(secret), _) = taken(
        Kind::Secret,
        json!({"metadata": {"name": "keys"}, "data": {"a": "aGlkZGVu", "b": ""}, "stringData": {"a": "hidden too"}}),
    ) else {
        panic!("a Secret")
    };
    assert_eq!(secret.data["a"], b"hidden too");
    assert!(!format!("{secret:?}").contains("hidden"), "{secret:?}");
}

#[test]
fn an_object_of_another_kind_than_its_url_is_refused() {
    let value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    let found = Object::from_json(Kind::ConfigMap, value).unwrap_err();
    assert_eq!(
        found[0].to_string(),
        "ConfigMap a: kind: it is `Secret`, and the object is read as `ConfigMap`; write `ConfigMap`"
    );
}

#[test]
fn what_was_stored_is_read_as_it_was_checked_and_unknown_fields_are_passed_over() {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"selector": {"app": "orders"}, "ports": [{"port": 80, "targetPort": "web", "appProtocol": null}]},
    });
    let checked = Object::from_json(Kind::Service, service.clone()).unwrap();
    assert_eq!(Object::of_stored(Kind::Service, &service), Ok(checked.clone()), "null is not given");
    let mut later = service.clone();
    later["spec"]["later"] = json!({"mode": "New"});
    assert!(Object::from_json(Kind::Service, later.clone()).is_err());
    assert_eq!(Object::of_stored(Kind::Service, &later), Ok(checked));
    let mut wrong = service;
    wrong["spec"]["ports"] = json!([{"port": 0}]);
    let found = Object::of_stored(Kind::Service, &wrong).unwrap_err();
    assert_eq!(found, Object::from_json(Kind::Service, wrong).unwrap_err());
}
