//! Limits reach those who keep them: callers by the Service, the application's sidecar by the Workload.

use super::fixture::{apply, changes, deletion, index};
use super::*;
use mesh_protocol::limits::{FaultAnswer, PortLimits, RateLimitKey, RateUnit};
use std::time::Duration;

const OBJECTS: &str = r"
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: orders }
spec: { selector: { app: orders }, ports: [{ name: http, port: 80, targetPort: 8080 }, { name: admin, port: 81, targetPort: 9090 }] }
---
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: orders-too }
spec: { selector: { app: orders }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { namespace: shop, name: orders-1, labels: { app: orders } }
spec: { address: 10.0.0.1, serviceAccount: orders, ports: [{ port: 8080 }, { port: 9090 }] }
";

fn policy(name: &str, created: u8, target: &str, spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ namespace: shop, name: {name}, \
         creationTimestamp: '2026-01-0{created}T00:00:00Z' }}\nspec: {{ targetRefs: [{{ kind: Service, name: {target} }}], \
         {spec} }}\n"
    )
}

fn limits(index: &Index) -> Vec<PortLimits> {
    compile_workload(index, &"shop/orders-1".parse().unwrap()).unwrap().limits
}

/// By port: whose limit of concurrency is in force, and whose limits of the rate.
fn whose(index: &Index) -> Vec<(u16, Option<String>, Vec<String>)> {
    let limits = limits(index).into_iter().map(|it| {
        let rates = it.rate_limits.into_iter().map(|it| it.policy).collect();
        (it.port.number(), it.concurrency.map(|it| it.policy), rates)
    });
    limits.collect()
}

fn named(name: &str) -> String {
    format!("shop/{name}")
}

#[test]
fn a_workload_is_told_what_it_lets_in_at_each_port_and_is_compiled_anew_when_that_changes() {
    let mut index = index(OBJECTS);
    assert_eq!(limits(&index), []);
    let limited = policy(
        "all",
        1,
        "orders",
        "concurrency: { maxRequests: 20, maxPendingRequests: 0 }, rateLimit: { rules: [{ key: { type: Header, name: \
         X-User }, requests: 5, unit: Minute, matches: [{ method: POST }] }] }",
    );
    let dirty = apply(&mut index, &limited);
    assert!(dirty.contains(&Dirty::Workload("shop/orders-1".parse().unwrap())), "{dirty:?}");
    let all = limits(&index);
    assert_eq!(all.iter().map(|it| it.port.number()).collect::<Vec<_>>(), [8080, 9090]);
    let concurrency = all[0].concurrency.as_ref().unwrap();
    assert_eq!((concurrency.requests.unwrap().get(), concurrency.pending), (20, Some(0)));
    let rate = &all[0].rate_limits[0];
    assert_eq!((rate.requests.get(), rate.unit, rate.burst), (5, RateUnit::Minute, None));
    assert_eq!(rate.key, Some(RateLimitKey::Header("x-user".to_owned())));
    assert_eq!(rate.matches[0].method.as_deref(), Some("POST"));
    let dirty = index.apply(deletion(&changes(&limited)[0]));
    assert!(dirty.contains(&Dirty::Workload("shop/orders-1".parse().unwrap())), "{dirty:?}");
    assert_eq!(limits(&index), []);
}

#[test]
fn where_two_services_lead_to_one_port_the_oldest_policy_that_sets_a_limit_is_in_force() {
    let mut index = index(OBJECTS);
    apply(&mut index, &policy("young", 3, "orders", "concurrency: { maxRequests: 5 }"));
    apply(&mut index, &policy("old", 2, "orders-too", "concurrency: { maxRequests: 9 }"));
    let young = Some(named("young"));
    assert_eq!(whose(&index), [(8080, Some(named("old")), vec![]), (9090, young.clone(), vec![])]);
    apply(
        &mut index,
        &policy("port", 1, "orders, sectionName: http", "rateLimit: { rules: [{ requests: 5 }] }"),
    );
    assert_eq!(
        whose(&index),
        [(8080, Some(named("old")), vec![named("port")]), (9090, young, vec![])],
        "what the policy for the port does not say is said by another, but not by the one for the whole Service"
    );
}

#[test]
fn callers_are_told_what_is_theirs_and_no_more() {
    let mut index = index(OBJECTS);
    let spec = "concurrency: { maxRequests: 5 }, circuitBreaker: { maxRequests: 7, maxPendingTime: 20ms, maxRetries: 0 }, \
                faultInjection: { rules: [{ delay: { duration: 2s }, abort: { grpcStatus: 14, percentage: 10 } }] }";
    apply(&mut index, &policy("all", 1, "orders", spec));
    let service = compile_service(&index, &"shop/orders".parse().unwrap()).unwrap();
    let policy = service.ports[0].policy.as_ref().unwrap();
    let breaker = policy.circuit_breaker.unwrap();
    assert_eq!((breaker.requests.unwrap().get(), breaker.retries, breaker.connections), (7, Some(0), None));
    assert_eq!(breaker.pending_time, Some(Duration::from_millis(20)));
    let fault = &policy.fault_rules[0];
    assert_eq!(fault.delay, Some((Duration::from_secs(2), 100)));
    assert_eq!(fault.abort, Some((FaultAnswer::Grpc(14), 10)));
}
