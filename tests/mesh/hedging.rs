//! A second attempt beside a slow first one takes the tail away, for a little more load.

use tests::http1::Connection;
use tests::wait::{eventually, holds};
use tests::world::World;

const SERVICE: [(&str, &str); 1] = [("service", "demo/web")];

/// A Service with two instances that answer one request of twenty a hundred times as late, and a client of it.
fn slow_pair(spec: &str) -> (World, String) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    let args = ["http", "--delay-ms", "3", "--slow-rate", "0.05", "--slow-ms", "300"];
    world.serve("web", "web-a", "http", &args);
    world.serve("web", "web-b", "http", &args);
    world.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: web, namespace: demo}}\nspec:\n  \
         targetRefs: [{{group: '', kind: Service, name: web}}]\n  loadBalancing: {{policy: RoundRobin}}\n{spec}"
    ));
    let outbound = world.client("shopper", &[]);
    let mut seen = std::collections::BTreeSet::new();
    eventually("both instances answer", || {
        let answer = tests::http1::get(&outbound, "web", "/").map_err(|error| error.to_string())?;
        seen.insert(answer.header("x-instance").to_owned());
        holds(seen.len() == 2, format!("{seen:?}"))
    });
    (world, outbound)
}

/// What the sidecars of both instances have counted: every attempt that reached them.
fn attempts(world: &mut World) -> f64 {
    let inbound = [("direction", "inbound")];
    ["web-a", "web-b"].map(|name| world.metrics(name).sum("outrigger_requests_total", &inbound)).iter().sum()
}

fn hedges(world: &mut World, outcome: &str) -> f64 {
    world.metrics("shopper").sum("outrigger_hedges_total", &[SERVICE[0], ("outcome", outcome)])
}

fn load(world: &World, outbound: &str) -> serde_json::Value {
    let arguments =
        ["http1", "--target", "web.demo:80", "--via", outbound, "--connections", "16", "--rate", "200"];
    let report = world.load(&[&arguments[..], &["--duration", "5"]].concat());
    assert_eq!(report["failed_total"], 0, "{report}");
    report
}

#[test]
fn hedges_win_for_at_most_six_percent_more_load_and_nobody_is_blamed_for_losing() {
    let (mut world, outbound) = slow_pair(
        "  hedging: {minDelay: 30ms}\n  outlierDetection: {consecutiveFailures: 1, consecutiveGatewayFailures: 1}\n",
    );
    let before = attempts(&mut world);
    let report = load(&world, &outbound);
    let asked = report["ok"].as_f64().unwrap();
    let (won, lost) = (hedges(&mut world, "won"), hedges(&mut world, "lost"));
    let more = attempts(&mut world) - before - asked;
    println!("{asked} requests, {more} attempts more, {won} hedges won, {lost} lost, {report}");
    assert!(more > 0.0 && more <= asked * 0.06, "{more} attempts beside {asked}");
    assert!(won > 0.0 && won + lost >= more, "{won} won, {lost} lost, {more} more");
    let samples = world.metrics("shopper");
    assert_eq!(samples.sum("outrigger_endpoint_ejections_total", &SERVICE), 0.0, "a loser did nothing wrong");
    assert_eq!(samples.sum("outrigger_retries_total", &SERVICE), 0.0, "a hedge is no retry");
}

#[test]
fn nothing_is_hedged_without_being_asked_or_if_twice_is_not_as_good_as_once() {
    let (mut world, outbound) = slow_pair("");
    load(&world, &outbound);
    assert_eq!(world.metrics("shopper").sum("outrigger_hedges_total", &[]), 0.0);
    world.apply(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web, namespace: demo}\nspec:\n  \
         targetRefs: [{kind: Service, name: web}]\n  hedging: {percentile: 50, budget: {percent: 100}}\n",
    );
    let mut connection = Connection::open(&outbound).unwrap();
    eventually("hedges are made", || {
        connection.get("web", "/").map_err(|error| error.to_string())?;
        let sent = hedges(&mut world, "won") + hedges(&mut world, "lost");
        holds(sent > 0.0, format!("{sent} hedges"))
    });
    let before = world.metrics("shopper").sum("outrigger_hedges_total", &[]);
    for _ in 0..60 {
        connection.write(b"POST /echo HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nonce").unwrap();
        assert_eq!(connection.answer().unwrap().body, "once");
    }
    let after = world.metrics("shopper").sum("outrigger_hedges_total", &[]);
    assert_eq!(after - before, 0.0, "three of them were slow, and each was sent once");
}

/// What docs/retries.md reports. Latencies say something on a machine that does nothing else, and so they are printed and
/// not asserted: `cargo test -p tests --test mesh -- --ignored --nocapture how_far_the_tail_falls`.
#[test]
#[ignore = "a measurement: it needs a quiet machine and a minute"]
fn how_far_the_tail_falls() {
    for (name, spec) in [("without", ""), ("with", "  hedging: {}\n")] {
        let (mut world, outbound) = slow_pair(spec);
        let before = attempts(&mut world);
        let arguments = ["http1", "--target", "web.demo:80", "--via", &outbound, "--connections", "32"];
        let report = world.load(&[&arguments[..], &["--rate", "200", "--duration", "20"]].concat());
        let asked = report["ok"].as_f64().unwrap();
        let more = (attempts(&mut world) - before) / asked * 100.0 - 100.0;
        let milliseconds = |quantile: &str| report["latency_us"][quantile].as_f64().unwrap() / 1_000.0;
        let [p50, p90, p99] = ["p50", "p90", "p99"].map(milliseconds);
        println!(
            "{name} hedging: p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, {more:.1} % more attempts"
        );
        assert_eq!(report["failed_total"], 0, "{report}");
    }
}
