//! Control planes that share an etcd cluster: any of them serves, and any may fail.

mod history;
mod linearizable;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tests::etcd::Etcd;
use tests::http1::get;
use tests::wait::{eventually, holds};
use tests::world::World;

/// How many of each there are.
const THREE: usize = 3;

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: demo}}\nspec:\n  selector: {{app: web}}\n  \
         ports: [{{name: main, port: 80, targetPort: main, appProtocol: http}}]\n"
    )
}

/// Applies a Service at one control plane and waits until the client's sidecar knows where it leads: so somebody derives
/// its endpoints, and the sidecar is connected to somebody who tells it.
fn a_new_service_is_reached(world: &World, at: usize, outbound: &str, name: &str) {
    eventually(&format!("{name} is applied"), || world.apply_at(at, &service(name)));
    world.until_answers(outbound, name, "/", 200);
}

#[test]
fn each_of_three_control_planes_shows_what_another_was_told() {
    let (mut world, _etcd) = World::shared(THREE, 1);
    for n in 0..THREE {
        world.apply_at(n, &service(&format!("s{n}"))).unwrap();
        for other in 0..THREE {
            let shown = world.mesh.meshctl_at(other, &["get", "service", &format!("s{n}"), "-n", "demo"]);
            shown.unwrap_or_else(|error| panic!("{other} after {n}: {error:#}"));
        }
    }
    // A namespace that one is told to delete is emptied by whoever leads.
    world.mesh.meshctl_at(2, &["delete", "namespace", "demo"]).unwrap();
    eventually("nothing is left", || {
        let left = world.mesh.meshctl_at(1, &["get", "services", "-A", "-o", "json"]);
        let left: serde_json::Value =
            serde_json::from_str(&left.map_err(|error| error.to_string())?).unwrap();
        holds(left["items"].as_array().unwrap().is_empty(), left)
    });
    let status = {
        let third = world.mesh.control_plane(2).unwrap();
        third.terminate().unwrap();
        third.wait().unwrap()
    };
    assert!(status.success(), "told to stop, it ended with {status}");
}

#[test]
fn killing_or_pausing_any_control_plane_or_one_member_of_etcd_stops_nothing() {
    let (mut world, mut etcd) = World::shared(THREE, THREE);
    world.service("web", 80, Some("http"), "main");
    world.in_turn("web");
    world.serve("web", "web-a", "http", &["http"]);
    world.serve("web", "web-b", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);

    every_control_plane_knows_all_sidecars(&mut world);
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut failures = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                match get(&outbound, "web", "/") {
                    Ok(answer) if answer.status == 200 => {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    other => failures.push(format!("{other:?}")),
                }
            }
            failures
        });
        for n in 0..THREE {
            let other = (n + 1) % THREE;
            world.mesh.control_plane(n).unwrap().kill();
            a_new_service_is_reached(&world, other, &outbound, &format!("after-kill-{n}"));
            world.mesh.restart_one_of_several(n).unwrap();
        }
        for n in 0..THREE {
            let other = (n + 1) % THREE;
            world.mesh.control_plane(n).unwrap().pause().unwrap();
            a_new_service_is_reached(&world, other, &outbound, &format!("after-pause-{n}"));
            world.mesh.control_plane(n).unwrap().resume().unwrap();
        }
        one_member_of_etcd_fails(&world, &mut etcd, &outbound);
        is_over.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    let answered = answered.load(Ordering::Relaxed);
    assert!(failures.is_empty() && answered > 1_000, "{answered} answered, {failures:?}");

    // Every control plane has everything, and nothing came twice.
    let names = |n: usize| -> Vec<String> {
        let list = world.mesh.meshctl_at(n, &["get", "services", "-n", "demo", "-o", "json"]).unwrap();
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = names(0);
    assert_eq!(first.len(), 1 + 4 * THREE, "{first:?}");
    assert_eq!((&first, &first), (&names(1), &names(2)));
    let workloads = world.mesh.meshctl(&["get", "workloads", "-n", "demo", "-o", "json"]).unwrap();
    let workloads: serde_json::Value = serde_json::from_str(&workloads).unwrap();
    for workload in workloads["items"].as_array().unwrap() {
        assert_eq!(workload["status"]["conditions"][0]["reason"], "Connected", "{workload}");
    }
}

fn every_control_plane_knows_all_sidecars(world: &mut World) {
    for n in 0..THREE {
        let applied = world
            .mesh
            .meshctl_at(n, &["apply", "--wait", "-f", world.dir().join("apply.yaml").to_str().unwrap()]);
        let applied = applied.unwrap();
        assert!(applied.ends_with("applied by all 3 connected sidecars"), "{applied}");
        let shown = world.mesh.meshctl_at(n, &["get", "proxies", "-n", "demo", "-o", "json"]).unwrap();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let names: Vec<_> =
            shown["items"].as_array().unwrap().iter().map(|it| it["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["shopper", "web-a", "web-b"], "{shown}");
    }
    // Of one that does not answer the others say so.
    world.mesh.control_plane(2).unwrap().pause().unwrap();
    let listed = std::process::Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(world.mesh.kubeconfig_of(0))
        .args(["get", "proxies", "-A", "-o", "name"])
        .output()
        .expect("these tests need kubectl: apt-get install kubernetes-client");
    let warning = String::from_utf8_lossy(&listed.stderr);
    assert!(warning.contains("Warning: the sidecars of control plane"), "{warning}");
    assert!(warning.contains("are not shown: no answer within 2 s"), "{warning}");
    world.mesh.control_plane(2).unwrap().resume().unwrap();
}

fn one_member_of_etcd_fails(world: &World, etcd: &mut Etcd, outbound: &str) {
    for n in 0..THREE {
        etcd.member(n).kill();
        a_new_service_is_reached(world, n, outbound, &format!("after-etcd-kill-{n}"));
        etcd.start_again(n);
    }
    for n in 0..THREE {
        etcd.member(n).pause().unwrap();
        a_new_service_is_reached(world, n, outbound, &format!("after-etcd-pause-{n}"));
        etcd.member(n).resume().unwrap();
    }
}
