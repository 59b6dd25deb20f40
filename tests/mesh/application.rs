//! Nobody is sent to an application that does not listen yet; and its sidecar does not wait for it.

use mesh_load::mesh::free_port;
use mesh_load::running::Running;
use mesh_load::scrape::{Samples, scrape};
use tests::http1::get;
use tests::wait::{eventually, holds};
use tests::world::{Ending, World, bin_dir};

/// The sidecar of `web` beside an application that is not there yet, and that application's port.
fn early(world: &World, more: &[&str]) -> (Running, u16) {
    let port = free_port().unwrap();
    let inbound = format!("main={port}/http");
    let arguments = world.arguments("web", &[&["--inbound", &inbound][..], more].concat());
    let mut command = world.mesh.program("sidecar");
    command.arg("run").args(arguments);
    (Running::start("web-sidecar", command, &world.mesh.logs()).unwrap(), port)
}

/// What is said of the workload's readiness, and why.
fn condition(world: &World) -> (String, String) {
    let said = world.mesh.meshctl(&["get", "workload", "web", "--namespace", "demo", "--output", "json"]);
    let stored: serde_json::Value = serde_json::from_str(&said.unwrap()).unwrap();
    let ready = &stored["status"]["conditions"][0];
    (ready["status"].as_str().unwrap().to_owned(), ready["reason"].as_str().unwrap().to_owned())
}

fn metrics(sidecar: &Running) -> Samples {
    scrape(sidecar.ready("metrics").unwrap()).unwrap()
}

#[test]
fn a_sidecar_is_ready_before_its_application_and_the_workload_is_not() {
    let world = World::new();
    let (sidecar, port) = early(&world, &[]);
    let ready = get(sidecar.ready("metrics").unwrap(), "sidecar", "/readyz").unwrap();
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!((metrics(&sidecar).sum("outrigger_application_ports_awaited", &[]) - 1.0).abs() < 0.1);
    assert_eq!(condition(&world), ("False".to_owned(), "NotReady".to_owned()));
    let _origin = world.origin("web-a", &["http", "--listen", &format!("127.0.0.1:{port}")]);
    eventually("the workload is ready", || {
        let condition = condition(&world);
        holds(condition.0 == "True", condition)
    });
    assert!(metrics(&sidecar).sum("outrigger_application_ports_awaited", &[]).abs() < 0.1);
}

#[test]
fn an_application_that_starts_late_beside_others_costs_no_request() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http", "--delay-ms", "2"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web.demo", "/", 200);
    let target =
        ["http1", "--target", "web.demo:80", "--via", &outbound, "--connections", "4", "--rate", "100"];
    // POST: what was sent is not sent again.
    let post = ["--path", "/echo", "--post-bytes", "100", "--duration", "5"];
    let load = world.start_load(&[&target[..], &post].concat());
    world.counted("shopper", "outrigger_requests_total", &[("direction", "outbound")], 50.0);
    let (sidecar, port) = early(&world, &[]);
    world.counted("shopper", "outrigger_requests_total", &[("direction", "outbound")], 150.0);
    assert!(metrics(&sidecar).sum("outrigger_requests_total", &[]).abs() < 0.1, "nobody was sent there");
    let _origin = world.origin("web-b", &["http", "--listen", &format!("127.0.0.1:{port}")]);
    let output = load.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(report["failed_total"], 0, "{report}");
    assert!(report["instances"]["web-b"].as_u64().is_some_and(|count| count > 0), "{report}");
}

#[test]
fn a_command_that_listens_late_starts_at_once_and_its_callers_wait_for_it() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    let port = free_port().unwrap();
    let inbound = format!("main={port}/http");
    let mut command = world.mesh.program("sidecar");
    command.arg("run").args(world.arguments("web", &["--inbound", &inbound]));
    // It reads one line before it listens, as one that reads its configuration from somewhere slow.
    let (go, dir) = (world.dir().join("go"), bin_dir());
    let script = format!(
        "mkfifo {0}; echo command ready: up=1; read line < {0}; exec {1}/origin http --name web-a --listen 127.0.0.1:{port}",
        go.display(),
        dir.display()
    );
    command.args(["--", "sh", "-c", &script]);
    let job = Ending(Running::start("web-sidecar", command, &world.mesh.logs()).unwrap());
    assert_eq!(job.0.ready("up").unwrap(), "1", "it does not wait for itself");
    assert_eq!(condition(&world), ("False".to_owned(), "NotReady".to_owned()));
    let outbound = world.client("shopper", &[]);
    // There is no other, so that it is tried nevertheless.
    let answer = world.until_answers(&outbound, "web.demo", "/", 502);
    assert_eq!(answer.reason(), "app_refused", "{}", answer.body);
    std::fs::write(&go, "go\n").unwrap();
    // From the first success on there is no failure.
    world.until_answers(&outbound, "web.demo", "/", 200);
    for _ in 0..20 {
        assert_eq!(get(&outbound, "web.demo", "/").unwrap().status, 200);
    }
}
