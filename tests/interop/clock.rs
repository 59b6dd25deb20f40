//! The clock on the wall is set while the mesh runs.

use tests::http1::get;
use tests::wait::{eventually, holds};
use tests::world::World;

/// What one jump must not do to what runs, and what must still be possible after it.
fn all_is_well(world: &mut World, outbound: &str, when: &str) {
    for _ in 0..30 {
        assert_eq!(get(outbound, "web", "/").unwrap().status, 200, "{when}: traffic goes on");
    }
    let workloads = world.mesh.meshctl(&["get", "workloads", "-n", "demo", "-o", "json"]).unwrap();
    let workloads: serde_json::Value = serde_json::from_str(&workloads).unwrap();
    for workload in workloads["items"].as_array().unwrap() {
        let ready = &workload["status"]["conditions"][0];
        assert_eq!(
            (&ready["type"], &ready["status"]),
            (&"Ready".into(), &"True".into()),
            "{when}: {workload}"
        );
        assert!(workload["status"]["sidecar"].is_object(), "{when}: it is connected: {workload}");
    }
    world.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: '{}', namespace: demo}}\n",
        when.replace(' ', "-")
    ));
    // Somebody new proves who he is, and is believed.
    let late = world.client(&format!("late-{}", when.replace(' ', "-")), &[]);
    world.until_answers(&late, "web", "/", 200);
}

#[test]
fn a_clock_that_jumps_expires_nothing_that_is_alive() {
    let (mut world, clock) = World::clocked();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    all_is_well(&mut world, &outbound, "before");
    let created = |world: &World| {
        let object = world.mesh.meshctl(&["get", "namespaces", "-o", "wide"]).unwrap();
        object.lines().find(|line| line.starts_with("demo ")).unwrap_or_default().to_owned()
    };

    clock.set("+20h");
    eventually("the control plane goes by the clock", || {
        let line = created(&world);
        holds(line.contains("20h"), line)
    });
    all_is_well(&mut world, &outbound, "forward");
    clock.set("+0");
    all_is_well(&mut world, &outbound, "and back");
}
