//! What a TrafficPolicy limits is kept to exactly, by callers and by those who are called, and who is refused is told why,
//! with the numbers.

use serde_json::Value;
use tests::holding::Holding;
use tests::http1::{Answer, Connection, get};
use tests::wait::{eventually, holds};
use tests::world::World;

fn policy(world: &World, service: &str, spec: &str) {
    world.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {service}, namespace: demo}}\nspec:\n  \
         targetRefs: [{{group: '', kind: Service, name: {service}}}]\n  {spec}\n"
    ));
}

fn config(world: &mut World, member: &str) -> Value {
    let admin = world.mesh.member(member).unwrap().sidecar_addr("admin").unwrap().to_owned();
    serde_json::from_str(&get(&admin, "localhost", "/config").unwrap().body).unwrap()
}

/// What only a request under the new policy is answered with. `/config` has a policy before the workers go by it.
const IN_FORCE: &str = "/quick/in-force";

/// Applies a circuit breaker to `web`, and waits until the caller's worker goes by it.
fn breaker(world: &World, outbound: &str, fields: &str) {
    let probe = format!("{{matches: [{{path: {{value: {IN_FORCE}}}}}], abort: {{httpStatus: 418}}}}");
    policy(world, "web", &format!("circuitBreaker: {{{fields}}}\n  faultInjection: {{rules: [{probe}]}}"));
    world.until_answers(outbound, "web", IN_FORCE, 418);
}

/// Applies limits of the instance to `web`, and waits until its worker goes by them. `rates` is more rules of the rate.
fn door(world: &World, outbound: &str, fields: &str, rates: &str) {
    let probe = format!("{{matches: [{{path: {{value: {IN_FORCE}}}}}], requests: 1, unit: Hour}}");
    policy(world, "web", &format!("{fields}\n  rateLimit: {{rules: [{rates}{probe}]}}"));
    world.until_answers(outbound, "web", IN_FORCE, 429);
}

/// Waits until a sidecar has so much under way or waiting under a limit.
fn until_used(world: &mut World, member: &str, direction: &str, limit: &str, used: f64) {
    eventually(&format!("{member} has {used} {limit} {direction}"), || {
        let samples = world.metrics(member);
        let seen = samples.sum("outrigger_limit_used", &[("direction", direction), ("limit", limit)]);
        holds(seen == used, seen)
    });
}

