//! Whatever the history, incremental results equal a compilation from nothing.

use super::fixture::{change, deletion};
use super::*;
use manifests::kind::slice::{MANAGED_BY, MANAGED_BY_LABEL};
use manifests::{Kind, Object};
use mesh_names::TrustDomain;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everything that is compiled, by what it is called.
type Results = BTreeMap<String, String>;

fn compile(index: &Index, dirty: &Dirty, book: &mut AddressBook, results: &mut Results) {
    let mut put = |name: String, value: Option<String>| match value {
        Some(value) => drop(results.insert(name, value)),
        None => drop(results.remove(&name)),
    };
    match dirty {
        Dirty::Service(name) => {
            put(format!("service {name}"), compile_service(index, name).map(|it| format!("{it:?}")))
        }
        Dirty::Workload(name) => {
            put(format!("workload {name}"), compile_workload(index, name).map(|it| format!("{it:?}")))
        }
        Dirty::Route(name) => {
            put(format!("route {name}"), compile_route_status(index, name).map(|it| format!("{it:?}")))
        }
        Dirty::Endpoints(name) => {
            let endpoints = compile_endpoints(index, name);
            book.set_endpoints(name, &endpoints);
            put(
                format!("ready {name}"),
                judge_endpoints(index, name, &endpoints).map(|it| format!("{it:?}")),
            );
            let endpoints = Some(endpoints).filter(|it| !it.is_empty());
            put(format!("endpoints {name}"), endpoints.map(|it| format!("{it:?}")));
            let ports = judge_target_ports(index, name).map(|it| format!("{it:?}"));
            put(format!("target ports {name}"), ports);
            let (slices, _) = derive_slices(index, name);
            let slices = Some(slices).filter(|it| !it.is_empty());
            put(format!("slices {name}"), slices.map(|it| format!("{it:?}")));
        }
        Dirty::Policy(name) => {
            put(format!("policy {name}"), compile_policy_status(index, name).map(|it| format!("{it:?}")))
        }
        Dirty::PeerAuthentication(name) => {
            let verdict = judge_peer_authentication(index, name).map(|it| format!("{it:?}"));
            put(format!("authentication {}/{}", name.namespace, name.name), verdict)
        }
        Dirty::External(name) => {
            put(format!("external {name}"), judge_external(index, name).map(|it| format!("{it:?}")))
        }
        Dirty::ExternalHost(host) => {
            put(format!("host {host}"), compile_external_host(index, host).map(|it| format!("{it:?}")))
        }
        Dirty::Mesh => put("mesh".to_owned(), Some(format!("{:?}", compile_mesh(index)))),
        Dirty::Address(address) => book.touch(*address),
    }
}

/// What is at each address that a step has touched.
fn compile_addresses(index: &Index, book: &mut AddressBook, results: &mut Results) {
    for address in book.take_touched() {
        match book.compile(index, address) {
            Some(known) => drop(results.insert(format!("address {address}"), format!("{known:?}"))),
            None => drop(results.remove(&format!("address {address}"))),
        }
    }
}

fn from_nothing(index: &Index) -> Results {
    let (mut results, mut book) = (Results::new(), AddressBook::default());
    for dirty in index.everything() {
        compile(index, &dirty, &mut book, &mut results);
    }
    compile_addresses(index, &mut book, &mut results);
    results
}

const NAMESPACES: [&str; 2] = ["shop", "billing"];
const SERVICES: [&str; 3] = ["web", "orders", "web2"];

fn service() -> impl Strategy<Value = Value> {
    let port = prop_oneof![Just(json!(8080)), Just(json!("http")), Just(json!(9090))];
    let address = proptest::option::of(1u8..3);
    (0usize..2, 0usize..3, 0usize..4, proptest::collection::btree_map(80u16..83, port, 1..3), address)
        .prop_map(|(namespace, name, app, ports, address)| {
            let ports: Vec<_> = ports
                .into_iter()
                .map(|(port, target)| json!({"name": format!("p{port}"), "port": port, "targetPort": target}))
                .collect();
            let mut spec = json!({"ports": ports});
            if app < 3 {
                spec["selector"] = json!({"app": SERVICES[app]});
            }
            if let Some(address) = address {
                spec["clusterIP"] = json!(format!("240.240.0.{address}"));
            }
            json!({"apiVersion": "v1", "kind": "Service",
                   "metadata": {"namespace": NAMESPACES[namespace], "name": SERVICES[name]}, "spec": spec})
        })
}

