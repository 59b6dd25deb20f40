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

const SHOP: &str = "apiVersion: v1
kind: Service
metadata: {name: orders, namespace: demo}
spec:
  ports: [{name: http, port: 80, targetPort: 8080}]
  selector: {app: orders}
";

fn written(world: &World, name: &str, yaml: &str) -> String {
    let file = world.dir().join(name);
    std::fs::write(&file, yaml).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn diff_shows_what_apply_would_change_and_changes_nothing() {
    let world = World::new();
    let diff = |yaml: &str| {
        let output = meshctl(&world, &["diff", "-f", &written(&world, "shop.yaml", yaml)]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = diff(SHOP);
    assert!(code == Some(1) && said.starts_with("--- /dev/null\n+++ service/orders (applied)\n"), "{said}");
    let (code, said) = diff(SHOP);
    assert!(code == Some(1) && said.contains("+    port: 80\n"), "nothing was applied: {said}");
    world.apply(SHOP);
    assert_eq!(diff(SHOP), (Some(0), String::new()));
    let (code, said) = diff(&SHOP.replace("8080", "9090"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("-    targetPort: 8080\n+    targetPort: 9090\n"), "{said}");
    let bad =
        meshctl(&world, &["diff", "-f", &written(&world, "bad.yaml", &SHOP.replace("demo", "nowhere"))]);
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(bad.status.code() == Some(1) && said.contains("bad.yaml:1:1"), "{said}");
}

#[test]
fn what_is_exported_makes_the_same_mesh_elsewhere_and_holds_nothing_that_comes_by_itself() {
    let mut world = World::new();
    world.apply(SHOP);
    world.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: demo}\nstringData: {a: b}\n");
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let export = |world: &World, args: &[&str]| {
        let output = meshctl(world, &[&["export"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // The slice of its endpoints is there by then.
    tests::wait::eventually("web-a is an endpoint", || {
        let slices = meshctl(&world, &["get", "endpointslices", "-n", "demo"]);
        let table = String::from_utf8_lossy(&slices.stdout).into_owned();
        if table.contains("127.0.0.1") { Ok(()) } else { Err(table) }
    });
    let all = export(&world, &[]);
    for absent in ["web-a", "EndpointSlice", "managedFields", "resourceVersion", "uid:", "status:"] {
        assert!(!all.contains(absent), "{absent} in\n{all}");
    }
    assert!(all.contains("name: key"), "{all}");
    assert!(!export(&world, &["--without-secrets"]).contains("name: key"));
    assert!(!export(&world, &["--namespace", "default"]).contains("orders"));
    let other = World::empty();
    other.apply(&all);
    assert_eq!(export(&other, &[]), all);
}

#[test]
fn apply_waits_until_every_sidecar_has_it_and_names_those_that_have_not() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web.demo", "/", 200);
    let apply = |world: &World, port: u16, seconds: &str| {
        let yaml = SHOP.replace("8080", &port.to_string());
        let file = written(world, "shop.yaml", &yaml);
        let output = meshctl(world, &["apply", "-f", &file, "--wait", "--timeout", seconds]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, wrong) = apply(&world, 8080, "20");
    assert_eq!((code, wrong.as_str()), (Some(0), ""), "{said}");
    assert!(said.ends_with("service/orders created\napplied by all 2 connected sidecars\n"), "{said}");

    let pid = world.mesh.member("shopper").unwrap().sidecar_pid().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    signal("-STOP");
    let route = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: demo}\nspec:\n  selector: {app: web}\n  \
                 ports: [{name: main, port: 80, targetPort: main, appProtocol: http}, {name: more, port: 81}]\n";
    let file = written(&world, "web.yaml", route);
    let output = meshctl(&world, &["apply", "-f", &file, "--wait", "--timeout", "1"]);
    signal("-CONT");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("sidecar demo/shopper has not confirmed"), "{said}");
    assert!(said.contains("applied by 1 of 2 connected sidecars"), "{said}");
    let (code, said, wrong) = apply(&world, 8081, "20");
    assert_eq!(code, Some(0), "it goes on: {said}{wrong}");

    world.mesh.member("shopper").unwrap().kill_sidecar();
    let said = tests::wait::eventually("who is away is named", || {
        let (code, said, wrong) = apply(&world, 8082, "20");
        if code == Some(1) { Ok(wrong) } else { Err(said) }
    });
    assert!(said.contains("sidecar demo/shopper is not connected"), "{said}");
}

#[test]
fn a_backup_is_restored_as_it_was_here_and_elsewhere() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let secret = |text: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: key, namespace: demo}}\nstringData: {{key: {text}}}\n"
        )
    };
    world.apply(&secret("first"));
    let file = world.dir().join("mesh.backup");
    let file = file.to_str().unwrap();
    let run = |world: &World, args: &[&str]| {
        let output = meshctl(world, args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&world, &["backup", file]);
    assert!(said.contains("objects at revision"), "{said}");
    let mode = std::fs::metadata(file).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    let objects = |world: &World| {
        let text = run(world, &["backup", "-"]);
        let mut backup: serde_json::Value = serde_json::from_str(&text).unwrap();
        let items = backup["items"].as_array_mut().unwrap();
        for object in items.iter_mut() {
            object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
            // What a Service's status says is true of the moment, and said anew.
            if object["kind"] == "Service" {
                object.as_object_mut().unwrap().remove("status");
            }
        }
        std::mem::take(items)
    };
    let before = objects(&world);
    let kinds: std::collections::BTreeSet<_> =
        before.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert!(
        kinds.contains("Secret") && !kinds.contains("Workload") && !kinds.contains("EndpointSlice"),
        "{kinds:?}"
    );

    run(&world, &["delete", "service", "web", "-n", "demo"]);
    world.apply(&secret("second"));
    world.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: later}\n");
    let foreseen = run(&world, &["restore", file, "--dry-run"]);
    let lines = [
        "secret/demo/key restored (dry run)",
        "service/demo/web restored (dry run)",
        "namespace/later deleted (dry run)",
    ];
    assert_eq!(foreseen.lines().collect::<Vec<_>>(), lines);
    run(&world, &["restore", file]);
    assert_eq!(objects(&world), before, "ages and identities too");
    assert_eq!(run(&world, &["restore", file]).lines().count(), 1, "again it changes nothing");

    let other = World::empty();
    run(&other, &["restore", file]);
    assert_eq!(objects(&other), before);
    std::fs::write(file, "{\"kind\": \"Backup\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"No\"}}]}").unwrap();
    let output = meshctl(&other, &["restore", file]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("metadata.name"), "{said}");
    assert_eq!(objects(&other), before, "nothing is restored by half");
}
