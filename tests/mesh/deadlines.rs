//! How long a request may take is what its route, its Service and its caller say, and every hop knows what is left.

use serde_json::Value;
use tests::http1::{Answer, Connection};
use tests::wait::{eventually, holds};
use tests::world::World;

const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: \
                     demo}\nspec:\n  parentRefs: [{group: '', kind: Service, name: web}]\n  rules:\n  - name: slow\n    \
                     matches: [{path: {value: /delay}}]\n    backendRefs: [{name: web, port: 80}]\n  - backendRefs: \
                     [{name: web, port: 80}]\n";

fn world() -> (World, String) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    (world, outbound)
}

fn policy(world: &World, name: &str, target: &str, spec: &str) {
    world.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: demo}}\nspec:\n  \
         targetRefs: [{{{target}}}]\n  {spec}\n"
    ));
}

const SERVICE: &str = "kind: Service, name: web";
const RULE: &str = "group: gateway.networking.k8s.io, kind: HTTPRoute, name: web, sectionName: slow";

fn ask(outbound: &str, path: &str, fields: &str) -> Answer {
    let mut connection = Connection::open(outbound).unwrap();
    connection.write(format!("GET {path} HTTP/1.1\r\nHost: web\r\n{fields}\r\n").as_bytes()).unwrap();
    connection.answer().unwrap()
}