fn workload() -> impl Strategy<Value = Value> {
    (0usize..2, 0usize..4, 0usize..3, any::<bool>(), any::<bool>(), 0u8..3).prop_map(
        |(namespace, name, app, meshed, ready, address)| {
            let status = if ready { "True" } else { "False" };
            let mut spec = json!({"address": format!("10.0.0.{address}"), "serviceAccount": SERVICES[app],
                "ports": [{"port": 8080, "name": "http"}]});
            if meshed {
                spec["inboundPort"] = json!(15008);
            }
            json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Workload",
                   "metadata": {"namespace": NAMESPACES[namespace], "name": format!("w{name}"),
                                "labels": {"app": SERVICES[app]}},
                   "spec": spec,
                   "status": {"conditions": [{"type": "Ready", "status": status, "reason": "Test", "message": "",
                                              "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
        },
    )
}

fn route() -> impl Strategy<Value = Value> {
    let parent = (0usize..2, 0usize..3, proptest::option::of(80u16..83)).prop_map(|(namespace, name, port)| {
        let mut parent = json!({"group": "", "kind": "Service", "name": SERVICES[name], "namespace": NAMESPACES[namespace]});
        if let Some(port) = port {
            parent["port"] = json!(port);
        }
        parent
    });
    let backend = (0usize..2, 0usize..3, 80u16..84, 0u32..3).prop_map(|(namespace, name, port, weight)| {
        json!({"name": SERVICES[name], "namespace": NAMESPACES[namespace], "port": port, "weight": weight})
    });
    let rule = (proptest::collection::vec(backend, 0..3), proptest::sample::select(vec!["/", "/a", "/a/b"])).prop_map(
        |(backends, path)| {
            let name = format!("rule{}", backends.len());
            json!({"name": name, "matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": backends})
        },
    );
    (0usize..2, 0usize..3, proptest::collection::vec(parent, 1..3), proptest::collection::vec(rule, 1..3))
        .prop_map(|(namespace, name, mut parents, rules)| {
            parents.dedup();
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                   "metadata": {"namespace": NAMESPACES[namespace], "name": format!("r{name}")},
                   "spec": {"parentRefs": parents, "rules": rules}})
        })
}

fn slice() -> impl Strategy<Value = Value> {
    (0usize..2, 0usize..3, 0usize..3, proptest::option::of(0u8..4), any::<bool>(), any::<bool>()).prop_map(
        |(namespace, name, service, workload, ready, derived)| {
            let mut endpoint = json!({"addresses": ["10.1.0.1"], "conditions": {"ready": ready}});
            if let Some(workload) = workload {
                endpoint["targetRef"] = json!({"kind": "Workload", "name": format!("w{workload}"), "namespace": NAMESPACES[namespace]});
            }
            let mut labels = json!({"kubernetes.io/service-name": SERVICES[service]});
            if derived {
                labels[MANAGED_BY_LABEL] = json!(MANAGED_BY);
            }
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                   "metadata": {"namespace": NAMESPACES[namespace], "name": format!("s{name}"), "labels": labels},
                   "addressType": "IPv4", "ports": [{"name": "p80", "port": 8080}, {"name": "p81", "port": 8081}],
                   "endpoints": [endpoint]})
        },
    )
}

fn mtls() -> impl Strategy<Value = Value> {
    let mode = || proptest::sample::select(vec!["Strict", "Permissive"]);
    (mode(), proptest::collection::btree_map(8080u16..8083, mode(), 0..3)).prop_map(|(mode, ports)| {
        let ports: Vec<_> =
            ports.into_iter().map(|(port, mode)| json!({"port": port, "mode": mode})).collect();
        json!({"mode": mode, "ports": ports})
    })
}

fn mesh_config() -> impl Strategy<Value = Value> {
    (mtls(), proptest::sample::select(vec!["Allow", "RegisteredOnly"])).prop_map(|(mtls, policy)| {
        json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "MeshConfig", "metadata": {"name": "default"},
               "spec": {"egress": {"policy": policy}, "mtls": mtls}})
    })
}

fn peer_authentication() -> impl Strategy<Value = Value> {
    (0usize..2, 0usize..3, 0usize..4, mtls()).prop_map(|(namespace, name, app, mtls)| {
        let mut spec = json!({"mtls": mtls});
        if app < 3 {
            spec["selector"] = json!({"matchLabels": {"app": SERVICES[app]}});
        }
        json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PeerAuthentication",
               "metadata": {"namespace": NAMESPACES[namespace], "name": format!("p{name}")}, "spec": spec})
    })
}

