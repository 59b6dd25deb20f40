//! Both sides of a hop count the same requests, with the other side's identity.

use tests::world::World;

#[test]
fn both_directions_count_requests_with_the_peers_identity() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let report = world.load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--rate",
        "50",
        "--duration",
        "1",
    ]);
    let ok = report["ok"].as_u64().unwrap();
    assert!(ok > 0, "{report}");

    let from = "spiffe://mesh.internal/ns/demo/sa/shopper";
    let to = "spiffe://mesh.internal/ns/demo/sa/web";
    let client = world.metrics("shopper");
    let server = world.metrics("web-a");
    let name = "outrigger_requests_total";
    let sent = client
        .sum(name, &[("direction", "outbound"), ("service", "demo/web"), ("peer", to), ("status", "200")]);
    let received = server
        .sum(name, &[("direction", "inbound"), ("service", "demo/web"), ("peer", from), ("status", "200")]);
    assert_eq!(sent, received, "{client:?}\n{server:?}");
    assert!(sent >= f64::from(u32::try_from(ok).unwrap()), "{sent} of {ok}");
    let durations = client.sum("outrigger_request_duration_seconds_count", &[("direction", "outbound")]);
    assert!(durations >= sent, "{durations}");
    let expiry = server.sum("outrigger_certificate_expiry_timestamp_seconds", &[]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now + 3600.0 * 20.0..now + 3600.0 * 25.0).contains(&expiry), "{expiry}");
    assert_eq!(client.sum("outrigger_control_plane_connected", &[]), 1.0);
}
