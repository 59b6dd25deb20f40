//! promtool's opinion of the expositions.

use mesh_load::scrape;
use std::io::Write;
use std::process::{Command, Stdio};
use tests::world::World;

fn check(exposition: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("promtool can't be started ({error}): install prometheus, or skip interop::prometheus by name")
    });
    child.stdin.take().unwrap().write_all(exposition.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_finds_nothing_to_object_to() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    for member in ["web-a", "shopper"] {
        let addr = world.mesh.member(member).unwrap().sidecar_addr("metrics").unwrap().to_owned();
        check(&scrape::get(&addr, "/metrics").unwrap());
    }
    check(&scrape::get(world.mesh.control_plane_metrics().unwrap(), "/metrics").unwrap());
}
