//! Places the mesh does not know: left alone, or refused with a reason if the mesh says so.

use std::time::Duration;
use tests::site::{Machine, Site, Versions};
use tests::wait::{eventually, holds};
use tokio::time::Instant;

const REGISTERED_ONLY: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\nspec:\n  \
                               egress: {policy: RegisteredOnly}\n";

/// A machine outside of the mesh with HTTP on 9000 and a greeter on 2121, and one in the mesh.
fn world() -> (Site, Machine, Machine) {
    let site = Site::new();
    let mut far = site.machine("far", Versions::Both);
    far.origin("far", 9000, "http");
    far.origin("greeter", 2121, "tcp --greeting 220-welcome");
    let caller = site.member("caller", "");
    (site, far, caller)
}

/// Reads a line without sending one.
fn listens(caller: &Machine, address: &str, port: u16) -> std::process::Output {
    let script = format!("exec 3<>/dev/tcp/{address}/{port} && read -r -t 20 -u 3 line && echo $line");
    caller.run("bash", &["-c", &script])
}

#[test]
fn an_unknown_place_is_reached_as_without_a_mesh() {
    let (_site, far, caller) = world();
    for address in [far.v4.clone(), format!("[{}]", far.v6)] {
        let answer = caller.curl(&format!("--include http://{address}:9000/headers")).unwrap();
        assert!(answer.contains("x-instance: far"), "{answer}");
        assert!(!answer.contains("forwarded"), "the request is not touched: {answer}");
    }
    assert_eq!(listens(&caller, &far.v4, 2121).stdout, b"220-welcome\n");
    caller.counted(
        "outrigger_tcp_connections_total",
        &[("direction", "outbound"), ("service", "outside")],
        3.0,
    );
}

#[test]
fn where_only_registered_places_may_be_called_others_are_refused_with_the_reason() {
    let (site, far, caller) = world();
    site.apply(REGISTERED_ONLY);
    let answer = caller.until_curl(&format!("--include http://{}:9000/", far.v4), "egress_refused");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("outrigger-reason: egress_refused"), "{answer}");
    assert!(answer.contains("register it with an ExternalService"), "{answer}");
    let started = Instant::now();
    let output = listens(&caller, &far.v4, 2121);
    assert!(!output.status.success(), "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "a client that listens is not kept waiting");
    let tls = caller.curl(&format!("--insecure https://{}:9000/", far.v4)).unwrap_err();
    assert!(!tls.contains("timed out"), "{tls}");
    caller.counted(
        "outrigger_refusals_total",
        &[("direction", "outbound"), ("reason", "egress_refused")],
        3.0,
    );
    eventually("the log says why", || holds(caller.log().contains("egress_refused"), caller.log()));
}

#[test]
fn a_registered_place_is_called_where_others_are_refused() {
    let (site, far, caller) = world();
    site.apply(&format!(
        "{REGISTERED_ONLY}---\napiVersion: outrigger.dev/v1alpha1\nkind: ExternalService\nmetadata: {{name: far, \
         namespace: shop}}\nspec:\n  addresses: [\"{}\"]\n  ports: [{{port: 9000, protocol: tcp}}]\n",
        far.v4
    ));
    caller.until_curl(
        &format!(
            "--include http://{}:9000/",
            far.v6.parse::<std::net::Ipv6Addr>().map(|ip| format!("[{ip}]")).unwrap()
        ),
        "egress_refused",
    );
    let answer = caller.until_curl(&format!("--include http://{}:9000/", far.v4), "x-instance");
    assert!(answer.contains("x-instance: far"), "{answer}");
    caller.counted(
        "outrigger_tcp_connections_total",
        &[("direction", "outbound"), ("service", "shop/far")],
        1.0,
    );
}
