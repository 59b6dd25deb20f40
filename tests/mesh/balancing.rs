//! How requests are spread is what a TrafficPolicy says, from the moment it is applied, and no request notices the change.

use std::collections::{BTreeMap, BTreeSet};
use tests::http1::{Connection, get};
use tests::wait::{eventually, holds};
use tests::world::World;

const INSTANCES: [&str; 3] = ["web-a", "web-b", "web-c"];

/// A Service `web` with three instances, and a client that has reached it.
pub(super) fn three(args: [&[&str]; 3]) -> (World, String) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    for (name, args) in INSTANCES.iter().zip(args) {
        world.serve("web", name, "http", args);
    }
    let outbound = world.client("shopper", &[]);
    eventually("every instance answers", || {
        let seen = spread(&outbound, 30);
        holds(seen.len() == 3, seen)
    });
    (world, outbound)
}

/// How many of so many requests, one after the other on one connection, each instance answers.
pub(super) fn spread(outbound: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut connection = Connection::open(outbound).unwrap();
    let mut seen = BTreeMap::new();
    for _ in 0..requests {
        let answer = connection.get("web", "/").unwrap();
        *seen.entry(answer.header("x-instance").to_owned()).or_default() += 1;
    }
    seen
}

pub(super) fn policy(world: &World, spec: &str) {
    world.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: web, namespace: demo}}\nspec:\n  \
         targetRefs: [{{group: '', kind: Service, name: web}}]\n{spec}"
    ));
}

fn balancing(world: &World, law: &str) {
    policy(world, &format!("  loadBalancing: {{policy: {law}}}\n"));
}

