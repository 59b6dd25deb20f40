//! Retries do not multiply along a chain of services: what one hop has tried again in vain, none above tries again.

use mesh_load::mesh::Beside;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use tests::http1::get;
use tests::wait::{eventually, holds};
use tests::world::{NAMESPACE, World};

/// From the caller to the leaf.
const CHAIN: [&str; 5] = ["a", "b", "c", "d", "e"];
const REQUESTS: u32 = 100;

/// An application that asks the next service, through its sidecar, and answers what that answers. It passes nothing on that
/// a sidecar has said.
fn relay(listener: TcpListener, outbound: String, next: &'static str) {
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let outbound = outbound.clone();
            std::thread::spawn(move || answer_all(stream, &outbound, next));
        }
    });
}

/// Answers the requests of one connection, until it ends.
fn answer_all(stream: TcpStream, outbound: &str, next: &str) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 0 {
        if line == "\r\n" {
            let status = get(outbound, next, "/").map_or(502, |answer| answer.status);
            write!(writer, "HTTP/1.1 {status} Relayed\r\nContent-Length: 0\r\n\r\n").ok()?;
        }
        line.clear();
    }
    Some(())
}

/// Five services, each calling the next, and a client of the first; `leaf` is what the last one is like.
fn chain(leaf: &[&str]) -> (World, String) {
    let mut world = World::new();
    for name in CHAIN {
        world.service(name, 80, Some("http"), "main");
        // No reserve: in a test with few requests a second it would allow any retry.
        world.apply(&format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: \
             {NAMESPACE}}}\nspec:\n  targetRefs: [{{kind: Service, name: {name}}}]\n  retry: {{attempts: 3, statuses: [503], \
             budget: {{percent: 20, minPerSecond: 0}}}}\n"
        ));
    }
    world.serve("e", "e", "http", leaf);
    for hop in CHAIN.windows(2).rev() {
        let (name, next) = (hop[0], hop[1]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let beside = Beside {
            namespace: NAMESPACE,
            service_account: name,
            labels: &[("app", name)],
            inbound: Some(format!("main={port}/http")),
            ..Beside::default()
        };
        world.mesh.join(name, &beside, None).unwrap();
        let outbound = world.mesh.member(name).unwrap().sidecar_addr("outbound").unwrap().to_owned();
        relay(listener, outbound, next);
    }
    let outbound = world.client("caller", &[]);
    (world, outbound)
}

fn arrived(world: &mut World, member: &str) -> f64 {
    world.metrics(member).sum("outrigger_requests_total", &[("direction", "inbound")])
}

#[test]
fn a_leaf_that_fails_behind_five_hops_sees_a_fifth_more_than_is_asked_and_not_three_to_the_fifth() {
    let (mut world, outbound) = chain(&["http", "--fail-rate", "1"]);
    eventually("the whole chain is there", || {
        let answer = get(&outbound, "a", "/").map_err(|error| error.to_string())?;
        let seen = arrived(&mut world, "e");
        holds(answer.status == 503 && seen > 0.0, format!("{answer:?}, {seen} at the leaf"))
    });
    let before = CHAIN.map(|name| arrived(&mut world, name));
    for _ in 0..REQUESTS {
        let answer = get(&outbound, "a", "/").unwrap();
        assert_eq!((answer.status, answer.header("outrigger-retry")), (503, "never"));
    }
    let seen: Vec<_> =
        CHAIN.iter().zip(before).map(|(name, before)| arrived(&mut world, name) - before).collect();
    let asked = f64::from(REQUESTS);
    assert!(seen[..4].iter().all(|count| *count == asked), "only the last hop tries again: {seen:?}");
    assert!(seen[4] >= asked, "{seen:?}");
    // The few requests while the chain came up have earned retries too.
    let (leaf, above) = (before[4] + seen[4], before[3] + seen[3]);
    assert!(leaf <= above * 1.2, "{leaf} at the leaf for {above}");
    let denied = world.metrics("c").sum("outrigger_retries_denied_total", &[("why", "exhausted")]);
    assert!(denied >= asked, "{denied}");
    let denied = world.metrics("d").sum("outrigger_retries_denied_total", &[("why", "budget")]);
    assert!(denied > 0.0, "{denied}");
}

#[test]
fn a_leaf_that_fails_now_and_then_is_hidden_by_the_hop_above_it() {
    let (mut world, outbound) = chain(&["http", "--fail-rate", "0.1"]);
    world.until_answers(&outbound, "a", "/", 200);
    // Until retries are earned.
    for _ in 0..REQUESTS {
        get(&outbound, "a", "/").unwrap();
    }
    let before = CHAIN.map(|name| arrived(&mut world, name));
    for number in 0..REQUESTS {
        let answer = get(&outbound, "a", "/").unwrap();
        assert_eq!((answer.status, answer.header("outrigger-retry")), (200, ""), "request {number}");
    }
    let seen: Vec<_> =
        CHAIN.iter().zip(before).map(|(name, before)| arrived(&mut world, name) - before).collect();
    assert!(seen[..4].iter().all(|count| *count == f64::from(REQUESTS)), "{seen:?}");
    assert!(seen[4] > f64::from(REQUESTS), "{seen:?}");
}
