//! What people write and what sidecars are told of it.

use super::fixture::{apply, changes, deletion, index};
use super::*;
use mesh_names::ServiceName;
use mesh_protocol::endpoint::{EndpointHealth, Transport};
use mesh_protocol::service::{PathMatch, RouteMatch, ServicePort};
use std::collections::BTreeSet;

const SHOP: &str = r"
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: orders }
spec:
  selector: { app: orders }
  ports: [{ name: http, port: 80, targetPort: web, appProtocol: http }, { name: admin, port: 9000, targetPort: 9000, appProtocol: tcp }]
---
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: orders-v2 }
spec:
  ports: [{ name: http, port: 80 }]
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { namespace: shop, name: orders-1, labels: { app: orders } }
spec:
  address: 10.0.0.1
  inboundPort: 15008
  serviceAccount: orders
  zone: a
  ports: [{ port: 8081, name: web }, { port: 9000 }]
status: { conditions: [{ type: Ready, status: 'True', reason: Connected, message: '', lastTransitionTime: 2026-01-01T00:00:00Z }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { namespace: shop, name: orders-2, labels: { app: orders } }
spec: { address: 10.0.0.2, ports: [{ port: 8082, name: web }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { namespace: shop, name: legacy, labels: { kubernetes.io/service-name: orders-v2 } }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints: [{ addresses: [10.1.0.1] }, { addresses: [10.1.0.2], conditions: { ready: false, serving: true, terminating: true } }]
";

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn route(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ namespace: shop, name: {name} }}\nspec:\n{spec}"
    )
}

fn attached(rules: &str) -> String {
    format!("  parentRefs: [{{ group: '', kind: Service, name: orders }}]\n  rules:\n{rules}")
}

fn port(index: &Index, number: u16) -> ServicePort {
    let service = compile_service(index, &name("shop/orders")).unwrap();
    service.ports.into_iter().find(|port| port.port.number() == number).unwrap()
}

fn status(index: &Index, route: &str) -> RouteStatus {
    let route = RouteName { namespace: "shop".parse().unwrap(), name: route.parse().unwrap() };
    compile_route_status(index, &route).unwrap()
}

fn path(it: &RouteMatch) -> String {
    match &it.path {
        PathMatch::Exact(path) => format!("={path}"),
        PathMatch::Prefix(path) => format!("{path}*"),
        PathMatch::Regex(path) => format!("~{path}"),
    }
}

#[test]
fn endpoints_join_workloads_and_slices_with_identity_and_ports() {
    let index = index(SHOP);
    let endpoints = compile_endpoints(&index, &name("shop/orders"));
    let shown: Vec<_> = endpoints
        .iter()
        .map(|it| {
            let ports: Vec<_> =
                it.ports.iter().map(|p| format!("{}->{}", p.service_port, p.target_port)).collect();
            let transport = match &it.transport {
                Transport::MutualTls { inbound_port, identity } => format!("{inbound_port} {identity}"),
                Transport::Plaintext => "plaintext".to_owned(),
            };
            format!("{} {} {} {transport} {:?}", it.name, it.address, ports.join(","), it.health)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "orders-1 10.0.0.1 80->8081,9000->9000 15008 spiffe://mesh.internal/ns/shop/sa/orders Ready",
            "orders-2 10.0.0.2 80->8082,9000->9000 plaintext Ready",
        ]
    );
    let endpoints = compile_endpoints(&index, &name("shop/orders-v2"));
    let shown: Vec<_> = endpoints.iter().map(|it| (it.name.as_str(), it.health, it.ports.len())).collect();
    assert_eq!(
        shown,
        [("ip-10-1-0-1", EndpointHealth::Ready, 1), ("ip-10-1-0-2", EndpointHealth::Draining, 1)]
    );
}

#[test]
fn instances_with_other_ports_are_in_a_slice_of_their_own() {
    let index = index(SHOP);
    let (slices, _) = derive_slices(&index, &name("shop/orders"));
    let names: Vec<_> = slices.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["orders-outrigger.ipv4.8081.9000", "orders-outrigger.ipv4.8082.9000"]);
    assert!(derive_slices(&index, &name("shop/orders-v2")).0.is_empty(), "without a selector there is none");
}

