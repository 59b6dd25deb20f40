//! Limits and failures made on purpose survive the wire; what a newer version says and this one does not know is refused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use mesh_names::Port;
use mesh_protocol::limits::{
    AdaptiveConcurrency, CircuitBreaker, ConcurrencyLimit, FaultAnswer, FaultRule, PortLimits, RateLimit,
    RateLimitKey, RateUnit,
};
use mesh_protocol::policy::TrafficPolicy;
use mesh_protocol::service::{PathMatch, RouteMatch, Service, ServicePort, TextMatch, ValueMatch};
use mesh_protocol::wire::v1 as wire;
use mesh_protocol::workload::Workload;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use prost::Message as _;
use std::num::NonZeroU32;
use std::time::Duration;

const NAME: &str = "[a-z]{1,8}/[a-z]{1,8}";

fn number() -> impl Strategy<Value = Option<NonZeroU32>> {
    any::<u32>().prop_map(NonZeroU32::new)
}

fn time() -> impl Strategy<Value = Option<Duration>> {
    of((1u64..1_000_000).prop_map(Duration::from_millis))
}

fn matches() -> impl Strategy<Value = Vec<RouteMatch>> {
    let header =
        ("[a-z-]{1,12}", ".*").prop_map(|(name, value)| ValueMatch { name, value: TextMatch::Regex(value) });
    let fitting = ("/.*", of("[A-Z]{1,8}"), vec(header, 0..3)).prop_map(|(path, method, headers)| {
        let path = PathMatch::Prefix(path);
        RouteMatch { rule: 0, path, method, headers, query_params: vec![] }
    });
    vec(fitting, 0..3)
}

fn breaker() -> impl Strategy<Value = CircuitBreaker> {
    (number(), number(), any::<Option<u32>>(), time(), any::<Option<u32>>()).prop_map(
        |(connections, requests, pending, pending_time, retries)| CircuitBreaker {
            connections,
            requests,
            pending,
            pending_time,
            retries,
        },
    )
}

fn fault_rule() -> impl Strategy<Value = FaultRule> {
    let answer =
        prop_oneof![(400u16..600).prop_map(FaultAnswer::Http), (1u8..17).prop_map(FaultAnswer::Grpc)];
    let delay = of(((1u64..100_000).prop_map(Duration::from_millis), any::<u32>()));
    (matches(), delay, of((answer, any::<u32>()))).prop_map(|(matches, delay, abort)| FaultRule {
        matches,
        delay,
        abort,
    })
}

fn concurrency() -> impl Strategy<Value = ConcurrencyLimit> {
    let adaptive = (number(), number(), number(), time()).prop_map(|(least, initial, tolerance, window)| {
        AdaptiveConcurrency { least, initial, tolerance, window }
    });
    (NAME, number(), of(adaptive), any::<Option<u32>>(), time()).prop_map(
        |(policy, requests, adaptive, pending, pending_time)| ConcurrencyLimit {
            policy,
            requests,
            adaptive,
            pending,
            pending_time,
        },
    )
}

fn rate_limit() -> impl Strategy<Value = RateLimit> {
    let key = prop_oneof![Just(RateLimitKey::ClientIdentity), "[a-z-]{1,8}".prop_map(RateLimitKey::Header)];
    let unit = proptest::sample::select(vec![RateUnit::Second, RateUnit::Minute, RateUnit::Hour]);
    let requests = (1u32..).prop_map(|requests| NonZeroU32::new(requests).unwrap());
    (NAME, matches(), of(key), requests, unit, number()).prop_map(
        |(policy, matches, key, requests, unit, burst)| RateLimit {
            policy,
            matches,
            key,
            requests,
            unit,
            burst,
        },
    )
}

fn service(circuit_breaker: Option<CircuitBreaker>, fault_rules: Vec<FaultRule>) -> Service {
    let policy =
        TrafficPolicy { name: "shop/orders".to_owned(), circuit_breaker, fault_rules, ..Default::default() };
    let port = ServicePort {
        port: "80".parse().unwrap(),
        name: String::new(),
        app_protocol: Default::default(),
        rules: vec![],
        matches: vec![],
        policy: Some(policy),
    };
    Service { name: "shop/orders".parse().unwrap(), ports: vec![port], virtual_addresses: vec![] }
}

fn workload(limits: Vec<PortLimits>) -> Workload {
    Workload {
        name: "shop/orders-1".parse().unwrap(),
        service_account: "orders".parse().unwrap(),
        ports: vec![],
        mtls: Default::default(),
        limits,
    }
}

proptest! {
    #[test]
    fn what_callers_are_told_survives_the_wire(breaker in of(breaker()), faults in vec(fault_rule(), 0..3)) {
        let service = service(breaker, faults);
        prop_assert_eq!(Service::decode(&service.encode()).unwrap(), service);
    }

    #[test]
    fn what_the_applications_sidecar_is_told_survives_the_wire(
        port in 1u16.., concurrency in of(concurrency()), rate_limits in vec(rate_limit(), 0..3),
    ) {
        let workload = workload(vec![PortLimits { port: Port::new(port).unwrap(), concurrency, rate_limits }]);
        prop_assert_eq!(Workload::decode(&workload.encode()).unwrap(), workload);
    }
}

#[test]
fn a_key_or_unit_of_a_newer_version_is_refused_and_not_taken_for_another() {
    let error = |rate: wire::RateLimit| {
        let mut message = wire::Workload::decode(&*workload(vec![]).encode()).unwrap();
        message.limits = vec![wire::PortLimits { port: 80, rate_limits: vec![rate], ..Default::default() }];
        Workload::decode(&message.encode_to_vec()).unwrap_err().to_string()
    };
    let rate = wire::RateLimit { requests: 1, ..Default::default() };
    let key = Some(wire::RateLimitKey { key: None });
    assert_eq!(
        error(wire::RateLimit { key, ..rate.clone() }),
        "field `limits.rate_limits.key`: this version knows no such key"
    );
    assert_eq!(
        error(wire::RateLimit { unit: 9, ..rate }),
        "field `limits.rate_limits.unit`: this version knows no such unit"
    );
    assert_eq!(error(wire::RateLimit::default()), "field `limits.rate_limits.requests`: it is missing");
}
