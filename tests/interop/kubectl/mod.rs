//! kubectl, unchanged, against the API.

mod owners;

use k8s_openapi::jiff::Timestamp;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use tests::wait::{eventually, holds};
use tests::world::{World, examples};

fn command(world: &World, args: &[&str]) -> Command {
    // Another version than the one on the path, where the caller has one.
    let program = std::env::var_os("OUTRIGGER_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into());
    let mut command = Command::new(program);
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
pub(super) fn clean(world: &World, args: &[&str]) -> String {
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
    for example in ["hello", "tcp-echo", "canary", "egress", "balancing"] {
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
    // Between the two it is given its virtual addresses.
    assert!(lines.by_ref().take(2).any(|line| line.unwrap().contains("81/TCP")));
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
fn a_workload_shows_what_its_sidecar_has_applied_and_a_service_that_nothing_is_behind_it() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    world.service("lost", 80, Some("http"), "main");
    let get = |what: &[&str]| clean(&world, &[&["get", "-n", "demo"], what].concat());
    let lost = get(&["service", "lost", "-o", "jsonpath={.metadata.resourceVersion}"]);
    let shown = eventually("what came after it is applied", || {
        let path = "jsonpath={.status.sidecar.appliedRevision} {.status.sidecar.certificateExpires}";
        let shown = get(&["workload", "web-a", "-o", path]);
        let applied = shown.split(' ').next().unwrap().parse::<u64>().unwrap_or_default();
        holds(applied >= lost.parse().unwrap(), shown.clone()).map(|()| shown)
    });
    let expires: Timestamp = shown.split(' ').nth(1).unwrap().parse().unwrap();
    let left = expires.duration_since(Timestamp::now());
    assert!((1..=24).contains(&left.as_hours()), "{shown}");

    let condition = "jsonpath={.status.conditions[?(@.type==\"outrigger.dev/EndpointsReady\")].message}";
    eventually("the service says it", || {
        let said = get(&["service", "lost", "-o", condition]);
        holds(said.contains("no workload in namespace `demo` has the labels it selects: app=lost"), said)
    });
    eventually("and so does an Event", || {
        let said = get(&["events", "--field-selector", "involvedObject.name=lost"]);
        holds(said.contains("NoEndpoints"), said)
    });
    assert_eq!(get(&["service", "web", "-o", condition]), "", "what was never wrong is not said");
}

#[test]
fn a_service_is_described_with_where_it_is() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    world.service("lost", 80, Some("http"), "main");
    let get = |what: &[&str]| clean(&world, &[&["get", "-n", "demo"], what].concat());
    let slice = "jsonpath={.items[0].endpoints[0].addresses[0]}:{.items[0].ports[0].port}";
    let selected = ["endpointslices", "-l", "kubernetes.io/service-name=web", "-o", slice];
    let place = eventually("it has an endpoint", || {
        let place = command(&world, &[&["get", "-n", "demo"], &selected[..]].concat()).output().unwrap();
        let place = String::from_utf8_lossy(&place.stdout).into_owned();
        holds(place.len() > 1, place.clone()).map(|()| place)
    });
    let described = clean(&world, &["describe", "service", "web", "-n", "demo"]);
    let endpoints = described.lines().find(|line| line.starts_with("Endpoints:")).unwrap();
    assert_eq!(endpoints.split_whitespace().nth(1), Some(place.as_str()), "{described}");

    let told: Vec<String> = get(&["ep", "web", "--no-headers"]).split_whitespace().map(Into::into).collect();
    assert_eq!((told[0].as_str(), &told[1]), ("web", &place));
    let all = get(&["endpoints", "-A"]);
    assert!(all.lines().any(|line| line.contains("lost") && line.contains("<none>")), "{all}");
    let workload = "jsonpath={.subsets[*].addresses[*].targetRef.name}";
    assert_eq!(get(&["endpoints", "web", "-o", workload]), "web-a");
    let none = kubectl(&world, &["get", "endpoints", "nobody", "-n", "demo"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("NotFound"), "{none:?}");
    let refused = kubectl(&world, &["delete", "endpoints", "web", "-n", "demo"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("MethodNotAllowed"), "{refused:?}");

    for (field, says) in
        [("endpoints.subsets", "Addresses with the ports"), ("proxies.status", "What is known")]
    {
        let help = clean(&world, &["explain", field]);
        assert!(help.contains(says), "{help}");
    }
}

#[test]
fn a_service_keeps_its_virtual_addresses_whatever_is_done_to_it() {
    let mut world = World::new();
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: demo}\nspec:\n  selector: {app: web}\n  ports: [{name: http, port: 80}]\n";
    let file = manifest(&world, "web.yaml", yaml);
    let addresses = |world: &World| {
        let path = "jsonpath={.spec.clusterIP} {.spec.clusterIPs}";
        clean(world, &["get", "service", "web", "-n", "demo", "-o", path])
    };
    clean(&world, &["apply", "-f", &file]);
    let given = eventually("it is given a pair", || {
        let given = addresses(&world);
        if given.starts_with("240.240.") && given.contains("fd6f:") { Ok(given) } else { Err(given) }
    });
    let table = clean(&world, &["get", "svc", "web", "-n", "demo"]);
    assert!(given.split_once(' ').is_some_and(|(first, _)| table.contains(first)), "{table}");

    assert_eq!(clean(&world, &["apply", "-f", &file]).trim(), "service/web unchanged");
    assert_eq!(clean(&world, &["diff", "-f", &file]), "");
    assert_eq!(addresses(&world), given, "applied again");
    let changed = manifest(&world, "web2.yaml", &yaml.replace("port: 80", "port: 81"));
    clean(&world, &["apply", "-f", &changed]);
    assert_eq!(addresses(&world), given, "changed");
    clean(&world, &["replace", "-f", &file]);
    assert_eq!(addresses(&world), given, "replaced");
    clean(&world, &["apply", "--server-side", "--force-conflicts", "-f", &file]);
    assert_eq!(addresses(&world), given, "applied by the server");
    world.mesh.kill_control_plane();
    world.mesh.restart_control_plane().unwrap();
    assert_eq!(addresses(&world), given, "killed and started again");
    clean(&world, &["delete", "-f", &file]);
    clean(&world, &["apply", "-f", &file]);
    eventually("made again, it finds its old ones", || {
        let now = addresses(&world);
        holds(now == given, now)
    });
    let headless = manifest(&world, "web3.yaml", &yaml.replace("spec:", "spec:\n  clusterIP: None"));
    clean(&world, &["apply", "-f", &headless]);
    let shown = clean(&world, &["get", "svc", "web", "-n", "demo", "--no-headers"]);
    assert!(shown.contains(" None "), "{shown}");
}

#[test]
fn the_mesh_and_places_outside_of_it_are_objects_like_others() {
    let world = World::new();
    let file = manifest(
        &world,
        "mesh.yaml",
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\nspec:\n  egress: {policy: RegisteredOnly}\n---\n\
         apiVersion: outrigger.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {name: probes, namespace: demo}\nspec:\n  mtls: {ports: [{port: 8081, mode: Permissive}]}\n---\n\
         apiVersion: outrigger.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: payments, namespace: demo}\nspec:\n  hosts: [api.example.com]\n  ports: [{port: 80, protocol: http, targetPort: 443, tls: {originate: {caBundle: {configMap: {name: ca}}}}}]\n",
    );
    clean(&world, &["apply", "-f", &file]);
    let again = clean(&world, &["apply", "-f", &file]);
    assert!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
    for (what, shown) in [
        ("meshconfig", "RegisteredOnly"),
        ("peerauthentication", "8081=Permissive"),
        ("extsvc", "80->443/http"),
    ] {
        let table = clean(&world, &["get", what, "-n", "demo"]);
        assert!(table.contains(shown), "{table}");
    }
    eventually("the missing certificates are reported", || {
        let said = clean(
            &world,
            &["get", "extsvc", "payments", "-n", "demo", "-o", "jsonpath={.status.conditions[0].message}"],
        );
        holds(said == "there is no ConfigMap `demo/ca`; create it, or mend the name", said)
    });
    let help = clean(&world, &["explain", "externalservice.spec.hosts"]);
    assert!(help.contains("*.example.com"), "{help}");
    clean(&world, &["delete", "-f", &file]);
}

#[test]
fn a_traffic_policy_is_an_object_like_others_and_a_bad_one_is_refused_with_all_its_problems() {
    let world = World::new();
    world.service("web", 80, Some("http"), "main");
    let yaml = "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web, namespace: demo}\nspec:\n  targetRefs: [{group: '', kind: Service, name: web}]\n  loadBalancing: {policy: Maglev, hashOn: [{type: Header, name: x-user}]}\n";
    let file = manifest(&world, "policy.yaml", yaml);
    clean(&world, &["apply", "-f", &file]);
    assert_eq!(clean(&world, &["apply", "-f", &file]).trim(), "trafficpolicy.outrigger.dev/web unchanged");
    eventually("the table says that it is in force", || {
        let table = clean(&world, &["get", "tp", "-n", "demo", "--no-headers"]);
        let cells: Vec<_> = table.split_whitespace().take(4).map(str::to_owned).collect();
        holds(cells == ["web", "Service/web", "Maglev", "True"], table)
    });
    let help = clean(&world, &["explain", "trafficpolicy.spec.loadBalancing.policy"]);
    assert!(help.contains("RoundRobin"), "{help}");
    let bad = yaml
        .replace("policy: Maglev", "policy: RoundRobin, boundedLoad: 7")
        .replace("web}]", "web, port: 80}]");
    let bad = manifest(&world, "bad.yaml", &format!("{bad}  panicThreshold: 101\n"));
    let output = kubectl(&world, &["apply", "-f", &bad]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    for field in ["targetRefs[0].port", "loadBalancing.hashOn", "loadBalancing.boundedLoad", "panicThreshold"]
    {
        assert!(said.contains(&format!("spec.{field}")), "{field} is missing in: {said}");
    }
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

#[test]
fn rights_are_given_and_taken_as_in_kubernetes() {
    let world = World::new();
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: demo}\nspec:\n  ports: [{port: 80}]\n";
    let service = manifest(&world, "web.yaml", service);
    let mut meshctl = world.mesh.program("meshctl");
    meshctl.arg("--kubeconfig").arg(world.mesh.kubeconfig());
    let made = meshctl.args(["kubeconfig", "-n", "demo", "-s", "deployer"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let own = manifest(&world, "deployer.kubeconfig", &String::from_utf8(made.stdout).unwrap());
    let deployer = |args: &[&str]| {
        // Another version than the one on the path, where the caller has one.
        let program = std::env::var_os("OUTRIGGER_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(program);
        command.args(["--kubeconfig", &own, "--cache-dir"]).arg(world.dir().join("kube-deployer"));
        let output = command.args(args).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (may, said) = deployer(&["apply", "-f", &service]);
    assert!(
        !may && said.contains("Forbidden") && said.contains("system:serviceaccount:demo:deployer"),
        "{said}"
    );

    let bind = ["create", "rolebinding", "deployer", "-n", "demo", "--clusterrole=edit"];
    clean(&world, &[&bind[..], &["--serviceaccount=demo:deployer"]].concat());
    let (may, said) = deployer(&["apply", "-f", &service]);
    assert!(may && said.trim() == "service/web created", "{said}");
    assert_eq!(deployer(&["auth", "can-i", "update", "services"]), (true, "yes\n".to_owned()));
    assert_eq!(deployer(&["auth", "can-i", "list", "services", "-n", "default"]), (false, "no\n".to_owned()));
    let (may, said) = deployer(&["auth", "can-i", "--list"]);
    assert!(may && said.contains("httproutes.gateway.networking.k8s.io"), "{said}");
    let (may, said) = deployer(&["create", "rolebinding", "more", "--clusterrole=admin", "--user=eve"]);
    assert!(!may && said.contains("cluster-admin"), "{said}");

    let everywhere = ["create", "clusterrolebinding", "readers", "--clusterrole=view"];
    clean(&world, &[&everywhere[..], &["--group=system:serviceaccounts"]].concat());
    assert!(deployer(&["get", "services", "-A"]).0);
    let table = clean(&world, &["get", "clusterrolebindings", "-o", "wide"]);
    assert!(table.contains("ClusterRole/view") && table.contains("system:serviceaccounts"), "{table}");
    clean(&world, &["delete", "rolebinding", "deployer", "-n", "demo"]);
    let (may, said) = deployer(&["delete", "service", "web"]);
    assert!(!may && said.contains("a RoleBinding to edit in this namespace would allow it"), "{said}");
    let token = clean(&world, &["create", "token", "deployer", "-n", "demo", "--audience", "outrigger-api"]);
    assert_eq!(token.trim().split('.').count(), 3, "a signed token");
}

#[test]
fn every_way_to_change_an_object_changes_it() {
    let world = World::new();
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: demo, labels: {app: web}}\nspec:\n  selector: {app: web}\n  ports: [{name: http, port: 80}]\n";
    let file = manifest(&world, "web.yaml", yaml);
    let ok = |args: &[&str]| clean(&world, &[args, &["-n", "demo"]].concat());
    let field = |path: &str| ok(&["get", "svc", "web", "-o", &format!("jsonpath={{{path}}}")]);

    let dry = ok(&["apply", "-f", &file, "--dry-run=server"]);
    assert_eq!(dry.trim(), "service/web created (server dry run)");
    assert_eq!(ok(&["get", "svc", "-o", "name"]), "", "a dry run stores nothing");
    assert_eq!(ok(&["create", "-f", &file, "--save-config"]).trim(), "service/web created");

    ok(&["label", "svc", "web", "tier=front"]);
    ok(&["annotate", "svc", "web", "team=a"]);
    assert_eq!(field(".metadata.labels.tier"), "front");
    assert_eq!(field(".metadata.annotations.team"), "a");
    ok(&["label", "svc", "web", "tier-"]);
    assert_eq!(field(".metadata.labels.tier"), "");
    // Strategic merge knows that ports are told apart by their numbers.
    ok(&["patch", "svc", "web", "-p", r#"{"spec": {"ports": [{"name": "admin", "port": 81}]}}"#]);
    assert_eq!(field(".spec.ports[*].port"), "80 81");
    ok(&[
        "patch",
        "svc",
        "web",
        "--type=merge",
        "-p",
        r#"{"spec": {"ports": [{"name": "http", "port": 80}]}}"#,
    ]);
    assert_eq!(field(".spec.ports[*].port"), "80");
    ok(&[
        "patch",
        "svc",
        "web",
        "--type=json",
        "-p",
        r#"[{"op": "replace", "path": "/spec/ports/0/port", "value": 82}]"#,
    ]);
    assert_eq!(field(".spec.ports[*].port"), "82");
    ok(&["replace", "--save-config", "-f", &file]);
    assert_eq!(field(".spec.ports[*].port"), "80");

    let editor =
        manifest(&world, "editor.sh", "#!/bin/sh\nsed -i 's/^    app: web$/    app: edited/' \"$1\"\n");
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let edited =
        command(&world, &["edit", "svc", "web", "-n", "demo"]).env("KUBE_EDITOR", &editor).output().unwrap();
    assert!(edited.status.success(), "{edited:?}");
    assert_eq!(field(".spec.selector.app"), "edited");

    let different = command(&world, &["diff", "-f", &file]).output().unwrap();
    let said = String::from_utf8_lossy(&different.stdout).into_owned();
    assert!(different.status.code() == Some(1) && said.contains("app: edited"), "{different:?}");
    ok(&["apply", "-f", &file]);
    assert_eq!(command(&world, &["diff", "-f", &file]).output().unwrap().status.code(), Some(0));

    let described = ok(&["describe", "svc", "web"]);
    assert!(described.contains("Selector:") && described.contains("app=web"), "{described}");
    assert!(ok(&["get", "svc", "-l", "app=web", "-o", "wide"]).contains("app=web"));
    assert!(
        ok(&["get", "svc", "--field-selector", "metadata.name=web", "-o", "name"]).contains("service/web")
    );
    assert!(ok(&["get", "svc", "-o", "json"]).contains("\"kind\": \"List\""));
    assert!(clean(&world, &["get", "svc", "-A"]).contains("demo"));
    assert!(clean(&world, &["api-resources"]).contains("trafficpolicies"));
    assert!(clean(&world, &["explain", "service.spec.ports"]).contains("appProtocol"));
    let deleted = ok(&["delete", "svc", "-l", "app=web"]);
    assert!(deleted.contains("\"web\" deleted"), "{deleted}");
}

#[test]
fn fields_have_owners_and_conditions_can_be_waited_for() {
    let world = World::new();
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: demo}\nspec:\n  parentRefs: [{group: '', kind: Service, name: web}]\n  rules: [{backendRefs: [{name: web, port: 80}]}]\n";
    let file = manifest(&world, "route.yaml", route);
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: demo}\nspec:\n  ports: [{name: http, port: 80}]\n";
    let folder = world.dir().join("kustomize");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("web.yaml"), yaml).unwrap();
    std::fs::write(
        folder.join("kustomization.yaml"),
        "resources: [web.yaml]\nlabels: [{pairs: {made-by: kustomize}}]\n",
    )
    .unwrap();
    let made = clean(&world, &["apply", "-k", folder.to_str().unwrap()]);
    assert_eq!(made.trim(), "service/web created");
    assert!(clean(&world, &["get", "svc", "-n", "demo", "-l", "made-by=kustomize"]).contains("web"));

    let server_side = ["apply", "--server-side", "-f", &file];
    assert_eq!(
        clean(&world, &server_side).trim(),
        "httproute.gateway.networking.k8s.io/web serverside-applied"
    );
    let changed = manifest(&world, "changed.yaml", &route.replace("port: 80", "port: 81"));
    let other = ["apply", "--server-side", "--field-manager", "other", "-f", &changed];
    let refused = kubectl(&world, &other);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("conflict") && said.contains("kubectl"), "{said}");
    clean(&world, &[&other[..], &["--force-conflicts"]].concat());
    clean(&world, &[&server_side[..], &["--force-conflicts"]].concat());
    let accepted = "jsonpath={.status.parents[0].conditions[0].status}=True";
    clean(&world, &["wait", "-n", "demo", "httproute/web", "--for", accepted, "--timeout=30s"]);
    clean(&world, &["delete", "--wait=true", "-f", &file]);

    // kubectl's own reader of YAML lets the last one win; what is sent as it is, the server sees.
    let twice = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {"ports": [{"port": 80, "port": 81}]}}"#;
    let twice = manifest(&world, "twice.json", twice);
    let refused = kubectl(&world, &["create", "--raw", "/api/v1/namespaces/demo/services", "-f", &twice]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("duplicate field \"spec.ports[0].port\""), "{said}");
}

#[test]
fn what_happens_is_told_by_events() {
    let world = World::new();
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: demo}\nspec:\n  parentRefs: [{group: '', kind: Service, name: web}]\n  rules: [{backendRefs: [{name: web, port: 80}]}]\n";
    clean(&world, &["apply", "-f", &manifest(&world, "route.yaml", route)]);
    let warning = [
        "get",
        "events",
        "-n",
        "demo",
        "--field-selector",
        "type=Warning,involvedObject.name=web",
        "--no-headers",
    ];
    eventually("it is told that the route leads nowhere", || {
        let told = clean(&world, &warning);
        holds(told.contains("httproute/web") && told.contains("Accepted"), told)
    });
    let described = clean(&world, &["describe", "httproute", "web", "-n", "demo"]);
    assert!(described.contains("Events:") && described.contains("outrigger-control-plane"), "{described}");
    world.service("web", 80, Some("http"), "main");
    eventually("and that it does now", || {
        let told = clean(&world, &["get", "events", "-n", "demo", "-o", "wide"]);
        holds(told.contains("Normal") && told.starts_with("LAST SEEN"), told)
    });
    clean(&world, &["events", "-n", "demo"]);
    clean(&world, &["delete", "events", "--all", "-n", "demo"]);
}
