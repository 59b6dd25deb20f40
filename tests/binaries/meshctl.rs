//! `meshctl` as a person meets it.

use std::process::{Command, Output};
use tests::world::{World, bin_dir};

fn meshctl(world: &World, args: &[&str]) -> Output {
    let mut command = Command::new(bin_dir().join("meshctl"));
    command.arg("--kubeconfig").arg(world.mesh.kubeconfig()).args(args).output().unwrap()
}

#[test]
fn a_bad_manifest_is_refused_with_file_line_and_column_and_nothing_is_applied() {
    let world = World::new();
    let file = world.dir().join("shop.yaml");
    std::fs::write(
        &file,
        "apiVersion: v1
kind: Service
metadata: {name: good, namespace: demo}
spec:
  ports: [{port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: bad, namespace: demo}
spec:
  ports:
  - port: eighty
  selectr: {app: bad}
",
    )
    .unwrap();
    let output = meshctl(&world, &["apply", "-f", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("shop.yaml:12:5"), "the place of the wrong type: {said}");
    assert!(
        said.contains("shop.yaml:13:3") && said.contains("selector"),
        "the place and the nearest name: {said}"
    );
    let good = meshctl(&world, &["get", "service", "good", "-n", "demo"]);
    assert!(!good.status.success(), "nothing is half applied");
}

#[test]
fn what_only_the_server_can_refuse_is_located_too() {
    let world = World::new();
    let file = world.dir().join("lost.yaml");
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: lost, namespace: nowhere}\nspec:\n  ports: [{port: 80}]\n";
    std::fs::write(&file, yaml).unwrap();
    let output = meshctl(&world, &["apply", "-f", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("lost.yaml") && said.contains("nowhere"), "{said}");
}

#[test]
fn proxies_shows_who_has_applied_what() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let table = tests::wait::eventually("web-a is listed in sync", || {
        let output = meshctl(&world, &["proxies"]);
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        if table.contains("web-a") { Ok(table) } else { Err(table) }
    });
    assert!(table.contains("spiffe://mesh.internal/ns/demo/sa/web"), "{table}");
}

#[test]
fn an_expired_token_is_refused_in_plain_words() {
    let world = World::new();
    let output = meshctl(
        &world,
        &["token", "create", "--namespace", "demo", "--service-account", "web", "--ttl", "0s"],
    );
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("ttl"), "{said}");
}
