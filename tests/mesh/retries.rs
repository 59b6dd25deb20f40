//! Safe retries hide a failing endpoint, and unsafe ones are not made.

use tests::wait::{eventually, holds};
use tests::world::World;

fn pair() -> (World, String) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.in_turn("web");
    world.serve("web", "web-a", "http", &["http"]);
    world.serve("web", "web-b", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    eventually("both endpoints answer", || {
        let report =
            world.load(&["http1", "--target", "web.demo:80", "--via", &outbound, "--duration", "0.2"]);
        holds(report["instances"].as_object().is_some_and(|seen| seen.len() == 2), report)
    });
    (world, outbound)
}

#[test]
fn an_instance_killed_under_load_fails_no_idempotent_request() {
    let (mut world, outbound) = pair();
    let load = world.start_load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--connections",
        "8",
        "--rate",
        "150",
        "--duration",
        "3",
    ]);
    world.counted("web-b", "outrigger_requests_total", &[("direction", "inbound")], 20.0);
    world.mesh.member("web-b").unwrap().kill();
    let output = load.wait_with_output().unwrap();
    let report: serde_json::Value =
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(report["failed_total"], 0, "{report}");
}

#[test]
fn an_application_that_dies_behind_its_sidecar_fails_no_idempotent_request() {
    let (mut world, outbound) = pair();
    let load = world.start_load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--connections",
        "8",
        "--rate",
        "150",
        "--duration",
        "3",
    ]);
    world.counted("web-b", "outrigger_requests_total", &[("direction", "inbound")], 20.0);
    world.mesh.member("web-b").unwrap().kill_application();
    let output = load.wait_with_output().unwrap();
    let report: serde_json::Value =
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(report["failed_total"], 0, "{report}");
}

#[test]
fn a_refused_connection_is_retried_even_for_a_post() {
    let (mut world, outbound) = pair();
    world.mesh.member("web-b").unwrap().kill();
    let report = world.load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--path",
        "/echo",
        "--post-bytes",
        "100",
        "--rate",
        "100",
        "--duration",
        "1",
    ]);
    assert_eq!(report["failed_total"], 0, "{report}");
}

#[test]
fn a_route_asks_for_retries_by_status() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    world.serve("web", "web-b", "http", &["http", "--fail-rate", "0.5"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let failures = |world: &World| {
        let report = world.load(&[
            "http1",
            "--target",
            "web.demo:80",
            "--via",
            &outbound,
            "--rate",
            "100",
            "--duration",
            "1",
        ]);
        report["failed_total"].as_u64().unwrap()
    };
    eventually("without retries, failures show", || holds(failures(&world) > 0, "none"));
    world.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: demo}\nspec:\n  \
         parentRefs: [{group: '', kind: Service, name: web}]\n  rules:\n  - backendRefs: [{name: web, port: 80}]\n    \
         retry: {codes: [503], attempts: 2}\n",
    );
    eventually("with retries, none do", || {
        let failures = failures(&world);
        let retries = world.metrics("shopper").sum("outrigger_retries_total", &[]);
        holds(failures == 0 && retries > 0.0, format!("{failures} failures, {retries} retries"))
    });
}
