//! A policy as it is told becomes what requests go by.

use super::*;
use mesh_balance::{LocalityPreference, TransferCost};

fn hashing(hash_on: Vec<HashSource>) -> TrafficPolicy {
    let algorithm = Algorithm::Maglev { table_size: None };
    let balancing = told::LoadBalancing { algorithm, hash_on, load_bound: None };
    TrafficPolicy::compile(&policy(Some(balancing))).unwrap()
}

fn policy(load_balancing: Option<told::LoadBalancing>) -> told::TrafficPolicy {
    let name = "shop/p".to_owned();
    told::TrafficPolicy { name, load_balancing, ..Default::default() }
}

fn nobody(_: OfSource) -> HashKey {
    panic!("not asked for")
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs =
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    pairs.collect()
}

#[test]
fn the_first_source_that_the_request_has_is_its_key() {
    let policy =
        hashing(vec![HashSource::Header("x-user".to_owned()), HashSource::QueryParameter("user".to_owned())]);
    let alice = Some(HashKey::of(b"alice"));
    let key = |pairs, query| policy.affinity(&headers(pairs), query, nobody, || panic!("not asked for")).key;
    assert_eq!(key(&[("x-user", "alice")], Some("user=bob")), alice);
    assert_eq!(key(&[], Some("user=alice")), alice, "the same text is the same key wherever it stands");
    assert_eq!(key(&[], Some("a=b&user=alice&user=bob")), alice, "the first of several");
    assert_eq!(key(&[], Some("users=alice&xuser=alice")), None);
    assert_eq!(key(&[], Some("user")), Some(HashKey::of(b"")));
    assert_eq!(key(&[], None), None);
    assert_ne!(key(&[("x-user", "alice"), ("x-user", "bob")], None), alice, "all values count");
}

#[test]
fn a_source_is_a_key_where_nothing_before_it_is_and_the_only_one_of_opaque_bytes() {
    let policy =
        hashing(vec![HashSource::Header("x-user".to_owned()), HashSource::Identity, HashSource::Address]);
    let keyed = |of| HashKey::of(if of == OfSource::Identity { b"identity" } else { b"address" });
    let key = |pairs| policy.affinity(&headers(pairs), None, keyed, || panic!("not asked for")).key;
    assert_eq!(key(&[("x-user", "alice")]), Some(HashKey::of(b"alice")));
    assert_eq!(key(&[]), Some(HashKey::of(b"identity")), "the first that it has");
    assert_eq!(policy.of_source(), Some(OfSource::Identity));
    assert_eq!(hashing(vec![HashSource::Address]).of_source(), Some(OfSource::Address));
    assert_eq!(hashing(vec![HashSource::QueryParameter("user".to_owned())]).of_source(), None);
}

#[test]
fn who_has_no_cookie_is_given_one_and_comes_back_with_the_same_key() {
    let session = Some(told::Session { ttl: Duration::from_secs(60), path: "/".to_owned() });
    let policy = hashing(vec![
        HashSource::Header("x-user".to_owned()),
        HashSource::Cookie { name: "home".to_owned(), session },
    ]);
    let first = policy.affinity(&headers(&[]), None, nobody, || 7);
    assert_eq!(*first.cookie.unwrap(), "home=0000000000000007; Path=/; HttpOnly; Max-Age=60");
    let again = policy.affinity(&headers(&[("cookie", "home=0000000000000007")]), None, nobody, || 8);
    assert!(first.key.is_some() && again.key == first.key && again.cookie.is_none());
    let named = policy.affinity(&headers(&[("x-user", "alice")]), None, nobody, || 9);
    assert!(named.key == Some(HashKey::of(b"alice")) && named.cookie.is_none());
    let plain = hashing(vec![HashSource::Cookie { name: "home".to_owned(), session: None }]);
    let without = plain.affinity(&headers(&[]), None, nobody, || 10);
    assert!(without.key.is_none() && without.cookie.is_none(), "the application's to give");
}

