//! Instances are not alike: some are slow, new, failing or loved by one client. How much each gets follows from that.

use crate::balancing::{policy, spread, three, until_law};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tests::wait::{eventually, holds};
use tests::world::World;

/// Nobody is left out for failing, unless the test says so.
const NEVER_OUT: &str = "  outlierDetection: {consecutiveGatewayFailures: 0}\n";

/// How many requests each instance answers while eight connections ask again as soon as they are answered.
fn under_load(world: &World, outbound: &str, more: &[&str]) -> BTreeMap<String, u64> {
    let arguments =
        ["http1", "--target", "web.demo:80", "--via", outbound, "--connections", "8", "--duration", "1"];
    let report = world.load(&[&arguments[..], more].concat());
    let instances = report["instances"].as_object().unwrap();
    instances.iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap())).collect()
}

#[test]
fn a_slow_instance_gets_less_where_latency_or_load_counts_and_its_part_where_they_do_not() {
    let slow: &[&str] = &["http", "--delay-ms", "60"];
    let (mut world, outbound) = three([&["http", "--delay-ms", "2"], &["http", "--delay-ms", "2"], slow]);
    for law in ["PeakEwma", "LeastRequest"] {
        policy(&world, &format!("  loadBalancing: {{policy: {law}}}\n"));
        until_law(&mut world, law);
        let seen = under_load(&world, &outbound, &[]);
        let slow = seen.get("web-c").copied().unwrap_or_default();
        assert!(slow * 4 < seen["web-a"] && slow * 4 < seen["web-b"], "{law}: {seen:?}");
    }
    policy(&world, "  loadBalancing: {policy: Random}\n");
    until_law(&mut world, "Random");
    let seen = spread(&outbound, 120);
    // One of 120 throws falling on one of three less than 15 times is one in 10^7.
    assert!(seen.len() == 3 && seen.values().all(|count| *count >= 15), "{seen:?}");
}

#[test]
fn a_new_instance_gets_its_part_little_by_little() {
    const WINDOW: Duration = Duration::from_secs(8);
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    for name in ["web-a", "web-b"] {
        world.serve("web", name, "http", &["http"]);
    }
    let outbound = world.client("shopper", &[]);
    policy(
        &world,
        &format!(
            "  loadBalancing: {{policy: RoundRobin}}\n  slowStart: {{window: {}s, minimum: 1}}\n",
            WINDOW.as_secs()
        ),
    );
    world.until_answers(&outbound, "web", "/", 200);
    until_law(&mut world, "RoundRobin");
    eventually("both are known", || {
        let seen = spread(&outbound, 10);
        holds(seen.len() == 2, seen)
    });
    let known = SystemTime::now();
    eventually("both are old", || {
        let age = known.elapsed().unwrap_or_default();
        holds(age > WINDOW, age)
    });
    world.serve("web", "web-c", "http", &["http"]);
    let first = eventually("the new one gets its first request", || {
        let seen = spread(&outbound, 60);
        if seen.contains_key("web-c") { Ok(seen) } else { Err(seen) }
    });
    assert!(first["web-c"] < 15, "20 would be its part: {first:?}");
    eventually("it gets its part", || {
        let seen = spread(&outbound, 60);
        holds(seen.get("web-c") == Some(&20), seen)
    });
}

#[test]
fn where_too_few_are_left_those_that_are_out_are_used_too() {
    let failing: &[&str] = &["http", "--fail-rate", "1"];
    let (mut world, outbound) = three([&["http"], failing, failing]);
    let out = "  loadBalancing: {policy: RoundRobin}\n  outlierDetection: {consecutiveGatewayFailures: 2, baseEjectionTime: \
               1h, maxEjectionPercent: 100}\n";
    policy(&world, out);
    until_law(&mut world, "RoundRobin");
    eventually("one is left", || {
        let seen = spread(&outbound, 30);
        holds(seen == BTreeMap::from([("web-a".to_owned(), 30)]), seen)
    });
    policy(&world, &format!("{out}  panicThreshold: 50\n"));
    eventually("a third is too few: all are used", || {
        let seen = spread(&outbound, 30);
        holds(seen.into_values().eq([10; 3]), "not all")
    });
}

#[test]
fn an_instance_that_succeeds_less_or_is_slower_than_the_others_is_left_out() {
    let failing: &[&str] = &["http", "--fail-rate", "1"];
    let slow: &[&str] = &["http", "--delay-ms", "50"];
    for (third, detector, cause) in [
        (
            failing,
            "successRate: {standardDeviationFactor: 1000, minimumHosts: 3, requestVolume: 5}",
            "success_rate",
        ),
        (slow, "latency: {threshold: 300, excess: 20ms, minimumHosts: 2, requestVolume: 5}", "latency"),
    ] {
        let (mut world, outbound) = three([&["http"], &["http"], third]);
        policy(
            &world,
            &format!(
                "  loadBalancing: {{policy: RoundRobin}}\n  outlierDetection:\n    consecutiveGatewayFailures: 0\n    \
                 interval: 1s\n    baseEjectionTime: 1h\n    {detector}\n"
            ),
        );
        until_law(&mut world, "RoundRobin");
        let labels = [("service", "demo/web"), ("cause", cause)];
        eventually(cause, || {
            let seen = spread(&outbound, 30);
            let ejected = world.metrics("shopper").sum("outrigger_endpoint_ejections_total", &labels);
            holds(ejected == 1.0, seen)
        });
        let after = spread(&outbound, 30);
        assert_eq!(after, BTreeMap::from([("web-a".to_owned(), 15), ("web-b".to_owned(), 15)]), "{cause}");
    }
}

#[test]
fn a_key_that_is_loved_too_much_is_shared_where_its_home_may_not_carry_more_than_its_part() {
    let slow: &[&str] = &["http", "--delay-ms", "5"];
    let (mut world, outbound) = three([slow; 3]);
    for law in ["RingHash", "Maglev"] {
        let hash = |bound: &str| {
            format!(
                "  loadBalancing: {{policy: {law}, hashOn: [{{type: Header, name: x-user}}]{bound}}}\n{NEVER_OUT}"
            )
        };
        let all_one = ["--header", "x-user:everybody"];
        policy(&world, &hash(""));
        until_law(&mut world, law);
        let seen = under_load(&world, &outbound, &all_one);
        assert_eq!(seen.len(), 1, "{law}: one key has one home: {seen:?}");
        policy(&world, &hash(", boundedLoad: 125"));
        eventually("the others help", || {
            let seen = under_load(&world, &outbound, &all_one);
            holds(seen.len() == 3, seen)
        });
    }
}
