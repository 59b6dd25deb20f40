//! Which policy is in force where, and what the others are told.

use super::fixture::{apply, changes, deletion, index};
use super::*;
use mesh_protocol::policy::{Algorithm, HashSource};
use std::collections::BTreeSet;

const SERVICES: &str = r"
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: orders }
spec: { ports: [{ name: http, port: 80 }, { name: admin, port: 81 }] }
---
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: web }
spec: { ports: [{ port: 80 }] }
";

fn policy(name: &str, created: u8, target: &str, policy: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ namespace: shop, name: {name}, \
         creationTimestamp: '2026-01-0{created}T00:00:00Z' }}\nspec: {{ targetRefs: [{{ kind: Service, name: {target} }}], \
         loadBalancing: {{ policy: {policy} }} }}\n"
    )
}

/// The policies in force at each port of a Service, by number.
fn in_force(index: &Index, service: &str) -> Vec<Option<String>> {
    let service = compile_service(index, &service.parse().unwrap()).unwrap();
    service.ports.into_iter().map(|port| port.policy.map(|policy| policy.name)).collect()
}

fn said(index: &Index, name: &str) -> Vec<(bool, &'static str, String)> {
    let name = TrafficPolicyName { namespace: "shop".parse().unwrap(), name: name.parse().unwrap() };
    let status = compile_policy_status(index, &name).unwrap();
    status.targets.into_iter().map(|(_, it)| (it.holds, it.reason, it.message)).collect()
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn the_oldest_of_two_for_one_service_is_in_force_and_the_other_is_told() {
    let mut index = index(SERVICES);
    apply(&mut index, &policy("young", 2, "orders", "Random"));
    assert_eq!(in_force(&index, "shop/orders"), [some("shop/young"), some("shop/young")]);
    let old = policy("old", 1, "orders", "RoundRobin");
    apply(&mut index, &old);
    assert_eq!(in_force(&index, "shop/orders"), [some("shop/old"), some("shop/old")]);
    assert_eq!(said(&index, "old"), [(true, "Accepted", "the policy is in force".to_owned())]);
    assert_eq!(
        said(&index, "young"),
        [(
            false,
            "Conflicted",
            "the older TrafficPolicy `shop/old` is for the same target and is in force there; take the target out of one \
             of both"
                .to_owned()
        )]
    );
    index.apply(deletion(&changes(&old)[0]));
    assert_eq!(in_force(&index, "shop/orders"), [some("shop/young"), some("shop/young")]);
    assert!(said(&index, "young")[0].0, "it takes over");
}

#[test]
fn a_policy_for_a_port_is_in_force_there_even_if_it_is_younger() {
    let mut index = index(SERVICES);
    apply(&mut index, &policy("all", 1, "orders", "Random"));
    apply(&mut index, &policy("port", 2, "orders, sectionName: admin", "RoundRobin"));
    assert_eq!(in_force(&index, "shop/orders"), [some("shop/all"), some("shop/port")]);
    let message = "the policy is in force, but for port `admin`, which has `shop/port`".to_owned();
    assert_eq!(said(&index, "all"), [(true, "Accepted", message)]);
    assert!(said(&index, "port")[0].0);
}

#[test]
fn a_target_that_is_not_there_is_said_until_it_is() {
    let mut index = index("");
    apply(&mut index, &policy("lost", 1, "orders, sectionName: http", "Random"));
    assert_eq!(
        said(&index, "lost"),
        [(
            false,
            "TargetNotFound",
            "namespace `shop` has no service `orders`; create it, or mend the name".to_owned()
        )]
    );
    let dirty = apply(&mut index, SERVICES);
    assert!(dirty.iter().any(|it| matches!(it, Dirty::Policy(_))), "{dirty:?}");
    assert!(said(&index, "lost")[0].0);
    apply(&mut index, &policy("lost", 1, "orders, sectionName: grpc", "Random"));
    assert_eq!(
        said(&index, "lost"),
        [(
            false,
            "TargetNotFound",
            "service `shop/orders` has ports named `http`, `admin`; mend `sectionName`".to_owned()
        )]
    );
    assert_eq!(in_force(&index, "shop/orders"), [None, None]);
}

#[test]
fn a_change_recompiles_the_service_it_is_for_and_no_other() {
    let mut index = index(SERVICES);
    let first = apply(&mut index, &policy("p", 1, "orders", "Random"));
    let services = |dirty: &BTreeSet<Dirty>| {
        let services =
            dirty.iter().filter_map(|it| if let Dirty::Service(it) = it { Some(it) } else { None });
        services.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(services(&first), ["shop/orders"]);
    assert!(first.iter().all(|it| matches!(it, Dirty::Service(_) | Dirty::Policy(_))), "{first:?}");
    let moved = apply(&mut index, &policy("p", 1, "web", "Random"));
    assert_eq!(services(&moved), ["shop/orders", "shop/web"]);
    assert_eq!(in_force(&index, "shop/orders"), [None, None]);
    assert_eq!(in_force(&index, "shop/web"), [some("shop/p")]);
}

#[test]
fn what_is_written_is_what_sidecars_are_told() {
    let mut index = index(SERVICES);
    apply(
        &mut index,
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: { namespace: shop, name: p }\nspec:\n  \
         targetRefs: [{ group: '', kind: Service, name: web }]\n  panicThreshold: 30\n  loadBalancing: { policy: RingHash, \
         ringHash: { minimumRingSize: 10 }, boundedLoad: 150, hashOn: [{ type: Header, name: X-User }, { type: \
         QueryParameter, name: User }] }\n",
    );
    let service = compile_service(&index, &"shop/web".parse().unwrap()).unwrap();
    let policy = service.ports[0].policy.clone().unwrap();
    assert_eq!(policy.panic_threshold.unwrap().get(), 30);
    assert_eq!(policy.slow_start, None);
    let balancing = policy.load_balancing.unwrap();
    let Algorithm::RingHash { least, most } = balancing.algorithm else { panic!("{balancing:?}") };
    assert_eq!((least.unwrap().get(), most), (10, None));
    assert_eq!(balancing.load_bound.unwrap().get(), 150);
    assert_eq!(
        balancing.hash_on,
        [HashSource::Header("x-user".to_owned()), HashSource::QueryParameter("User".to_owned())]
    );
}

const ROUTE: &str = r"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { namespace: shop, name: orders }
spec:
  parentRefs: [{ group: '', kind: Service, name: orders, port: 80 }]
  rules:
  - name: slow
    matches: [{ path: { value: /slow } }]
    backendRefs: [{ name: web, port: 80 }]
    timeouts: { request: 20s }
    retry: { codes: [503], attempts: 5 }
  - name: fast
    backendRefs: [{ name: web, port: 80 }]
";

/// A policy with these rules, for this target, written as YAML flow.
fn attempts(name: &str, target: &str, rules: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ namespace: shop, name: {name} }}\nspec: {{ \
         targetRefs: [{{ {target} }}], {rules} }}\n"
    )
}

