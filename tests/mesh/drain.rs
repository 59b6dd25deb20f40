//! A sidecar that is asked to end fails no request.

use tests::wait::{eventually, holds};
use tests::world::World;

#[test]
fn sigterm_under_load_fails_no_request() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.in_turn("web");
    world.serve("web", "web-a", "http", &["http", "--delay-ms", "5"]);
    world.serve("web", "web-b", "http", &["http", "--delay-ms", "5"]);
    let outbound = world.client("shopper", &[]);
    eventually("both endpoints answer", || {
        let report = world.load(&[
            "http1",
            "--target",
            "web.demo:80",
            "--via",
            &outbound,
            "--rate",
            "100",
            "--duration",
            "0.3",
        ]);
        holds(report["instances"].as_object().is_some_and(|seen| seen.len() == 2), report)
    });
    let inbound = [("direction", "inbound")];
    let before = world.metrics("web-b").sum("outrigger_requests_total", &inbound);
    // POST: nothing that was sent may be sent again.
    let load = world.start_load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--path",
        "/echo",
        "--post-bytes",
        "500",
        "--connections",
        "8",
        "--rate",
        "100",
        "--duration",
        "4",
    ]);
    world.counted("web-b", "outrigger_requests_total", &inbound, before + 5.0);
    let status = world.mesh.member("web-b").unwrap().terminate_sidecar().unwrap();
    assert!(status.success(), "the sidecar ended with {status}");
    let output = load.wait_with_output().unwrap();
    let report: serde_json::Value =
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(report["failed_total"], 0, "{report}");
    assert!(report["instances"]["web-b"].as_u64().unwrap() > 0, "{report}");
}