#[test]
fn a_workload_without_the_target_port_is_named_with_what_to_mend() {
    let mut index = index(SHOP);
    assert!(judge_target_ports(&index, &name("shop/orders")).unwrap().holds);
    apply(&mut index, &SHOP.replace("port: 8081, name: web", "port: 8081, name: other"));
    let verdict = judge_target_ports(&index, &name("shop/orders")).unwrap();
    assert_eq!(
        verdict.message,
        "workload `orders-1` has no port named `web`, where port 80 of the service leads; it has only 8081, 9000; \
         mend `targetPort` of the service, or `--inbound` of the sidecar"
    );
}

#[test]
fn a_service_without_an_endpoint_that_takes_traffic_is_judged_with_the_reason() {
    let service = |selector: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: lost, namespace: shop}}\n\
             spec: {{selector: {{{selector}}}, ports: [{{port: 80, targetPort: 8081}}]}}\n"
        )
    };
    let judged = |selector: &str, is_ready: &str| {
        let workload = format!(
            "---\napiVersion: outrigger.dev/v1alpha1\nkind: Workload\n\
             metadata: {{name: a, namespace: shop, labels: {{app: a}}}}\n\
             spec: {{address: 10.0.0.9, inboundPort: 15008, ports: [{{port: 8081}}]}}\n\
             status: {{conditions: [{{type: Ready, status: '{is_ready}', reason: X, message: '', \
             lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}\n"
        );
        let index = index(&format!("{}{workload}", service(selector)));
        let lost = name("shop/lost");
        let verdict = judge_endpoints(&index, &lost, &compile_endpoints(&index, &lost)).unwrap();
        (verdict.holds, verdict.reason, verdict.message)
    };
    let (holds, reason, message) = judged("app: none, tier: b", "True");
    assert_eq!((holds, reason), (false, "NoEndpoints"));
    assert_eq!(message, "no workload in namespace `shop` has the labels it selects: app=none,tier=b");
    assert_eq!(judged("app: a", "True").1, "Ready");
    assert_eq!(judged("app: a", "False").1, "NoneReady");
    let (_, _, message) = judged("", "True");
    assert!(message.starts_with("it has no selector"), "{message}");
    assert_eq!(judge_endpoints(&index(&service("app: a")), &name("shop/other"), &[]), None);
}

#[test]
fn derived_slices_are_objects_the_api_would_take() {
    let index = index(SHOP);
    for slice in derive_slices(&index, &name("shop/orders")).0 {
        manifests::Object::from_json(manifests::Kind::EndpointSlice, slice.object).unwrap();
    }
}

