//! kubectl, unchanged, against the API.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use tests::wait::{eventually, holds};
use tests::world::{World, examples};

fn command(world: &World, args: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command
        .arg("--kubeconfig")
        .arg(world.mesh.kubeconfig())
        .arg("--cache-dir")
        .arg(world.dir().join("kube"))
        .args(args);
    command
}

fn kubectl(world: &World, args: &[&str]) -> Output {
    let output = command(world, args).output();
    output.unwrap_or_else(|error| {
        panic!("kubectl can't be started ({error}): install it, or skip interop::kubectl by name")
    })
}

/// What kubectl prints when all is well: no error, no warning.
fn clean(world: &World, args: &[&str]) -> String {
    let output = kubectl(world, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "kubectl {}: {stderr}", args.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn manifest(world: &World, name: &str, yaml: &str) -> String {
    let file = world.dir().join(name);
    std::fs::write(&file, yaml).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn the_examples_apply_and_apply_again_unchanged() {
    let world = World::empty();
    for example in ["hello", "tcp-echo", "canary"] {
        let folder = examples().join(example);
        let first = clean(&world, &["apply", "-f", folder.to_str().unwrap()]);
        assert!(first.contains("created") || first.contains("configured"), "{first}");
    }
    let again = clean(&world, &["apply", "-f", examples().join("hello").to_str().unwrap()]);
    assert!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
}

#[test]
fn get_shows_tables_yaml_and_changes_as_they_come() {
    let world = World::new();
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: demo}\nspec:\n  selector: {app: web}\n  ports: [{name: http, port: 80}]\n";
    let file = manifest(&world, "web.yaml", yaml);
    let mut watch = command(&world, &["get", "services", "-n", "demo", "-w", "--no-headers"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    clean(&world, &["apply", "-f", &file]);
    assert!(lines.next().unwrap().unwrap().starts_with("web "));

    let table = clean(&world, &["get", "svc", "-n", "demo"]);
    assert!(table.starts_with("NAME") && table.contains("PORT(S)") && table.contains("80/TCP"), "{table}");
    let shown = clean(&world, &["get", "service", "web", "-n", "demo", "-o", "yaml"]);
    assert!(shown.contains("app: web") && shown.contains("resourceVersion"), "{shown}");
    let port =
        clean(&world, &["get", "service", "web", "-n", "demo", "-o", "jsonpath={.spec.ports[0].port}"]);
    assert_eq!(port, "80");

    let changed = manifest(&world, "web2.yaml", &yaml.replace("port: 80", "port: 81"));
    assert_eq!(clean(&world, &["apply", "-f", &changed]).trim(), "service/web configured");
    assert!(lines.next().unwrap().unwrap().contains("81/TCP"));
    let ports =
        clean(&world, &["get", "service", "web", "-n", "demo", "-o", "jsonpath={.spec.ports[*].port}"]);
    assert_eq!(ports, "81", "the old port is gone");
    clean(&world, &["label", "service", "web", "-n", "demo", "tier=front"]);
    assert!(clean(&world, &["get", "svc", "-A", "-l", "tier=front", "-o", "name"]).contains("service/web"));
    assert!(clean(&world, &["describe", "service", "web", "-n", "demo"]).contains("app=web"));
    clean(&world, &["delete", "-f", &changed]);
    watch.kill().unwrap();
    watch.wait().unwrap();
    let gone = kubectl(&world, &["get", "service", "web", "-n", "demo"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("NotFound"), "{gone:?}");
}

#[test]
fn a_running_workload_and_its_endpoints_are_objects() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    eventually("the workload is ready", || {
        let table = clean(&world, &["get", "workloads", "-n", "demo"]);
        holds(table.contains("web-a") && table.contains("True"), table)
    });
    eventually("the endpoint slice names it", || {
        let slices = clean(
            &world,
            &["get", "endpointslices", "-n", "demo", "-l", "kubernetes.io/service-name=web", "-o", "yaml"],
        );
        holds(slices.contains("name: web-a"), slices)
    });
    let token = clean(&world, &["create", "token", "web", "-n", "demo"]);
    assert_eq!(token.trim().split('.').count(), 3, "a signed token");
}

#[test]
fn what_cannot_be_is_refused_with_its_field() {
    let world = World::new();
    let bad = manifest(
        &world,
        "bad.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: demo}\nspec:\n  ports: [{port: 70000}]\n",
    );
    let output = kubectl(&world, &["apply", "-f", &bad]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("spec.ports[0].port"), "{said}");
    let unknown = manifest(
        &world,
        "unknown.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: demo}\nspec:\n  selectr: {a: b}\n  ports: [{port: 80}]\n",
    );
    let output = kubectl(&world, &["apply", "-f", &unknown]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("selectr"), "{said}");
}
