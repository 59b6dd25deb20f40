//! A sidecar that the rules know by the mark on its sockets, and by nothing else.

use mesh_load::running::Running;
use std::path::Path;
use std::process::Command;
use tests::site::{Machine, Site, Versions};
use tests::wait::{eventually, holds};

const MARK: &str = "0x539";
/// Counts what the sidecar's user opens without the mark. Answers on connections that others opened need none.
const WATCH: &str = "table inet watch { chain output { type filter hook output priority 0; meta skuid 900 ct direction \
                     original meta mark != 0x539 counter comment \"unmarked\"; meta skuid 900 meta mark 0x539 counter \
                     comment \"marked\"; }; }";
/// A place outside that the sidecar itself has to look up in DNS.
const EXTERNAL: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: db, namespace: \
                        shop}\nspec:\n  hosts: [db.example.test]\n  ports: [{port: 80, protocol: http}]\n";

/// A service that is called by others and calls others, known by its mark.
fn world() -> (Site, Running, Machine, Machine) {
    let site = Site::new();
    site.service("orders", "80>8080/http");
    site.service("cart", "80>8080/http");
    let mut server = Command::new("python3");
    server.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("netns/dns_server.py"));
    server.args(["10.78.0.254", "fd78::fe"]);
    let server = site.switch.inside(|| Running::start("dns", server, &site.logs())).unwrap();
    let mut cart = site.member("cart", "--inbound 8080/http");
    cart.origin("cart-a", 8080, "http");
    let mut orders = site.machine("orders", Versions::Both);
    orders.host.sh("nft", &[WATCH]);
    site.join_as_root(&mut orders, &format!("--mark {MARK} --inbound 8080/http"));
    orders.host.intercepts(&format!("install --sidecar-mark {MARK}"));
    orders.origin("orders-a", 8080, "http");
    (site, server, orders, cart)
}

/// How many packets the watch has counted.
fn watched(orders: &Machine, what: &str) -> u64 {
    let rules = orders.host.sh("nft", &["list", "table", "inet", "watch"]);
    let line = rules.lines().find(|line| line.contains(&format!("\"{what}\""))).unwrap();
    line.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
}

#[test]
fn captured_traffic_flows_both_ways_and_in_dns_and_no_socket_is_without_the_mark() {
    let (site, _server, orders, cart) = world();
    let rules = orders.host.rules();
    assert!(!rules.contains("skuid 900 return") && rules.contains("meta mark 0x00000539 return"), "{rules}");
    // Out: to the mesh, and past it.
    let answer = orders.until_curl("--include http://cart.shop/headers", "sa/orders");
    assert!(answer.contains("x-instance: cart-a"), "{answer}");
    let mut far = site.machine("far", Versions::Both);
    far.origin("far", 9000, "http");
    for address in [far.v4.clone(), format!("[{}]", far.v6)] {
        orders.until_curl(&format!("--include http://{address}:9000/"), "x-instance: far");
    }
    // In: by mutual TLS, and in the clear.
    cart.until_curl("--include http://orders.shop/headers", "x-instance: orders-a");
    site.apply(
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\nspec:\n  mtls: {mode: \
         Permissive}\n",
    );
    far.until_curl(&format!("--include http://{}:8080/", orders.v4), "x-instance: orders-a");
    // DNS: what the application asks, and what the sidecar itself does.
    for name in ["www.example.test", "long.example.test"] {
        let found = orders.says("getent", &["ahostsv4", name]);
        assert!(found.contains("192.0.2.7"), "{name}: {found}");
    }
    site.apply(EXTERNAL);
    eventually("the sidecar has looked a name up", || {
        orders.curl("--max-time 1 http://db.example.test/").ok();
        let metrics = orders.metrics();
        let name = "outrigger_external_name_lookups_total";
        holds(
            metrics.sum(name, &[("result", "ok")]) > 0.0,
            metrics.with(name, &[]).cloned().collect::<Vec<_>>(),
        )
    });
    for machine in [&orders, &cart] {
        let metrics = machine.metrics();
        assert_eq!(metrics.sum("outrigger_refusals_total", &[("reason", "loop_detected")]), 0.0);
    }
    assert!(watched(&orders, "marked") > 0);
    assert_eq!(
        watched(&orders, "unmarked"),
        0,
        "{}",
        orders.host.sh("nft", &["list", "table", "inet", "watch"])
    );
}

#[test]
fn a_sidecar_without_the_mark_is_captured_itself_and_says_so() {
    let site = Site::new();
    let mut far = site.machine("far", Versions::Both);
    far.origin("far", 9000, "http");
    let mut caller = site.machine("caller", Versions::Both);
    site.join_as_root(&mut caller, "--mark 0x53a");
    caller.host.intercepts(&format!("install --sidecar-mark {MARK} --no-verify"));
    let said = caller.curl(&format!("http://{}:9000/", far.v4)).unwrap();
    assert!(said.contains("`sidecar run --mark`"), "{said}");
    caller.counted("outrigger_refusals_total", &[("reason", "loop_detected")], 1.0);
}