#[test]
fn a_workload_learns_which_services_lead_to_its_ports() {
    let index = index(SHOP);
    let workload = compile_workload(&index, &"shop/orders-1".parse().unwrap()).unwrap();
    let ports: Vec<_> = workload
        .ports
        .iter()
        .map(|it| format!("{} {} {:?}", it.port, it.app_protocol, it.services))
        .collect();
    assert_eq!(ports, [r#"8081 http ["shop/orders"]"#, r#"9000 tcp ["shop/orders"]"#]);
}

#[test]
fn matches_of_all_routes_come_in_the_order_of_the_gateway_api() {
    let mut index = index(SHOP);
    let b = attached(
        r"
  - backendRefs: [{ name: orders, port: 80 }]
    matches:
    - { path: { type: PathPrefix, value: / } }
    - { path: { type: PathPrefix, value: /a }, headers: [{ name: x, value: y }] }
    - { path: { type: PathPrefix, value: /a }, headers: [{ name: x, value: y }], queryParams: [{ name: q, value: y }] }
    - { path: { type: PathPrefix, value: /a }, headers: [{ name: x, value: y }, { name: z, value: y }] }
    - { path: { type: PathPrefix, value: /a }, method: GET }
",
    );
    let a = attached(
        r"
  - backendRefs: [{ name: orders, port: 80 }]
    matches:
    - { path: { type: PathPrefix, value: /a } }
    - { path: { type: PathPrefix, value: /a/longer } }
    - { path: { type: Exact, value: /a } }
    - { path: { type: RegularExpression, value: '/[ab]' } }
  - matches: [{ path: { type: PathPrefix, value: / } }]
",
    );
    apply(&mut index, &route("b", &b));
    apply(&mut index, &route("a", &a));
    let port = port(&index, 80);
    let order: Vec<_> = port
        .matches
        .iter()
        .map(|it| {
            let rule = &port.rules[it.rule];
            let method = it.method.as_deref().unwrap_or("-");
            let more = format!("{method} {} {}", it.headers.len(), it.query_params.len());
            format!("{} {more} {}[{}]", path(it), rule.route, rule.index)
        })
        .collect();
    assert_eq!(
        order,
        [
            "=/a - 0 0 shop/a[0]",
            "~/[ab] - 0 0 shop/a[0]",
            "/a/longer* - 0 0 shop/a[0]",
            "/a* GET 0 0 shop/b[0]",
            "/a* - 2 0 shop/b[0]",
            "/a* - 1 1 shop/b[0]",
            "/a* - 1 0 shop/b[0]",
            "/a* - 0 0 shop/a[0]",
            "/* - 0 0 shop/a[1]",
            "/* - 0 0 shop/b[0]",
        ]
    );
    assert!(self::port(&index, 9000).matches.is_empty(), "no routes on opaque TCP");
}

#[test]
fn an_older_route_wins_over_one_first_by_name() {
    let mut index = index(SHOP);
    let rules = attached("  - backendRefs: [{ name: orders, port: 80 }]\n");
    let aged = |name: &str, year: u16| {
        let age = format!("name: {name}, creationTimestamp: {year}-01-01T00:00:00Z }}");
        route(name, &rules).replacen(&format!("name: {name} }}"), &age, 1)
    };
    apply(&mut index, &aged("a", 2026));
    apply(&mut index, &aged("b", 2025));
    let port = port(&index, 80);
    let order: Vec<_> = port.matches.iter().map(|it| port.rules[it.rule].route.as_str()).collect();
    assert_eq!(order, ["shop/b", "shop/a"]);
}

#[test]
fn a_missing_backend_fails_its_share_only_and_mends_itself() {
    let mut index = index(SHOP);
    let rules = attached(
        "  - backendRefs: [{ name: orders, port: 80, weight: 9 }, { name: orders-v3, port: 80 }, { name: orders-v2, port: 81 }]\n",
    );
    apply(&mut index, &route("orders", &rules));
    let backends = port(&index, 80).rules.remove(0).backends;
    let sentences: Vec<_> = backends.iter().map(|it| (it.weight, it.invalid.as_deref())).collect();
    let missing = "HTTPRoute shop/orders sends to service `orders-v3`, which namespace `shop` does not have; create it, or mend the name";
    let no_port = "HTTPRoute shop/orders sends to port 81 of service `shop/orders-v2`, which has only 80; add it there, or mend the number";
    assert_eq!(sentences, [(9, None), (1, Some(missing)), (1, Some(no_port))]);
    let resolved = &status(&index, "orders").parents[0].resolved;
    assert_eq!((resolved.holds, resolved.reason), (false, "BackendNotFound"));
    assert_eq!(resolved.message, format!("{missing}; {no_port}"));

    let v3 = "apiVersion: v1\nkind: Service\nmetadata: { namespace: shop, name: orders-v3 }\nspec: { ports: [{ port: 80 }] }";
    let dirty = apply(&mut index, v3);
    assert!(dirty.contains(&Dirty::Service(name("shop/orders"))), "the parent is compiled again");
    assert_eq!(port(&index, 80).rules[0].backends[1].invalid, None);
    for change in changes(v3) {
        index.apply(deletion(&change));
    }
    assert_eq!(port(&index, 80).rules[0].backends[1].invalid.as_deref(), Some(missing));
}

#[test]
fn another_namespaces_service_needs_a_grant() {
    let mut index = index(SHOP);
    apply(&mut index, &SHOP.replace("namespace: shop", "namespace: billing"));
    let rules = attached("  - backendRefs: [{ name: orders, namespace: billing, port: 80 }]\n");
    apply(&mut index, &route("orders", &rules));
    let resolved = &status(&index, "orders").parents[0].resolved;
    assert_eq!((resolved.holds, resolved.reason), (false, "RefNotPermitted"));
    assert!(port(&index, 80).rules[0].backends[0].invalid.is_some());
}

#[test]
fn a_parent_that_cannot_be_is_said_to_be_and_why() {
    for (parent, reason, message) in [
        (
            "name: ordrs",
            "NoMatchingParent",
            "namespace `shop` has no service `ordrs`; create it, or mend the name",
        ),
        (
            "name: orders, port: 81",
            "NoMatchingParent",
            "service `shop/orders` has only 80, 9000; mend `port` or `sectionName`",
        ),
        (
            "name: orders, sectionName: x",
            "NoMatchingParent",
            "service `shop/orders` has only 80, 9000; mend `port` or `sectionName`",
        ),
        (
            "name: orders, port: 9000",
            "NoMatchingParent",
            "service `shop/orders` declares opaque TCP there (`appProtocol`), and HTTP routes need HTTP; change one of both",
        ),
        (
            "name: orders, namespace: billing",
            "NotAllowedByListeners",
            "a route applies to services of its own namespace only; move it from `shop` to `billing`",
        ),
        ("name: orders, port: 80", "Accepted", "the route is in force"),
    ] {
        let mut index = index(SHOP);
        apply(&mut index, &SHOP.replace("namespace: shop", "namespace: billing"));
        let spec = format!(
            "  parentRefs: [{{ group: '', kind: Service, {parent} }}]\n  rules: [{{ backendRefs: [{{ name: orders, port: 80 }}] }}]"
        );
        apply(&mut index, &route("orders", &spec));
        let accepted = &status(&index, "orders").parents[0].accepted;
        assert_eq!((accepted.reason, accepted.message.as_str()), (reason, message), "{parent}");
        let is_attached = !port(&index, 80).matches.is_empty();
        assert_eq!(is_attached, accepted.holds, "{parent}");
        let other = compile_service(&index, &name("billing/orders")).unwrap();
        assert!(other.ports.iter().all(|port| port.matches.is_empty()), "no rule from another namespace");
    }
}

#[test]
fn a_rule_that_asks_for_what_is_not_done_answers_with_an_error() {
    let mut index = index(SHOP);
    let rules = attached(
        r"
  - filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: a, value: b }] } }]
    backendRefs: [{ name: orders, port: 80 }]
    matches: [{ path: { type: PathPrefix, value: /a } }]
  - backendRefs: [{ name: orders, port: 80 }]