/// What the client's sidecar says of how requests to `web` are spread.
fn law(world: &mut World) -> String {
    let admin = world.mesh.member("shopper").unwrap().sidecar_addr("admin").unwrap().to_owned();
    let config = get(&admin, "localhost", "/config").unwrap().body;
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["services"]["demo/web"]["ports"][0]["loadBalancing"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn until_law(world: &mut World, wanted: &str) {
    eventually(&format!("{wanted} is in force"), || {
        let seen = law(world);
        holds(seen == wanted, seen)
    });
    // That is the control thread's view. A worker that has answered twice since has taken it over too.
    for _ in 0..2 {
        world.metrics("shopper");
    }
}

/// The instance that answers each of these users, who are told by a header.
fn homes(outbound: &str, users: usize) -> Vec<String> {
    let mut connection = Connection::open(outbound).unwrap();
    let home = |user| {
        let head = format!("GET / HTTP/1.1\r\nHost: web\r\nX-User: user-{user}\r\n\r\n");
        connection.write(head.as_bytes()).unwrap();
        connection.answer().unwrap().header("x-instance").to_owned()
    };
    (0..users).map(home).collect()
}

#[test]
fn round_robin_gives_every_instance_exactly_its_part() {
    let (mut world, outbound) = three([&["http"]; 3]);
    assert_eq!(law(&mut world), "PeakEwma", "nothing is said yet");
    balancing(&world, "RoundRobin");
    until_law(&mut world, "RoundRobin");
    assert_eq!(spread(&outbound, 300).into_values().collect::<Vec<_>>(), [100; 3]);
}

#[test]
fn a_hashed_header_leads_to_one_instance_and_only_the_keys_of_one_that_leaves_move() {
    let (mut world, outbound) = three([&["http"]; 3]);
    policy(
        &world,
        "  loadBalancing: {policy: RingHash, hashOn: [{type: Header, name: x-user}, {type: QueryParameter, name: user}]}\n",
    );
    until_law(&mut world, "RingHash");
    let before = homes(&outbound, 90);
    assert_eq!(homes(&outbound, 90), before, "each user stays");
    let used: BTreeSet<_> = before.iter().collect();
    assert_eq!(used.len(), 3, "{before:?}");
    let by_query = get(&outbound, "web", "/?user=user-7").unwrap();
    assert_eq!(by_query.header("x-instance"), before[7], "one user is one key wherever it stands");
    let other = world.client("other", &[]);
    world.until_answers(&other, "web", "/", 200);
    assert_eq!(homes(&other, 90), before, "every sidecar knows the same homes");

    world.mesh.member("web-c").unwrap().terminate_sidecar().unwrap();
    eventually("nobody is sent to the one that left", || {
        let seen = homes(&outbound, 90);
        holds(!seen.contains(&"web-c".to_owned()), seen)
    });
    for (user, (before, after)) in before.iter().zip(homes(&outbound, 90)).enumerate() {
        assert!(*before == after || before == "web-c", "user {user} moved from {before} to {after}");
    }
}

#[test]
fn a_client_without_the_cookie_is_given_one_and_stays_where_it_was() {
    let (mut world, outbound) = three([&["http"]; 3]);
    policy(
        &world,
        "  loadBalancing: {policy: Maglev, hashOn: [{type: Cookie, name: home, ttl: 1h, path: /shop}]}\n",
    );
    until_law(&mut world, "Maglev");
    let mut homes = BTreeSet::new();
    // With three instances, 40 clients that all came to one would be one in 10^18.
    for _ in 0..40 {
        let first = get(&outbound, "web", "/").unwrap();
        let cookie = first.header("set-cookie").to_owned();
        assert!(cookie.ends_with("; Path=/shop; HttpOnly; Max-Age=3600"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let mut again = Connection::open(&outbound).unwrap();
        for _ in 0..5 {
            let head = format!("GET / HTTP/1.1\r\nHost: web\r\nCookie: other=1; {pair}\r\n\r\n");
            again.write(head.as_bytes()).unwrap();
            let answer = again.answer().unwrap();
            assert_eq!(answer.header("x-instance"), first.header("x-instance"), "{pair}");
            assert_eq!(answer.header("set-cookie"), "", "it has one");
        }
        homes.insert(first.header("x-instance").to_owned());
    }
    assert!(homes.len() > 1, "{homes:?}");
}

#[test]
fn weights_and_zones_are_followed_as_soon_as_they_are_said() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    for (name, (zone, weight)) in INSTANCES.iter().zip([("a", "2"), ("a", "1"), ("b", "1")]) {
        world.serve_with("web", name, "http", &["http"], &[("--zone", zone), ("--weight", weight)]);
    }
    let outbound = world.client_with("shopper", &[], &[("--zone", "a")]);
    balancing(&world, "RoundRobin");
    world.until_answers(&outbound, "web", "/", 200);
    until_law(&mut world, "RoundRobin");
    eventually("every instance is known", || {
        let seen = spread(&outbound, 40);
        holds(seen.len() == 3, seen)
    });
    assert_eq!(spread(&outbound, 400).into_values().collect::<Vec<_>>(), [200, 100, 100]);

    policy(&world, "  loadBalancing: {policy: Random}\n  locality: {mode: PreferSameZone}\n");
    until_law(&mut world, "Random");
    let near = spread(&outbound, 100);
    assert!(near.len() == 2 && !near.contains_key("web-c"), "{near:?}");
    for near in ["web-a", "web-b"] {
        world.mesh.member(near).unwrap().terminate_sidecar().unwrap();
    }
    eventually("the other zone takes over", || {
        let seen = spread(&outbound, 10);
        holds(seen.len() == 1 && seen.contains_key("web-c"), seen)
    });
}

/// Until the load has had requests answered since now.
fn until_some_more(world: &mut World) {
    let labels = [("direction", "outbound"), ("service", "demo/web")];
    let before = world.metrics("shopper").sum("outrigger_requests_total", &labels);
    world.counted("shopper", "outrigger_requests_total", &labels, before + 20.0);
}

#[test]
fn a_policy_that_changes_under_load_loses_no_request() {
    let (mut world, outbound) = three([&["http"]; 3]);
    let arguments =
        ["http1", "--target", "web.demo:80", "--via", &outbound, "--connections", "8", "--rate", "200"];
    let load = world.start_load(&[&arguments[..], &["--duration", "8"]].concat());
    for law in ["RoundRobin", "Random", "LeastRequest", "PeakEwma"] {
        balancing(&world, law);
        until_law(&mut world, law);
        until_some_more(&mut world);
    }
    for law in ["RingHash", "Maglev"] {
        balancing(&world, &format!("{law}, hashOn: [{{type: Header, name: x-user}}]"));
        until_law(&mut world, law);
        until_some_more(&mut world);
    }
    world.mesh.meshctl(&["delete", "trafficpolicy", "web", "-n", "demo"]).unwrap();
    until_law(&mut world, "PeakEwma");
    until_some_more(&mut world);
    let output = load.wait_with_output().unwrap();
    let report: serde_json::Value =
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(report["failed_total"], 0, "{report}");
}

#[test]
fn an_instance_that_answers_500_is_left_out_when_that_is_asked_for_and_comes_back() {
    let (mut world, outbound) = three([&["http"]; 3]);
    policy(
        &world,
        "  loadBalancing: {policy: RingHash, hashOn: [{type: Header, name: x-user}]}\n  outlierDetection: \
         {consecutiveFailures: 3, baseEjectionTime: 5s, maxEjectionTime: 5s}\n",
    );
    until_law(&mut world, "RingHash");
    let home = homes(&outbound, 1).remove(0);
    let mut connection = Connection::open(&outbound).unwrap();
    for _ in 0..3 {
        connection.write(b"GET /status/500 HTTP/1.1\r\nHost: web\r\nX-User: user-0\r\n\r\n").unwrap();
        let answer = connection.answer().unwrap();
        assert_eq!((answer.status, answer.header("x-instance")), (500, home.as_str()));
    }
    let away = homes(&outbound, 1).remove(0);
    assert_ne!(away, home, "it is left out");
    let labels = [("service", "demo/web"), ("cause", "failures")];
    let samples = world.metrics("shopper");
    assert_eq!(samples.sum("outrigger_endpoint_ejections_total", &labels), 1.0);
    assert_eq!(samples.sum("outrigger_endpoints_ejected", &[("service", "demo/web")]), 1.0);
    eventually("it comes back", || {
        let seen = homes(&outbound, 1).remove(0);
        holds(seen == home, seen)
    });
    let samples = world.metrics("shopper");
    assert_eq!(samples.sum("outrigger_endpoints_ejected", &[("service", "demo/web")]), 0.0);
}

#[test]
fn an_instance_whose_trailers_say_that_it_failed_is_left_out_as_if_its_head_had_said_so() {
    let (mut world, outbound) = three([&["http"]; 3]);
    policy(
        &world,
        "  loadBalancing: {policy: RingHash, hashOn: [{type: Header, name: x-user}]}\n  outlierDetection: \
         {consecutiveGatewayFailures: 3, baseEjectionTime: 1h}\n",
    );
    until_law(&mut world, "RingHash");
    let home = eventually("the key has one home", || {
        let seen: BTreeSet<_> = (0..10).map(|_| homes(&outbound, 1).remove(0)).collect();
        if seen.len() == 1 { Ok(seen.into_iter().next().unwrap()) } else { Err(seen) }
    });
    let mut connection = Connection::open(&outbound).unwrap();
    let mut ask = |status: u8, kind: &str| {
        let head = format!(
            "GET /grpc-status/{status} HTTP/1.1\r\nHost: web\r\nX-User: user-0\r\nTE: trailers\r\nContent-Type: \
             {kind}\r\n\r\n"
        );
        connection.write(head.as_bytes()).unwrap();
        connection.answer().unwrap().header("x-instance").to_owned()
    };
    for status in [0, 5, 12] {
        assert_eq!(
            [(); 4].map(|()| ask(status, "application/grpc")),
            [(); 4].map(|()| home.clone()),
            "{status}"
        );
    }
    assert_eq!([(); 4].map(|()| ask(14, "text/plain")), [(); 4].map(|()| home.clone()), "no gRPC, no status");
    assert_eq!([(); 3].map(|()| ask(14, "application/grpc")), [(); 3].map(|()| home.clone()));
    assert_ne!(ask(0, "application/grpc"), home, "it is left out");
    let labels = [("service", "demo/web"), ("cause", "gateway_failures")];
    assert_eq!(world.metrics("shopper").sum("outrigger_endpoint_ejections_total", &labels), 1.0);
}

#[test]
fn an_instance_that_fails_more_than_the_others_is_left_out_when_an_interval_ends() {
    let failing: &[&str] = &["http", "--fail-rate", "1"];
    let (mut world, outbound) = three([&["http"], &["http"], failing]);
    policy(
        &world,
        "  loadBalancing: {policy: RoundRobin}\n  outlierDetection:\n    consecutiveGatewayFailures: 0\n    interval: \
         1s\n    baseEjectionTime: 1h\n    failurePercentage: {threshold: 50, minimumHosts: 3, requestVolume: 5}\n",
    );
    until_law(&mut world, "RoundRobin");
    let labels = [("service", "demo/web"), ("cause", "failure_share")];
    eventually("it is left out for its share of failures", || {
        let seen = spread(&outbound, 30);
        let ejected = world.metrics("shopper").sum("outrigger_endpoint_ejections_total", &labels);
        holds(ejected == 1.0, seen)
    });
    let after = spread(&outbound, 30);
    assert_eq!(after, BTreeMap::from([("web-a".to_owned(), 15), ("web-b".to_owned(), 15)]));
}

#[test]
fn of_two_policies_for_one_service_the_younger_says_that_it_is_not_in_force() {
    let (mut world, _) = three([&["http"]; 3]);
    balancing(&world, "RoundRobin");
    until_law(&mut world, "RoundRobin");
    // Ages are told apart by seconds; of one second the name decides.
    world.apply(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web2, namespace: demo}\nspec:\n  \
         targetRefs: [{kind: Service, name: web}, {kind: Service, name: wep}]\n  loadBalancing: {policy: Random}\n",
    );
    let said = eventually("its status says so", || {
        let said = world.mesh.meshctl(&["get", "trafficpolicy", "web2", "-n", "demo", "-o", "json"]).unwrap();
        if said.contains("Conflicted") { Ok(said) } else { Err(said) }
    });
    assert!(said.contains("demo/web`") && said.contains("TargetNotFound") && said.contains("wep"), "{said}");
    assert_eq!(law(&mut world), "RoundRobin");
    world.mesh.meshctl(&["delete", "trafficpolicy", "web", "-n", "demo"]).unwrap();
    until_law(&mut world, "Random");
}