fn external_service() -> impl Strategy<Value = Value> {
    let host = || proptest::sample::select(vec!["a.example.com", "b.example.com", "*.example.com"]);
    let hosts = proptest::collection::btree_set(host(), 1..3);
    (0usize..2, 0usize..3, hosts, proptest::option::of(1u8..3), proptest::option::of(0usize..2)).prop_map(
        |(namespace, name, hosts, address, ca)| {
            let mut spec = json!({"hosts": hosts, "ports": [{"port": 80, "protocol": "http"}]});
            if let Some(address) = address {
                spec["addresses"] = json!([format!("10.1.0.{address}")]);
            }
            if let Some(ca) = ca {
                let bundle = json!({"configMap": {"name": format!("ca{ca}")}});
                spec["ports"][0]["tls"] = json!({"originate": {"caBundle": bundle}});
            }
            json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "ExternalService",
                   "metadata": {"namespace": NAMESPACES[namespace], "name": format!("x{name}")}, "spec": spec})
        },
    )
}

fn traffic_policy() -> impl Strategy<Value = Value> {
    let service = (0usize..3, proptest::option::of(80u16..83)).prop_map(|(name, section)| {
        let mut target = json!({"kind": "Service", "name": SERVICES[name]});
        if let Some(section) = section {
            target["sectionName"] = json!(format!("p{section}"));
        }
        target
    });
    let route = (0usize..3, proptest::option::of(0u8..3)).prop_map(|(name, rule)| {
        let group = "gateway.networking.k8s.io";
        let mut target = json!({"group": group, "kind": "HTTPRoute", "name": format!("r{name}")});
        if let Some(rule) = rule {
            target["sectionName"] = json!(format!("rule{rule}"));
        }
        target
    });
    let targets = || prop_oneof![service.clone(), route.clone()];
    let of_services = proptest::sample::select(vec![
        json!({"loadBalancing": {"policy": "RoundRobin"}}),
        json!({"loadBalancing": {"policy": "Random"}}),
        json!({"concurrency": {"maxRequests": 7}}),
        json!({"rateLimit": {"rules": [{"requests": 5}]}, "circuitBreaker": {"maxRequests": 3}}),
    ]);
    let rules = (proptest::option::of(of_services), 0u8..3);
    (0usize..2, 0usize..3, proptest::collection::vec(targets(), 1..3), rules).prop_map(
        |(namespace, name, mut targets, (of_services, attempts))| {
            targets.dedup();
            let has_route = targets.iter().any(|target| target["kind"] == "HTTPRoute");
            let mut spec = of_services.filter(|_| !has_route).unwrap_or_else(|| json!({}));
            spec["targetRefs"] = json!(targets);
            spec["retry"] = json!({"attempts": attempts});
            json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "TrafficPolicy",
                   "metadata": {"namespace": NAMESPACES[namespace], "name": format!("t{name}")}, "spec": spec})
        },
    )
}

fn config_map() -> impl Strategy<Value = Value> {
    let text = proptest::sample::select(vec!["nothing", "-----BEGIN CERTIFICATE-----\nbroken"]);
    (0usize..2, 0usize..2, text).prop_map(|(namespace, name, text)| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
               "metadata": {"namespace": NAMESPACES[namespace], "name": format!("ca{name}")},
               "data": {"ca.crt": text}})
    })
}

fn object() -> impl Strategy<Value = Change> {
    prop_oneof![
        service(),
        workload(),
        route(),
        slice(),
        mesh_config(),
        peer_authentication(),
        external_service(),
        traffic_policy(),
        config_map()
    ]
    .prop_filter_map("valid", |value| {
        let kind = Kind::from_api_version_kind(value["apiVersion"].as_str()?, value["kind"].as_str()?)?;
        Object::from_json(kind, value).ok().map(change)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn incremental_results_equal_a_full_compile(
        steps in proptest::collection::vec((object(), proptest::bool::weighted(0.3)), 1..50),
    ) {
        let mut index = Index::new(TrustDomain::default());
        let (mut results, mut book) = (from_nothing(&index), AddressBook::default());
        for (change, is_deletion) in steps {
            let change = if is_deletion { deletion(&change) } else { change };
            for dirty in index.apply(change) {
                compile(&index, &dirty, &mut book, &mut results);
            }
            compile_addresses(&index, &mut book, &mut results);
            prop_assert_eq!(&results, &from_nothing(&index));
        }
    }
}

#[test]
fn the_objects_of_the_property_are_valid() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let all = [
        service().boxed(),
        workload().boxed(),
        route().boxed(),
        slice().boxed(),
        mesh_config().boxed(),
        peer_authentication().boxed(),
        external_service().boxed(),
        traffic_policy().boxed(),
        config_map().boxed(),
    ];
    for strategy in all {
        for _ in 0..20 {
            let value = strategy.new_tree(&mut runner).unwrap().current();
            let kind = Kind::from_api_version_kind(
                value["apiVersion"].as_str().unwrap(),
                value["kind"].as_str().unwrap(),
            );
            Object::from_json(kind.unwrap(), value.clone())
                .unwrap_or_else(|found| panic!("{value}: {found:?}"));
        }
    }
}