",
    );
    apply(&mut index, &route("orders", &rules));
    let accepted = &status(&index, "orders").parents[0].accepted;
    assert_eq!((accepted.holds, accepted.reason), (false, "UnsupportedValue"), "{}", accepted.message);
    let rules = port(&index, 80).rules;
    assert!(rules[0].backends[0].invalid.as_deref().is_some_and(|it| it.contains("spec.rules[0].filters")));
    assert_eq!(rules[1].backends[0].invalid, None, "the other rule goes on");
}

#[test]
fn every_example_works_as_it_is() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples");
    let mut stories = 0;
    for story in std::fs::read_dir(folder).unwrap() {
        let files = std::fs::read_dir(story.unwrap().path()).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
        files.sort();
        let mut index = Index::new(mesh_names::TrustDomain::default());
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap();
            for document in text.split("\n---").filter(|it| !it.contains("kind: Namespace")) {
                apply(&mut index, document);
            }
        }
        stories += 1;
        for dirty in index.everything() {
            match dirty {
                Dirty::Service(name) => {
                    assert!(!compile_service(&index, &name).unwrap().ports.is_empty(), "{name}")
                }
                Dirty::Route(name) => {
                    for parent in compile_route_status(&index, &name).unwrap().parents {
                        assert!(parent.accepted.holds, "{name}: {}", parent.accepted.message);
                        assert!(parent.resolved.holds, "{name}: {}", parent.resolved.message);
                    }
                }
                Dirty::Policy(name) => {
                    for (_, accepted) in compile_policy_status(&index, &name).unwrap().targets {
                        assert!(accepted.holds, "{name}: {}", accepted.message);
                    }
                }
                Dirty::Endpoints(_)
                | Dirty::Workload(_)
                | Dirty::Address(_)
                | Dirty::Mesh
                | Dirty::PeerAuthentication(_)
                | Dirty::External(_)
                | Dirty::ExternalHost(_) => {}
            }
        }
    }
    assert!(stories >= 3, "only {stories} examples were found");
}

