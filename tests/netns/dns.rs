//! A service's DNS queries come to its sidecar, whatever server they are sent to; the sidecar's own do not.

use crate::{OTHER, SERVICE, SIDECAR};
use tests::netns::{Host, Server};

fn world() -> (Host, Host, Vec<Server>) {
    let (app, far) = Host::pair();
    let servers = vec![
        app.serve_udp("resolver", "127.0.0.53:53"),
        far.serve_udp("far", "10.77.0.2:53"),
        far.serve_udp("far", "[fd77::2]:53"),
        far.serve("far", "10.77.0.2:53"),
    ];
    (app, far, servers)
}

/// After the installation, whose probes it would not understand.
fn sidecar(app: &Host) -> [Server; 3] {
    [
        app.serve_udp("sidecar", "127.0.0.1:15053"),
        app.serve_udp("sidecar", "[::1]:15053"),
        app.serve("sidecar", "127.0.0.1:15053"),
    ]
}

#[test]
fn queries_over_udp_and_tcp_come_to_the_sidecar() {
    let (app, _far, _servers) = world();
    app.intercepts("install --sidecar-uid 900");
    let _sidecar = sidecar(&app);
    assert_eq!(app.asks_udp(SERVICE, "10.77.0.2:53").unwrap(), "sidecar");
    assert_eq!(app.asks_udp(SERVICE, "[fd77::2]:53").unwrap(), "sidecar");
    assert_eq!(app.asks_udp(SERVICE, "127.0.0.53:53").unwrap(), "sidecar");
    assert_eq!(app.asks(SERVICE, "10.77.0.2:53").unwrap(), "sidecar 10.77.0.2:53 10.77.0.1");
}

#[test]
fn the_sidecar_s_own_queries_are_left_alone() {
    let (app, _far, _servers) = world();
    app.intercepts("install --sidecar-uid 900");
    let _sidecar = sidecar(&app);
    assert_eq!(app.asks_udp(SIDECAR, "10.77.0.2:53").unwrap(), "far");
    assert_eq!(app.asks_udp(SIDECAR, "127.0.0.53:53").unwrap(), "resolver");
    assert_eq!(app.asks(SIDECAR, "10.77.0.2:53").unwrap(), "far - 10.77.0.1");
}

#[test]
fn queries_of_others_and_to_excluded_servers_are_left_alone() {
    let (app, _far, _servers) = world();
    app.intercepts("install --include-uid 1001 --inbound-mode off --exclude-outbound-cidr fd77::2");
    let _sidecar = sidecar(&app);
    assert_eq!(app.asks_udp(SERVICE, "10.77.0.2:53").unwrap(), "sidecar");
    assert_eq!(app.asks_udp(SERVICE, "[fd77::2]:53").unwrap(), "far");
    assert_eq!(app.asks_udp(OTHER, "10.77.0.2:53").unwrap(), "far");
}

#[test]
fn without_dns_capture_queries_go_where_they_are_sent() {
    let (app, _far, _servers) = world();
    app.intercepts("install --sidecar-uid 900 --dns-mode off");
    assert_eq!(app.asks_udp(SERVICE, "10.77.0.2:53").unwrap(), "far");
    assert_eq!(app.asks_udp(SERVICE, "127.0.0.53:53").unwrap(), "resolver");
}
