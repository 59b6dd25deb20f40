//! Unmodified clients call unmodified servers on other machines, by name and by address, and it is the mesh that carries
//! them: mutual TLS, identities, routes.

use tests::site::{Machine, Site};
use tests::wait::eventually;

const CALLER: &str = "URI=spiffe://mesh.internal/ns/shop/sa/caller";
const CALLER_ID: &str = "spiffe://mesh.internal/ns/shop/sa/caller";

/// A machine with the service `orders`, at port 80, and one that calls it.
fn world(protocol: &str) -> (Site, Machine, Machine) {
    let site = Site::new();
    site.service("orders", &format!("80>8080{protocol}"));
    let mut orders = site.member("orders", &format!("--inbound 8080{protocol}"));
    orders.origin("orders-a", 8080, "http");
    let caller = site.member("caller", "");
    (site, orders, caller)
}

/// Connections from the caller that came in the clear.
fn in_the_clear(orders: &Machine, caller: &Machine) -> f64 {
    let samples = orders.metrics();
    let from = |source| samples.sum("outrigger_inbound_plaintext_connections_total", &[("source", source)]);
    from(&caller.v4) + from(&caller.v6)
}

#[test]
fn a_name_in_the_mesh_is_called_over_mutual_tls_as_who_the_caller_is() {
    let (_site, orders, caller) = world("/http");
    caller.until_curl("http://orders.shop/headers", CALLER);
    for version in ["-4", "-6"] {
        for host in ["orders", "orders.shop", "orders.shop.svc.mesh.internal"] {
            let answer = caller.curl(&format!("{version} --include http://{host}/headers")).unwrap();
            assert!(answer.contains(CALLER), "{version} {host}: {answer}");
            assert!(answer.contains("x-instance: orders-a"), "{version} {host}: {answer}");
        }
    }
    let count = 7.0;
    let labels =
        [("direction", "inbound"), ("peer", CALLER_ID), ("service", "shop/orders"), ("status", "200")];
    orders.counted("outrigger_requests_total", &labels, count);
    let labels = [("direction", "outbound"), ("service", "shop/orders"), ("status", "200")];
    caller.counted("outrigger_requests_total", &labels, count);
    assert_eq!(in_the_clear(&orders, &caller), 0.0);
}

#[test]
fn what_is_spoken_need_not_be_declared() {
    let (_site, orders, caller) = world("");
    caller.until_curl("http://orders.shop/headers", CALLER);
    let h2c = caller.curl("--http2-prior-knowledge --include http://orders/headers").unwrap();
    assert!(h2c.starts_with("HTTP/2 200") && h2c.contains(CALLER), "{h2c}");
    let labels = [("direction", "inbound"), ("peer", CALLER_ID), ("status", "200")];
    orders.counted("outrigger_requests_total", &labels, 2.0);
}

#[test]
fn a_caller_cannot_pass_for_another() {
    let (_site, orders, caller) = world("/http");
    let forged = "--header x-forwarded-client-cert:URI=spiffe://mesh.internal/ns/shop/sa/admin";
    caller.until_curl("http://orders.shop/headers", CALLER);
    for host in ["orders.shop".to_owned(), format!("{}:8080", orders.v4)] {
        let answer = caller.curl(&format!("{forged} http://{host}/headers")).unwrap();
        assert!(!answer.contains("sa/admin"), "{host}: {answer}");
        assert!(answer.contains(CALLER), "{host}: {answer}");
    }
}

#[test]
fn an_endpoint_s_own_address_is_that_endpoint_over_mutual_tls() {
    let (_site, orders, caller) = world("/http");
    caller.until_curl("http://orders.shop/headers", CALLER);
    let answer = caller.curl(&format!("--include http://{}:8080/", orders.v4)).unwrap();
    assert!(answer.contains("x-instance: orders-a"), "{answer}");
    let labels = [("direction", "inbound"), ("peer", CALLER_ID), ("status", "200")];
    orders.counted("outrigger_requests_total", &labels, 2.0);
    assert_eq!(in_the_clear(&orders, &caller), 0.0);
}

#[test]
fn routes_hold_for_captured_traffic() {
    let site = Site::new();
    let mut versions = Vec::new();
    site.service("orders", "80>8080/http");
    for name in ["orders-v1", "orders-v2"] {
        site.service(name, "80>8080/http");
        let mut machine = site.member(name, "--inbound 8080/http");
        machine.origin(name, 8080, "http");
        versions.push(machine);
    }
    let caller = site.member("caller", "");
    let route = |one: u8, two: u8| {
        site.apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: orders, namespace: shop}}\n\
             spec:\n  parentRefs: [{{group: \"\", kind: Service, name: orders}}]\n  rules:\n  - backendRefs:\n    - \
             {{name: orders-v1, port: 80, weight: {one}}}\n    - {{name: orders-v2, port: 80, weight: {two}}}\n"
        ));
    };
    let calls = || caller.curl("--include http://orders/?[1-200]").unwrap();
    let until = |is_right: fn(usize, usize) -> bool| {
        eventually("the weights are those of the route", || {
            let answers = calls();
            let (one, two) = (
                answers.matches("x-instance: orders-v1").count(),
                answers.matches("x-instance: orders-v2").count(),
            );
            if one + two == 200 && is_right(one, two) { Ok(()) } else { Err((one, two)) }
        });
    };
    route(1, 0);
    until(|one, _| one == 200);
    route(0, 1);
    until(|_, two| two == 200);
    route(1, 1);
    until(|one, two| one.min(two) > 60);
}

#[test]
fn grpc_arrives_as_grpc() {
    let site = Site::new();
    site.service("greeter", "50051>50051/grpc");
    let mut greeter = site.member("greeter", "--inbound 50051/grpc");
    greeter.origin("greeter-a", 50051, "grpc");
    let caller = site.member("caller", "");
    let load = tests::world::bin_dir().join("load");
    let load = load.to_str().unwrap();
    let address = eventually("the name has an address", || {
        let output = caller.run("getent", &["ahostsv4", "greeter.shop"]);
        String::from_utf8_lossy(&output.stdout).split_whitespace().next().map(ToOwned::to_owned).ok_or(output)
    });
    assert!(address.starts_with("240.240."), "{address}");
    let target = format!("{address}:50051");
    let report = caller.run(load, &["--target", &target, "--duration", "1", "grpc"]);
    assert!(report.status.success(), "{report:?}");
    let labels = [("direction", "inbound"), ("peer", CALLER_ID), ("grpc_status", "0")];
    greeter.counted("outrigger_requests_total", &labels, 20.0);
}

#[test]
fn opaque_bytes_arrive_unchanged() {
    let site = Site::new();
    site.service("echo", "7000>7000");
    let mut echo = site.member("echo", "--inbound 7000");
    echo.origin("echo-a", 7000, "tcp --tag");
    let caller = site.member("caller", "");
    let script = "exec 3<>/dev/tcp/echo.shop/7000 && echo hello >&3 && read -r -t 10 -u 3 line && echo $line";
    eventually("a line comes back", || {
        let output = caller.run("bash", &["-c", script]);
        if output.stdout == b"echo-a hello\n" { Ok(()) } else { Err(output) }
    });
    echo.counted("outrigger_tcp_connections_total", &[("direction", "inbound"), ("peer", CALLER_ID)], 1.0);
    caller.counted(
        "outrigger_tcp_connections_total",
        &[("direction", "outbound"), ("service", "shop/echo")],
        1.0,
    );
}