#[test]
fn a_virtual_address_that_two_services_claim_is_told_as_the_older_ones() {
    let claim = |name: &str, created: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ namespace: shop, name: {name}, creationTimestamp: '{created}' }}\n\
             spec: {{ clusterIP: 10.96.0.7, ports: [{{ port: 80 }}] }}\n"
        )
    };
    let mut index = index(&claim("b", "2026-01-01T00:00:00Z"));
    let told =
        |index: &Index, service: &str| compile_service(index, &name(service)).unwrap().virtual_addresses;
    assert_eq!(told(&index, "shop/b").len(), 1);
    let dirty = apply(&mut index, &claim("a", "2026-01-02T00:00:00Z"));
    assert!(dirty.contains(&Dirty::Service(name("shop/b"))));
    assert_eq!((told(&index, "shop/a").len(), told(&index, "shop/b").len()), (0, 1));
    index.apply(deletion(&changes(&claim("b", "2026-01-01T00:00:00Z"))[0]));
    assert_eq!(told(&index, "shop/a").len(), 1);
}

#[test]
fn an_address_is_a_service_or_the_endpoints_there_and_only_what_changes_is_touched() {
    let mut index = index(SHOP);
    let mut book = AddressBook::default();
    let follow = |index: &Index, book: &mut AddressBook, dirty: &BTreeSet<Dirty>| -> Vec<String> {
        for dirty in dirty {
            match dirty {
                Dirty::Endpoints(service) => book.set_endpoints(service, &compile_endpoints(index, service)),
                Dirty::Address(address) => book.touch(*address),
                Dirty::Service(_)
                | Dirty::Workload(_)
                | Dirty::Route(_)
                | Dirty::Policy(_)
                | Dirty::Mesh
                | Dirty::PeerAuthentication(_)
                | Dirty::External(_)
                | Dirty::ExternalHost(_) => {}
            }
        }
        book.take_touched().iter().map(ToString::to_string).collect()
    };
    let all = index.everything();
    let touched = follow(&index, &mut book, &all);
    assert_eq!(touched, ["10.0.0.1", "10.0.0.2", "10.1.0.1", "10.1.0.2"]);
    let there = book.compile(&index, "10.0.0.1".parse().unwrap()).unwrap();
    assert_eq!(there.service, None);
    assert_eq!(there.endpoints, compile_endpoints(&index, &name("shop/orders"))[..1]);

    let virtual_address = SHOP.replacen("spec:\n", "spec:\n  clusterIP: 240.240.0.9\n", 1);
    let dirty = apply(&mut index, virtual_address.split("---").next().unwrap());
    assert_eq!(follow(&index, &mut book, &dirty), ["240.240.0.9"], "endpoints are as they were");
    let there = book.compile(&index, "240.240.0.9".parse().unwrap()).unwrap();
    assert_eq!((there.service, there.endpoints.len()), (Some(name("shop/orders")), 0));

    let dirty = apply(&mut index, &SHOP.replace("address: 10.0.0.2", "address: 10.0.0.3"));
    assert_eq!(follow(&index, &mut book, &dirty), ["10.0.0.2", "10.0.0.3", "240.240.0.9"]);
    for gone in ["10.0.0.2", "240.240.0.9"] {
        assert_eq!(book.compile(&index, gone.parse().unwrap()), None);
    }
}