/// The fields the application saw.
fn seen(answer: &Answer, name: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let fields = body["headers"].as_array().unwrap().iter();
    let named = fields.filter(|field| field[0] == name);
    named.map(|field| field[1].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_policy_for_a_rule_holds_there_and_one_for_the_service_elsewhere() {
    let (world, outbound) = world();
    world.apply(ROUTE);
    policy(&world, "all", SERVICE, "timeouts: {request: 20s}");
    policy(&world, "slow", RULE, "timeouts: {request: 50ms}");
    eventually("the rule's requests end after 50 ms", || {
        let answer = ask(&outbound, "/delay/5000", "");
        holds((answer.status, answer.reason()) == (504, "request_timeout"), answer)
    });
    assert_eq!(ask(&outbound, "/", "").status, 200);
    policy(&world, "slow", RULE, "timeouts: {backendRequest: 50ms}");
    eventually("each attempt ends after 50 ms", || {
        let answer = ask(&outbound, "/delay/5000", "");
        holds((answer.status, answer.reason()) == (504, "attempt_timeout"), answer)
    });
}

#[test]
fn a_service_without_routes_has_its_own_timeouts_and_silence_is_one() {
    let (world, outbound) = world();
    policy(&world, "all", SERVICE, "timeouts: {idle: 100ms}");
    eventually("silence ends a request", || {
        let answer = ask(&outbound, "/delay/5000", "");
        holds((answer.status, answer.reason()) == (504, "idle_timeout"), answer)
    });
    assert_eq!(ask(&outbound, "/bytes/1000000", "").body.len(), 1_000_000, "what flows is not silent");
}

/// A world where `web-b` takes what is sent to it and never answers.
fn world_with_one_that_hangs() -> (World, String) {
    let (mut world, outbound) = world();
    world.serve("web", "web-b", "http", &["tcp", "--sink"]);
    world.in_turn("web");
    eventually("both are known", || {
        let answer = ask(&outbound, "/", "outrigger-timeout: 100\r\n");
        holds(answer.reason() == "request_timeout", answer)
    });
    (world, outbound)
}

#[test]
fn an_instance_that_answers_too_late_again_and_again_is_left_out() {
    let (mut world, outbound) = world_with_one_that_hangs();
    let ejected = |world: &mut World| {
        let labels = [("service", "demo/web"), ("cause", "gateway_failures")];
        world.metrics("shopper").sum("outrigger_endpoint_ejections_total", &labels)
    };
    for _ in 0..20 {
        ask(&outbound, "/", "outrigger-timeout: 20\r\n");
    }
    assert_eq!(ejected(&mut world), 0.0, "who is in a hurry has nobody left out");
    let lasting = "outlierDetection: {consecutiveGatewayFailures: 3, baseEjectionTime: 1h}";
    // In place of the one that has them take turns: of two for one target the older is in force.
    policy(
        &world,
        "web-in-turn",
        SERVICE,
        &format!("loadBalancing: {{policy: RoundRobin}}\n  timeouts: {{request: 100ms}}\n  {lasting}"),
    );
    // While the policy is on its way there must be an end to it.
    eventually("it is left out for what the policy allows", || {
        let answer = ask(&outbound, "/", "outrigger-timeout: 1000\r\n");
        holds(ejected(&mut world) > 0.0, answer)
    });
    let answers = [(); 20].map(|()| ask(&outbound, "/", "").status);
    assert_eq!(answers, [200; 20]);
}

#[test]
fn an_instance_that_hangs_does_not_look_idle_because_its_callers_give_up() {
    let (mut world, outbound) = world();
    world.serve("web", "web-b", "http", &["tcp", "--sink"]);
    let hurried = || ask(&outbound, "/", "outrigger-timeout: 100\r\n");
    eventually("it is known", || {
        let answer = hurried();
        holds(answer.reason() == "request_timeout", answer)
    });
    let in_vain = (0..40).filter(|_| hurried().status != 200).count();
    // Each worker finds out for itself.
    assert!(in_vain <= 4, "{in_vain} of 40 went to the one that hangs");
}

#[test]
fn what_a_caller_says_is_left_ends_the_request_and_reaches_the_application() {
    let (world, outbound) = world();
    for fields in ["outrigger-timeout: 50\r\n", "grpc-timeout: 50m\r\n", "outrigger-deadline: 1000\r\n"] {
        let answer = ask(&outbound, "/delay/5000", fields);
        assert_eq!((answer.status, answer.reason()), (504, "request_timeout"), "{fields}");
    }
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap()
    };
    let before = now();
    let answer = ask(&outbound, "/headers", "outrigger-timeout: 60000\r\n");
    let until: u64 = seen(&answer, "outrigger-deadline")[0].parse().unwrap();
    assert!((before..=now() + 60_000).contains(&until), "{until}");
    assert!(seen(&answer, "outrigger-timeout").is_empty(), "only between sidecars");
    assert!(seen(&ask(&outbound, "/headers", ""), "outrigger-deadline").is_empty(), "nobody said anything");
    policy(&world, "all", SERVICE, "timeouts: {request: 30s}");
    eventually("what is allowed is told too", || {
        let answer = ask(&outbound, "/headers", "");
        holds(seen(&answer, "outrigger-deadline").len() == 1, answer)
    });
    let answer =
        ask(&outbound, "/headers", "grpc-timeout: 99S\r\nContent-Type: application/grpc\r\nTE: trailers\r\n");
    let left = seen(&answer, "grpc-timeout").remove(0);
    let millis: u64 = left.strip_suffix('m').unwrap().parse().unwrap();
    assert!(millis <= 30_000, "it shrinks to what is allowed: {left}");
    let long = ask(&outbound, "/headers", "outrigger-timeout: 99999999\r\n");
    let until: u64 = seen(&long, "outrigger-deadline")[0].parse().unwrap();
    assert!(until <= now() + 30_000, "and never grows");
}

#[test]
fn a_retry_that_cannot_finish_is_not_started() {
    let (mut world, outbound) = world();
    policy(
        &world,
        "all",
        SERVICE,
        "retry: {attempts: 5, statuses: [503], maxRetryAfter: 5m, backoff: {base: 1m, max: 1m}}",
    );
    let denied = |world: &mut World| {
        world.metrics("shopper").sum("outrigger_retries_denied_total", &[("why", "deadline")])
    };
    // A random part of a minute is less than a quarter of a second once in 240 times.
    eventually("a pause longer than what is left is not made", || {
        let answer = ask(&outbound, "/status/503", "outrigger-timeout: 250\r\n");
        holds(answer.status == 503 && denied(&mut world) > 0.0, answer)
    });
    let answer = ask(&outbound, "/status/503", "outrigger-timeout: 0\r\n");
    assert_eq!((answer.status, answer.reason()), (504, "request_timeout"), "no time at all");
}
