//! Requests go where the manifests say.

use tests::http1::get;
use tests::wait::{eventually, holds};
use tests::world::World;

/// A Service `web` in front of `web-v1` and `web-v2`, and a client.
fn two_versions() -> (World, String) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    for version in ["web-v1", "web-v2"] {
        world.service(version, 80, Some("http"), "main");
        world.serve(version, version, "http", &["http"]);
    }
    let outbound = world.client("shopper", &[]);
    (world, outbound)
}

fn route(world: &World, rules: &str) {
    world.apply(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: demo}}\nspec:\n  \
         parentRefs: [{{group: '', kind: Service, name: web, port: 80}}]\n  rules:\n{rules}"
    ));
}

fn instance(outbound: &str, host: &str, path: &str) -> String {
    get(outbound, host, path).unwrap().header("x-instance").to_owned()
}

#[test]
fn every_form_of_a_name_reaches_the_service() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    for host in [
        "web",
        "web:80",
        "web.demo",
        "WEB.demo.svc",
        "web.demo.svc.mesh.internal",
        "web.demo.svc.mesh.internal.:80",
    ] {
        assert_eq!(instance(&outbound, host, "/"), "web-a", "{host}");
    }
    let mut absolute = tests::http1::Connection::open(&outbound).unwrap();
    absolute.write(b"GET http://web.demo/ HTTP/1.1\r\nHost: web.demo\r\n\r\n").unwrap();
    assert_eq!(absolute.answer().unwrap().header("x-instance"), "web-a");
}

#[test]
fn the_first_match_by_precedence_decides() {
    let (world, outbound) = two_versions();
    route(
        &world,
        "  - backendRefs: [{name: web-v1, port: 80}]
  - matches:
    - path: {type: PathPrefix, value: /headers}
      headers: [{name: X-Canary, value: 'yes'}]
    - path: {type: Exact, value: /status/201}
      method: GET
    backendRefs: [{name: web-v2, port: 80}]
",
    );
    eventually("the route is in force", || {
        let seen = get(&outbound, "web", "/status/201").map_err(|e| e.to_string())?;
        holds(seen.header("x-instance") == "web-v2", format!("{seen:?}"))
    });
    assert_eq!(instance(&outbound, "web", "/"), "web-v1");
    assert_eq!(instance(&outbound, "web", "/headers"), "web-v1");
    assert_eq!(instance(&outbound, "web", "/status/2010"), "web-v1", "exact is exact");
    let mut canary = tests::http1::Connection::open(&outbound).unwrap();
    canary.write(b"GET /headers/x HTTP/1.1\r\nHost: web\r\nx-canary: yes\r\n\r\n").unwrap();
    assert_eq!(canary.answer().unwrap().header("x-instance"), "web-v2", "a prefix ends at an element");
    canary.write(b"GET /headersx HTTP/1.1\r\nHost: web\r\nx-canary: yes\r\n\r\n").unwrap();
    assert_eq!(canary.answer().unwrap().header("x-instance"), "web-v1", "a prefix ends at an element");
}

#[test]
fn a_canary_shifts_by_applying_a_manifest() {
    let (world, outbound) = two_versions();
    let split = |v2: u32| {
        route(
            &world,
            &format!(
                "  - backendRefs: [{{name: web-v1, port: 80, weight: {}}}, {{name: web-v2, port: 80, weight: {v2}}}]\n",
                100 - v2
            ),
        );
    };
    let share = |requests: u32| {
        let mut connection = tests::http1::Connection::open(&outbound).unwrap();
        let v2 =
            (0..requests).filter(|_| connection.get("web", "/").unwrap().header("x-instance") == "web-v2");
        f64::from(u32::try_from(v2.count()).unwrap()) / f64::from(requests)
    };
    split(0);
    world.until_answers(&outbound, "web", "/", 200);
    eventually("all goes to v1", || {
        let seen = share(50);
        holds(seen == 0.0, seen)
    });
    split(100);
    eventually("all goes to v2", || {
        let seen = share(50);
        holds(seen == 1.0, seen)
    });
    split(50);
    eventually("half goes to v2", || {
        let seen = share(400);
        holds((0.38..=0.62).contains(&seen), seen)
    });
}

#[test]
fn a_route_to_a_missing_backend_says_so_and_spares_the_others() {
    let (world, outbound) = two_versions();
    route(
        &world,
        "  - matches: [{path: {type: PathPrefix, value: /lost}}]
    backendRefs: [{name: web-v3, port: 80}]
  - backendRefs: [{name: web-v1, port: 80}]
",
    );
    let lost = world.until_answers(&outbound, "web", "/lost", 500);
    assert_eq!(lost.reason(), "invalid_backend");
    assert!(lost.body.contains("web-v3"), "{}", lost.body);
    assert_eq!(instance(&outbound, "web", "/"), "web-v1");
    let status = world.mesh.meshctl(&["get", "httproute", "web", "-n", "demo", "-o", "json"]).unwrap();
    assert!(status.contains("BackendNotFound") && status.contains("web-v3"), "{status}");
}