/// Sends a request and does not read the answer yet.
fn ask(outbound: &str, path: &str) -> Connection {
    let mut connection = Connection::open(outbound).unwrap();
    connection.write(format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n").as_bytes()).unwrap();
    connection
}

fn held(world: &mut World) -> Holding {
    world.service("web", 80, Some("http"), "main");
    Holding::serve(world, "web", "web-a")
}

#[test]
fn requests_beyond_the_limit_wait_and_beyond_the_queue_are_refused_with_the_numbers() {
    let mut world = World::new();
    let web = held(&mut world);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/quick", 200);
    breaker(&world, &outbound, "maxRequests: 2, maxPendingRequests: 1, maxPendingTime: 60s");
    let port = config(&mut world, "shopper")["services"]["demo/web"]["ports"][0].clone();
    assert_eq!(port["circuitBreaker"]["requests"]["limit"], 2, "{port}");

    let mut first = ask(&outbound, "/first");
    let first_held = web.next();
    let mut second = ask(&outbound, "/second");
    let second_held = web.next();
    let mut third = ask(&outbound, "/third");
    until_used(&mut world, "shopper", "outbound", "pending", 1.0);
    let refused = get(&outbound, "web", "/fourth").unwrap();
    assert_eq!((refused.status, refused.reason()), (503, "request_limit"), "{}", refused.body);
    assert_eq!(
        refused.body,
        "the TrafficPolicy demo/web allows this sidecar 2 requests to demo/web at once: 2 are under way and 1 of at most 1 \
         wait\n"
    );
    assert!(web.is_quiet(), "the third waits");

    first_held.answer();
    assert_eq!(first.answer().unwrap().status, 200);
    let third_held = web.next();
    assert_eq!(third_held.path, "/third");
    third_held.answer();
    second_held.answer();
    assert_eq!([second.answer().unwrap().status, third.answer().unwrap().status], [200; 2]);
    until_used(&mut world, "shopper", "outbound", "requests", 0.0);
    let labels = [("direction", "outbound"), ("service", "demo/web"), ("reason", "request_limit")];
    assert_eq!(world.metrics("shopper").sum("outrigger_requests_total", &labels), 1.0);
}

#[test]
fn a_request_that_has_waited_for_its_turn_too_long_is_refused() {
    let mut world = World::new();
    let web = held(&mut world);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/quick", 200);
    breaker(&world, &outbound, "maxRequests: 1, maxPendingTime: 50ms");
    let mut first = ask(&outbound, "/first");
    let first_held = web.next();
    let refused = get(&outbound, "web", "/second").unwrap();
    assert_eq!((refused.status, refused.reason()), (503, "pending_timeout"), "{}", refused.body);
    assert!(refused.body.ends_with("it has waited 50 ms\n"), "{}", refused.body);
    first_held.answer();
    assert_eq!(first.answer().unwrap().status, 200);
    assert!(web.is_quiet(), "what was refused never arrived");
}

#[test]
fn a_limit_of_connections_holds_for_opaque_bytes() {
    let mut world = World::new();
    world.service("echo", 7000, Some("tcp"), "main");
    world.serve("echo", "echo-a", "tcp", &["tcp"]);
    world.client("caller", &["echo.demo:7000=127.0.0.1:0"]);
    let addr =
        world.mesh.member("caller").unwrap().sidecar_addr("upstream.echo.demo:7000").unwrap().to_owned();
    let open = || -> Option<Connection> {
        let mut connection = Connection::open(&addr).ok()?;
        connection.write(b"ahoy\n").ok()?;
        (connection.line().ok()? == "ahoy").then_some(connection)
    };
    drop(eventually("the echo answers", || open().ok_or("it does not")));
    policy(&world, "echo", "circuitBreaker: {maxConnections: 2}");
    let first = eventually("a connection has a place", || {
        let connection = open().ok_or(-1.0)?;
        let seen = world.metrics("caller").sum("outrigger_limit_used", &[("limit", "connections")]);
        // What was open before the policy was in force is open without one.
        holds(seen == 1.0, seen).map(|()| connection)
    });
    let _second = open().expect("there is a place for two");
    until_used(&mut world, "caller", "outbound", "connections", 2.0);
    assert!(open().is_none(), "the third is closed");
    world.counted("caller", "outrigger_refusals_total", &[("reason", "connection_limit")], 1.0);
    drop(first);
    drop(eventually("its place is free", || open().ok_or("it is not")));
}

#[test]
fn a_client_that_floods_an_instance_does_not_starve_a_quiet_one() {
    let mut world = World::new();
    let web = held(&mut world);
    let noisy = world.client("noisy", &[]);
    let quiet = world.client("quiet", &[]);
    world.until_answers(&noisy, "web", "/quick", 200);
    world.until_answers(&quiet, "web", "/quick", 200);
    door(&world, &noisy, "concurrency: {maxRequests: 2, maxPendingRequests: 3, maxPendingTime: 60s}", "");

    let mut flood = vec![ask(&noisy, "/noisy"), ask(&noisy, "/noisy")];
    let mut under_way = vec![web.next(), web.next()];
    for waiting in 1..=3 {
        flood.push(ask(&noisy, "/noisy"));
        until_used(&mut world, "web-a", "inbound", "pending", f64::from(waiting));
    }
    let mut asked = ask(&quiet, "/quiet");
    let driven_out: Answer = flood.pop().unwrap().answer().unwrap();
    assert_eq!((driven_out.status, driven_out.reason()), (503, "concurrency_limit"), "{}", driven_out.body);
    assert_eq!(
        driven_out.body,
        "the TrafficPolicy demo/web lets in 2 requests at once: 2 are under way and 3 of at most 3 wait, of \
         spiffe://mesh.internal/ns/demo/sa/noisy 2 and 2\n"
    );
    assert!(web.is_quiet(), "nobody else has begun");

    under_way.remove(0).answer();
    let next = web.next();
    assert_eq!(next.path, "/quiet", "it came last and is first");
    next.answer();
    assert_eq!(asked.answer().unwrap().status, 200);
    under_way.remove(0).answer();
    for _ in 0..2 {
        web.next().answer();
    }
    for mut served in flood {
        assert_eq!(served.answer().unwrap().status, 200);
    }
    until_used(&mut world, "web-a", "inbound", "requests", 0.0);
    let labels = [("direction", "inbound"), ("reason", "concurrency_limit")];
    assert_eq!(world.metrics("web-a").sum("outrigger_requests_total", &labels), 1.0);
}

#[test]
fn a_request_waits_at_the_instance_no_longer_than_it_may_and_a_limit_that_adapts_is_shown() {
    let mut world = World::new();
    let web = held(&mut world);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/quick", 200);
    let adaptive = "adaptive: {minRequests: 1, initialRequests: 1}";
    door(&world, &outbound, &format!("concurrency: {{{adaptive}, maxPendingTime: 50ms}}"), "");
    let mut first = ask(&outbound, "/first");
    let first_held = web.next();
    let refused = get(&outbound, "web", "/second").unwrap();
    assert_eq!((refused.status, refused.reason()), (503, "concurrency_timeout"), "{}", refused.body);
    let samples = world.metrics("web-a");
    let limit = [("direction", "inbound"), ("limit", "requests")];
    assert_eq!(samples.sum("outrigger_limit", &limit), 1.0);
    assert_eq!(samples.sum("outrigger_limit_used", &limit), 1.0);
    first_held.answer();
    assert_eq!(first.answer().unwrap().status, 200);
    world.mesh.meshctl(&["delete", "trafficpolicy", "web", "-n", "demo"]).unwrap();
    eventually("limits that are gone are gone from the metrics", || {
        let seen = world.metrics("web-a").with("outrigger_limit", &[]).count();
        holds(seen == 0, seen)
    });
}

#[test]
fn exactly_the_burst_is_let_in_of_each_client_and_the_rest_is_told_when_to_come_again() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let clients = ["one", "two"].map(|name| {
        let outbound = world.client(name, &[]);
        world.until_answers(&outbound, "web", "/", 200);
        outbound
    });
    let limited = "{matches: [{path: {value: /limited}}], key: {type: ClientIdentity}, requests: 5, unit: Hour, burst: 7}, ";
    door(&world, &clients[0], "", limited);
    for outbound in &clients {
        let threads = (0..4).map(|_| {
            let outbound = outbound.clone();
            std::thread::spawn(move || {
                let mut connection = Connection::open(&outbound).unwrap();
                (0..10).map(|_| connection.get("web", "/limited/x").unwrap()).collect::<Vec<_>>()
            })
        });
        let threads: Vec<_> = threads.collect();
        let answers: Vec<Answer> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let (let_in, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((let_in.len(), refused.len()), (7, 33));
        for answer in refused {
            assert_eq!((answer.status, answer.reason()), (429, "rate_limited"), "{}", answer.body);
            let seconds: u32 = answer.header("retry-after").parse().unwrap();
            // A token comes every 720 s.
            assert!((1..=720).contains(&seconds), "{seconds}");
            assert!(answer.body.contains("5 requests per hour, 7 at once"), "{}", answer.body);
        }
        assert_eq!(get(outbound, "web", "/other").unwrap().status, 200, "it is for /limited alone");
    }
    let limits = config(&mut world, "web-a")["inboundLimits"].clone();
    let (_, port) = limits.as_object().unwrap().iter().next().unwrap();
    assert_eq!(port["rateLimits"][0]["clients"], 2, "{limits}");
    let labels = [("direction", "inbound"), ("service", "demo/web"), ("reason", "rate_limited")];
    // One or more were the probes of the policy.
    world.counted("web-a", "outrigger_requests_total", &labels, 67.0);
}

#[test]
fn values_of_a_header_are_told_apart_and_grpc_callers_are_told_in_grpcs_terms() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    world.service("greeter", 50051, Some("grpc"), "main");
    world.serve("greeter", "greeter-a", "grpc", &["grpc"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let users = "{matches: [{headers: [{name: x-user, type: RegularExpression, value: .+}]}], key: {type: Header, name: \
                 x-user}, requests: 1, unit: Hour}, ";
    door(&world, &outbound, "", users);
    let mut connection = Connection::open(&outbound).unwrap();
    let mut by = |user: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: web\r\nX-User: {user}\r\n\r\n");
        connection.write(head.as_bytes()).unwrap();
        connection.answer().unwrap().status
    };
    assert_eq!(["ann", "bob", "ann", "bob", "eve"].map(&mut by), [200, 200, 429, 429, 200]);

    policy(&world, "greeter", "rateLimit: {rules: [{requests: 1, unit: Hour}]}");
    let via = ["grpc", "--target", "greeter.demo:50051", "--via", &outbound];
    let report = eventually("the greeter lets nobody in", || {
        let report = world.load(&[&via[..], &["--duration", "0.3", "--rate", "30"]].concat());
        let failed: Vec<_> = report["failed"].as_object().unwrap().keys().cloned().collect();
        holds(failed == ["grpc-8"], report.clone()).map(|()| report)
    });
    assert!(report["failed_total"].as_u64().unwrap() > 1, "{report}");
}

#[test]
fn no_more_are_tried_again_at_once_than_the_limit_allows() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    world.serve("web", "web-b", "http", &["http"]);
    world.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: demo}\nspec:\n  \
         parentRefs: [{group: '', kind: Service, name: web}]\n  rules:\n  - backendRefs: [{name: web, port: 80}]\n    \
         retry: {codes: [503], attempts: 1}\n",
    );
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    eventually("the route's retries are made", || {
        assert_eq!(get(&outbound, "web", "/status/503").unwrap().status, 503);
        let retries = world.metrics("shopper").sum("outrigger_retries_total", &[]);
        holds(retries > 0.0, retries)
    });
    breaker(&world, &outbound, "maxRetries: 0");
    let before = world.metrics("shopper").sum("outrigger_retries_total", &[]);
    for _ in 0..3 {
        assert_eq!(get(&outbound, "web", "/status/503").unwrap().status, 503);
    }
    let samples = world.metrics("shopper");
    assert_eq!(samples.sum("outrigger_retries_total", &[]), before);
    assert_eq!(
        samples.sum("outrigger_retries_denied_total", &[("service", "demo/web"), ("why", "limit")]),
        3.0
    );
}

#[test]
fn an_instance_that_lets_nobody_in_by_its_limit_is_not_left_out_for_it() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    world.serve("web", "web-b", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    policy(&world, "web", "concurrency: {maxRequests: 1, maxPendingRequests: 0}");
    // Slow ones, until both instances have as many as they let in. What was under way before is not counted.
    let mut slow = Vec::new();
    let limit = [("direction", "inbound"), ("limit", "requests")];
    eventually("both instances are full", || {
        slow.push(ask(&outbound, "/delay/60000"));
        let used = ["web-a", "web-b"].map(|it| world.metrics(it).sum("outrigger_limit_used", &limit));
        holds(used == [1.0; 2], used)
    });
    for _ in 0..20 {
        let refused = get(&outbound, "web", "/").unwrap();
        assert_eq!((refused.status, refused.reason()), (503, "concurrency_limit"), "{}", refused.body);
    }
    let ejections = world.metrics("shopper").sum("outrigger_endpoint_ejections_total", &[]);
    assert_eq!(ejections, 0.0, "503 for a limit says nothing of an instance's health");
    slow.clear();
    world.until_answers(&outbound, "web", "/", 200);
}
