//! Without a control plane traffic goes on, and nothing acknowledged is lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use tests::http1::get;
use tests::wait::{eventually, holds};
use tests::world::World;

#[test]
fn traffic_goes_on_and_a_restarted_sidecar_serves_from_disk() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let saved = world.dir().join("shopper/state/configuration");
    eventually("the last good configuration is on disk", || {
        let bytes = std::fs::read(&saved).map_err(|error| error.to_string())?;
        holds(String::from_utf8_lossy(&bytes).contains("demo/web/web-a"), format!("{} bytes", bytes.len()))
    });

    world.mesh.kill_control_plane();
    for _ in 0..10 {
        assert_eq!(get(&outbound, "web", "/").unwrap().status, 200, "with the control plane gone");
    }
    world.counted("shopper", "outrigger_config_age_seconds", &[], 0.1);

    for member in ["shopper", "web-a"] {
        world.mesh.member(member).unwrap().kill_sidecar();
        world.mesh.restart_sidecar(member).unwrap();
    }
    let outbound = world.mesh.member("shopper").unwrap().sidecar_addr("outbound").unwrap().to_owned();
    world.until_answers(&outbound, "web", "/", 200);
    let connected = world.metrics("shopper").sum("outrigger_control_plane_connected", &[]);
    assert_eq!(connected, 0.0);

    world.mesh.restart_control_plane().unwrap();
    world.counted("shopper", "outrigger_control_plane_connected", &[], 1.0);
    assert_eq!(get(&outbound, "web", "/").unwrap().status, 200, "with the control plane back");
}

#[test]
fn kill_minus_nine_amid_500_applies_loses_no_acknowledged_object() {
    let mut world = World::new();
    let acknowledged = AtomicUsize::new(0);
    let manifest = |n: usize| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: demo}}\nspec: {{ports: [{{port: {}}}]}}\n",
            n + 1
        )
    };
    let files: Vec<_> = (0..500)
        .map(|n| {
            let file = world.dir().join(format!("s{n}.yaml"));
            std::fs::write(&file, manifest(n)).unwrap();
            file
        })
        .collect();
    let next = AtomicUsize::new(0);
    let applied = std::sync::Mutex::new(Vec::new());
    let pid = world.mesh.control_plane_pid().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(n) else { return };
                    if world.mesh.apply(file).is_err() {
                        return;
                    }
                    applied.lock().unwrap().push(n);
                    if acknowledged.fetch_add(1, Ordering::Relaxed) == 150 {
                        mesh_load::running::kill(pid).unwrap();
                    }
                }
            });
        }
    });
    let applied = applied.into_inner().unwrap();
    assert!(applied.len() >= 150 && applied.len() < 500, "killed in the middle: {}", applied.len());
    world.mesh.restart_control_plane().unwrap();
    let list = eventually("the control plane answers again", || {
        world
            .mesh
            .meshctl(&["get", "services", "-n", "demo", "-o", "json"])
            .map_err(|error| error.to_string())
    });
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let items = list["items"].as_array().unwrap();
    for n in applied {
        let kept = items.iter().find(|item| item["metadata"]["name"] == format!("s{n}"));
        assert_eq!(kept.unwrap_or_else(|| panic!("s{n} is lost"))["spec"]["ports"][0]["port"], n + 1);
    }
}