const SERVICE: &str = "kind: Service, name: orders";
const WHOLE: &str = "group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders";
const RULE: &str = "group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders, sectionName: slow";

/// The request timeout in seconds, the further attempts and the percentile for the rules `slow` and `fast`.
fn rules(index: &Index) -> [(Option<u64>, Option<u32>, Option<u32>); 2] {
    let service = compile_service(index, &"shop/orders".parse().unwrap()).unwrap();
    let rules = service.ports[0].rules.iter().map(|rule| {
        let percentile = rule.hedging.map(|it| it.percentile.map_or(0, |it| it.get()));
        let request = rule.timeouts.request.map(|it| it.as_secs());
        (request, rule.retry.as_ref().map(|it| it.attempts), percentile)
    });
    rules.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn of_all_who_say_how_requests_are_attempted_the_most_specific_counts_field_by_field() {
    let mut index = index(SERVICES);
    apply(&mut index, ROUTE);
    assert_eq!(rules(&index), [(Some(20), Some(5), None), (None, None, None)], "the route alone");
    apply(
        &mut index,
        &attempts(
            "all",
            SERVICE,
            "timeouts: { request: 10s }, retry: { attempts: 1 }, hedging: { percentile: 70 }",
        ),
    );
    let expected = [(Some(20), Some(5), Some(70)), (Some(10), Some(1), Some(70))];
    assert_eq!(rules(&index), expected, "a route's own fields are more specific than its Service's policy");
    let dirty =
        apply(&mut index, &attempts("route", WHOLE, "timeouts: { request: 0s }, retry: { attempts: 3 }"));
    assert!(dirty.contains(&Dirty::Service("shop/orders".parse().unwrap())), "{dirty:?}");
    let expected = [(None, Some(3), Some(70)), (None, Some(3), Some(70))];
    assert_eq!(
        rules(&index),
        expected,
        "a policy for the route comes before its own fields; zero is no limit"
    );
    let last =
        attempts("rule", RULE, "timeouts: { idle: 5s }, retry: { attempts: 0 }, hedging: { percentile: 99 }");
    apply(&mut index, &last);
    let expected = [(None, Some(0), Some(99)), (None, Some(3), Some(70))];
    assert_eq!(rules(&index), expected, "one for the rule comes first");
    index.apply(deletion(&changes(&last)[0]));
    assert_eq!(rules(&index), [(None, Some(3), Some(70)); 2]);
}

#[test]
fn what_a_policy_says_of_retries_is_what_sidecars_are_told() {
    use mesh_protocol::attempts::{RetryMethods, RetryOn};
    let mut index = index(SERVICES);
    apply(&mut index, ROUTE);
    let own = compile_service(&index, &"shop/orders".parse().unwrap()).unwrap();
    let own = own.ports[0].rules[0].retry.clone().unwrap();
    assert_eq!(
        (own.methods, own.codes, own.on.len()),
        (RetryMethods::Any, vec![503], 4),
        "as Gateway API means it"
    );
    apply(
        &mut index,
        &attempts(
            "all",
            SERVICE,
            "timeouts: { connect: 2s }, retry: { failures: [Reset], grpcStatuses: [Unavailable, Aborted], methods: [POST], \
             maxRetryAfter: 0s, budget: { percent: 0 } }",
        ),
    );
    let service = compile_service(&index, &"shop/orders".parse().unwrap()).unwrap();
    let policy = service.ports[1].policy.clone().unwrap();
    assert_eq!(policy.connect_timeout.unwrap().as_secs(), 2);
    let retry = policy.retry.unwrap();
    assert_eq!((retry.attempts, retry.on, retry.grpc_codes), (2, vec![RetryOn::Reset], vec![14, 10]));
    assert_eq!(retry.methods, RetryMethods::Listed(vec!["POST".to_owned()]));
    assert_eq!((retry.retry_after_most.unwrap().as_secs(), retry.budget.percent), (0, Some(0)));
    assert_eq!(
        service.ports[0].rules[1].retry.as_ref().unwrap().grpc_codes,
        [14, 10],
        "rules that say nothing too"
    );
}

#[test]
fn a_route_that_is_not_there_is_said_until_it_is() {
    let mut index = index(SERVICES);
    let lost = RULE.replace("slow", "slwo");
    apply(&mut index, &attempts("lost", &lost, "hedging: {}"));
    let message = "namespace `shop` has no HTTPRoute `orders`; create it, or mend the name".to_owned();
    assert_eq!(said(&index, "lost"), [(false, "TargetNotFound", message)]);
    let dirty = apply(&mut index, ROUTE);
    assert!(dirty.iter().any(|it| matches!(it, Dirty::Policy(_))), "{dirty:?}");
    let message = "HTTPRoute `shop/orders` has rules named `slow`, `fast`; mend `sectionName`".to_owned();
    assert_eq!(said(&index, "lost"), [(false, "TargetNotFound", message)]);
    apply(&mut index, &attempts("lost", RULE, "hedging: {}"));
    apply(&mut index, &attempts("whole", WHOLE, "hedging: {}"));
    assert_eq!(said(&index, "lost"), [(true, "Accepted", "the policy is in force".to_owned())]);
    let message = "the policy is in force, but for what `shop/lost` says of rule `slow`".to_owned();
    assert_eq!(said(&index, "whole"), [(true, "Accepted", message)]);
}

#[test]
fn instances_are_asked_by_the_policies_of_the_services_that_lead_to_them() {
    const INSTANCE: &str = r"
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: web }
spec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: old-web }
spec: { selector: { app: web }, ports: [{ name: a, port: 80, targetPort: 8080 }, { name: b, port: 81, targetPort: 8081 }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { namespace: shop, name: web-1, labels: { app: web } }
spec: { address: 10.0.0.1, inboundPort: 15008, ports: [{ port: 8080 }, { port: 8081 }] }
";
    let checks = |index: &Index| {
        let workload = compile_workload(index, &"shop/web-1".parse().unwrap()).unwrap();
        let policies = workload.ports.into_iter().map(|port| {
            let checks: Vec<_> = port.health_checks.into_iter().map(|check| check.policy).collect();
            checks.join(" ")
        });
        policies.collect::<Vec<_>>()
    };
    let check = |name: &str, created: u8, target: &str| {
        policy(name, created, target, "Random")
            .replace("loadBalancing:", "healthCheck: { tcp: {} }, loadBalancing:")
    };
    let asked_anew = Dirty::Workload("shop/web-1".parse().unwrap());
    let mut index = index(INSTANCE);
    assert_eq!(checks(&index), ["", ""]);
    apply(&mut index, &policy("old", 1, "old-web", "Random"));
    assert_eq!(checks(&index), ["", ""], "it asks nothing");
    let by_old = check("old", 1, "old-web");
    assert!(apply(&mut index, &by_old).contains(&asked_anew));
    assert_eq!(checks(&index), ["shop/old", "shop/old"]);
    let called = compile_service(&index, &"shop/old-web".parse().unwrap()).unwrap();
    let told = called.ports[0].policy.as_ref().unwrap().health_check.as_ref();
    assert_eq!(told.unwrap().policy, "shop/old", "callers ask those that have no sidecar");
    apply(&mut index, &check("web", 2, "web, sectionName: http"));
    assert_eq!(checks(&index), ["shop/old shop/web", "shop/old"], "both Services lead to 8080");
    // The oldest is in force, whether it asks or not.
    apply(&mut index, &policy("web-first", 1, "web, sectionName: http", "Random"));
    assert_eq!(checks(&index), ["shop/old", "shop/old"]);
    assert!(index.apply(deletion(&changes(&by_old)[0])).contains(&asked_anew));
    assert_eq!(checks(&index), ["", ""]);
}