#[test]
fn what_is_not_said_is_the_balancers_default() {
    let compiled = TrafficPolicy::compile(&policy(None)).unwrap();
    assert_eq!(compiled.settings, Settings::default());
    let algorithm = Algorithm::RingHash { least: None, most: None };
    let balancing = told::LoadBalancing { algorithm, hash_on: vec![], load_bound: None };
    let compiled = TrafficPolicy::compile(&policy(Some(balancing))).unwrap();
    assert_eq!(compiled.settings.policy, Policy::RingHash(RingSize::default(), None));
}

/// The ranges `manifests` allows are these, so that what an API accepts no sidecar refuses.
#[test]
fn the_ends_of_every_range_are_taken_and_what_is_beyond_is_refused() {
    let said = |number| NonZeroU32::new(number);
    let law = |algorithm, bound| {
        let balancing = told::LoadBalancing { algorithm, hash_on: vec![], load_bound: said(bound) };
        TrafficPolicy::compile(&policy(Some(balancing))).is_ok()
    };
    let choices = |n| law(Algorithm::LeastRequest { choices: said(n) }, 0);
    assert_eq!([1, 2, 16, 17].map(choices), [false, true, true, false]);
    let most = |n| law(Algorithm::RingHash { least: said(1), most: said(n) }, 0);
    assert_eq!([1, 1_048_576, 1_048_577].map(most), [true, true, false]);
    assert!(!law(Algorithm::RingHash { least: said(70_000), most: None }, 0), "crossed");
    let table = |n| law(Algorithm::Maglev { table_size: said(n) }, 0);
    assert_eq!([1, 2, 4, 5_000_011, 5_000_012].map(table), [false, true, false, true, false]);
    let bound = |n| law(Algorithm::Maglev { table_size: None }, n);
    assert_eq!([100, 101, 1_000, 1_001].map(bound), [false, true, true, false]);
    let panic = |n| {
        let policy = told::TrafficPolicy { panic_threshold: said(n), ..policy(None) };
        TrafficPolicy::compile(&policy).is_ok()
    };
    assert_eq!([1, 100, 101].map(panic), [true, true, false]);
    let preference = |mode, overprovisioning, transfer_cost| {
        let (overprovisioning, transfer_cost) = (said(overprovisioning), said(transfer_cost));
        let locality = Some(told::LocalityRules { mode, overprovisioning, transfer_cost });
        let compiled = TrafficPolicy::compile(&told::TrafficPolicy { locality, ..policy(None) });
        compiled.map(|it| it.settings.locality).ok()
    };
    let prefers = |n| preference(LocalityMode::PreferSameZone, n, 0) == Some(LocalityPreference::Nearest);
    assert_eq!([0, 99, 100, 1_000, 1_001].map(prefers), [true, false, true, true, false]);
    let costs = |n| preference(LocalityMode::Failover(vec![]), 0, n);
    let cost = |n| Some(LocalityPreference::Balanced(TransferCost::new(n).unwrap()));
    assert_eq!([99, 100, 10_000, 10_001].map(costs), [None, cost(100), cost(10_000), None]);
    let alike = [LocalityMode::SameZoneOnly, LocalityMode::SameRegionOnly];
    assert_eq!(alike.map(|mode| preference(mode, 0, 0)), [Some(LocalityPreference::None); 2]);
    let ramp = |aggression, minimum| {
        let window = std::time::Duration::from_secs(1);
        let ramp = told::SlowStart { window, aggression: said(aggression), minimum: said(minimum) };
        let policy = told::TrafficPolicy { slow_start: Some(ramp), ..policy(None) };
        TrafficPolicy::compile(&policy).is_ok()
    };
    assert_eq!([9, 10, 1_000, 1_001].map(|n| ramp(n, 0)), [false, true, true, false]);
    assert_eq!([1, 100, 101].map(|n| ramp(0, n)), [true, true, false]);
}

