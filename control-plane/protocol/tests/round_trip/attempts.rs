//! How requests are attempted: any of it, and what is refused.

use super::{number, whole_millis};
use mesh_protocol::attempts::{AttemptBudget, Hedging, RetryMethods, RetryOn, RetryPolicy, Timeouts};
use mesh_protocol::service::Service;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use std::time::Duration;

pub(super) fn timeouts() -> impl Strategy<Value = Timeouts> {
    (whole_millis(), whole_millis(), whole_millis()).prop_map(|(request, attempt, idle)| Timeouts {
        request,
        attempt,
        idle,
    })
}

fn budget() -> impl Strategy<Value = AttemptBudget> {
    (of(any::<u32>()), of(any::<u32>()))
        .prop_map(|(percent, least_per_second)| AttemptBudget { percent, least_per_second })
}

pub(super) fn retry() -> impl Strategy<Value = RetryPolicy> {
    let methods = prop_oneof![
        Just(RetryMethods::Idempotent),
        Just(RetryMethods::Any),
        vec("[A-Z]{1,8}", 0..3).prop_map(RetryMethods::Listed),
    ];
    let codes = (vec(400u16..600, 0..4), vec(1u8..=16, 0..4));
    let on = proptest::sample::subsequence(RetryOn::ALL.to_vec(), 0..=4);
    let most = of((0u64..100_000).prop_map(Duration::from_millis));
    (0u32..10, codes, on, methods, (whole_millis(), whole_millis()), most, budget()).prop_map(
        |(attempts, (codes, grpc_codes), on, methods, (backoff, backoff_most), retry_after_most, budget)| {
            RetryPolicy {
                attempts,
                codes,
                grpc_codes,
                on,
                methods,
                backoff,
                backoff_most,
                retry_after_most,
                budget,
            }
        },
    )
}

pub(super) fn hedging() -> impl Strategy<Value = Hedging> {
    (number(), whole_millis(), budget()).prop_map(|(percentile, least_delay, budget)| Hedging {
        percentile,
        least_delay,
        budget,
    })
}

#[test]
fn retries_of_a_newer_version_are_refused_and_not_taken_for_others() {
    let error = |retry: mesh_protocol::wire::v1::RetryPolicy| {
        let rule = mesh_protocol::wire::v1::RouteRule { retry: Some(retry), ..Default::default() };
        let port = mesh_protocol::wire::v1::ServicePort { port: 80, rules: vec![rule], ..Default::default() };
        let service = mesh_protocol::wire::v1::Service {
            namespace: "shop".into(),
            name: "orders".into(),
            ports: vec![port],
            ..Default::default()
        };
        Service::decode(&prost::Message::encode_to_vec(&service)).unwrap_err().to_string()
    };
    let methods = mesh_protocol::wire::v1::RetryPolicy { methods: 99, ..Default::default() };
    assert_eq!(error(methods), "field `retry.methods`: this version knows no such set of methods");
    let failure = mesh_protocol::wire::v1::RetryPolicy { retry_on: vec![99], ..Default::default() };
    assert_eq!(error(failure), "field `retry.retry_on`: this version knows no such failure");
    let code = mesh_protocol::wire::v1::RetryPolicy { grpc_codes: vec![17], ..Default::default() };
    assert_eq!(error(code), "field `retry.grpc_codes`: a code must be between 1 and 16");
}
