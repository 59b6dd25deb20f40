//! Every answer a sidecar makes itself says why.

use tests::http1::{Connection, get};
use tests::world::World;

#[test]
fn an_unknown_host_is_told_what_is_nearest() {
    let mut world = World::new();
    world.service("orders", 80, Some("http"), "main");
    let outbound = world.client("shopper", &[]);
    let answer = world.until_answers(&outbound, "ordrs.demo", "/", 502);
    assert_eq!(answer.reason(), "unknown_host");
    assert!(answer.body.contains("ordrs") && answer.body.contains("orders"), "{}", answer.body);
    let foreign = get(&outbound, "www.example.com", "/").unwrap();
    assert_eq!((foreign.status, foreign.reason()), (502, "unknown_host"), "{}", foreign.body);
    world.counted("shopper", "outrigger_refusals_total", &[("reason", "unknown_host")], 2.0);
}

#[test]
fn each_failure_has_its_own_reason() {
    let mut world = World::new();
    world.service("empty", 80, Some("http"), "main");
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    let answer = world.until_answers(&outbound, "empty", "/", 503);
    assert_eq!(answer.reason(), "no_endpoints", "{}", answer.body);

    world.until_answers(&outbound, "web", "/", 200);
    let port = get(&outbound, "web:8181", "/").unwrap();
    assert_eq!(port.reason(), "unknown_port", "{}", port.body);

    let mut connection = Connection::open(&outbound).unwrap();
    connection.write(b"GET / HTTP/1.1\r\nHost: web\r\nHost: evil\r\n\r\n").unwrap();
    assert_eq!(connection.answer().unwrap().status, 400, "two Host fields");

    let mut connection = Connection::open(&outbound).unwrap();
    let large = format!("GET / HTTP/1.1\r\nHost: web\r\nx-large: {}\r\n\r\n", "x".repeat(300_000));
    // The sidecar may answer, and close, before it has read everything.
    drop(connection.write(large.as_bytes()));
    assert_eq!(connection.answer().unwrap().status, 431);

    // Host is one more; towards the application the peer's name is another, and its limit is 100 too.
    for (fields, status) in [(98, 200), (100, 431)] {
        let many: String = (0..fields).map(|n| format!("x-{n}: {n}\r\n")).collect();
        let mut connection = Connection::open(&outbound).unwrap();
        connection.write(format!("GET / HTTP/1.1\r\nHost: web\r\n{many}\r\n").as_bytes()).unwrap();
        let answer = connection.answer().unwrap();
        assert_eq!(answer.status, status, "{fields} fields and Host: {}", answer.body);
    }

    world.mesh.member("web-a").unwrap().kill_application();
    let refused = world.until_answers(&outbound, "web", "/", 502);
    assert_eq!(refused.reason(), "app_refused", "{}", refused.body);
}

#[test]
fn grpc_callers_are_answered_in_grpcs_terms() {
    let mut world = World::new();
    world.service("greeter", 50051, Some("grpc"), "main");
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "greeter:50051", "/", 503);
    let report = world.load(&[
        "grpc",
        "--target",
        "greeter.demo:50051",
        "--via",
        &outbound,
        "--duration",
        "0.2",
        "--rate",
        "20",
    ]);
    let failed = report["failed"].as_object().unwrap();
    assert_eq!(failed.keys().collect::<Vec<_>>(), ["grpc-14"], "{report}");
}