fn detecting(told: told::OutlierDetection) -> Result<TrafficPolicy, PolicyError> {
    TrafficPolicy::compile(&told::TrafficPolicy { outlier_detection: Some(told), ..policy(None) })
}

#[test]
fn detectors_that_are_not_named_are_as_by_default_and_0_switches_one_off() {
    let named = told::OutlierDetection { failures: Some(3), ..Default::default() };
    let compiled = detecting(named).unwrap();
    let failures = Some(FailuresInARow::new(3).unwrap());
    assert_eq!(compiled.settings.detection, Detection { failures, ..Detection::default() });
    assert_eq!(compiled.interval, INTERVAL);
    let off = told::OutlierDetection { gateway_failures: Some(0), ..Default::default() };
    assert_eq!(detecting(off).unwrap().settings.detection, Detection::OFF);
    let compared = told::OutlierDetection {
        success_rate: Some(told::Comparison::default()),
        failure_share: Some(told::Comparison::default()),
        latency: Some(told::Comparison::default()),
        shortest: Some(Duration::from_secs(7)),
        interval: Some(Duration::from_secs(2)),
        ejected_share: Some(0),
        ..Default::default()
    };
    let compiled = detecting(compared).unwrap();
    let detection = compiled.settings.detection;
    assert_eq!(detection.success_rate, Some(BySuccessRate::default()));
    assert_eq!(detection.failure_share, Some(ByFailureShare::default()));
    assert_eq!(detection.latency, Some(ByLatency::default()));
    assert_eq!((detection.sentence.shortest.as_secs(), compiled.interval.as_secs()), (7, 2));
    assert_eq!(detection.most_ejected(10), 0);
}

/// As above, for the ranges of detectors.
#[test]
fn the_ends_of_every_range_of_a_detector_are_taken_and_what_is_beyond_is_refused() {
    let row = |n| {
        let failures = told::OutlierDetection { failures: Some(n), ..Default::default() };
        let gateway = told::OutlierDetection { gateway_failures: Some(n), ..Default::default() };
        let both = (detecting(failures).is_ok(), detecting(gateway).is_ok());
        assert_eq!(both.0, both.1);
        both.0
    };
    assert_eq!([0, 1_000, 1_001].map(row), [true, true, false]);
    let share =
        |n| detecting(told::OutlierDetection { ejected_share: Some(n), ..Default::default() }).is_ok();
    assert_eq!([0, 100, 101].map(share), [true, true, false]);
    let comparison = |threshold, peers, requests| told::Comparison {
        threshold: NonZeroU32::new(threshold),
        peers: NonZeroU32::new(peers),
        requests: NonZeroU32::new(requests),
    };
    let rate = |n| {
        let success_rate = Some(comparison(n, 0, 0));
        detecting(told::OutlierDetection { success_rate, ..Default::default() }).is_ok()
    };
    assert_eq!([99, 100, 10_000, 10_001].map(rate), [false, true, true, false]);
    let failures = |threshold, peers, requests| {
        let failure_share = Some(comparison(threshold, peers, requests));
        detecting(told::OutlierDetection { failure_share, ..Default::default() }).is_ok()
    };
    assert_eq!([1, 100, 101].map(|n| failures(n, 0, 0)), [true, true, false]);
    assert_eq!([1, 2, 1_000, 1_001].map(|n| failures(0, n, 0)), [false, true, true, false]);
    assert_eq!([1, 1_000_000, 1_000_001].map(|n| failures(0, 0, n)), [true, true, false]);
    let slow = |n| {
        let latency = Some(comparison(n, 0, 0));
        detecting(told::OutlierDetection { latency, ..Default::default() }).is_ok()
    };
    assert_eq!([109, 110, 10_000, 10_001].map(slow), [false, true, true, false]);
}
