//! What reaches a service from other machines comes to its sidecar first.

use std::process::Command;
use tests::netns::{Host, Server};

/// A machine with a service on 8080, and another from which it is called.
fn world() -> (Host, Host, Vec<Server>) {
    let (app, far) = Host::pair();
    let servers = vec![
        app.serve("service", "0.0.0.0:8080"),
        app.serve("service", "[::]:8080"),
        app.serve("ssh", "0.0.0.0:22"),
        app.serve("mtls", "0.0.0.0:15008"),
        app.serve("metrics", "0.0.0.0:15020"),
    ];
    (app, far, servers)
}

#[test]
fn a_redirected_connection_comes_to_the_sidecar_which_learns_its_destination() {
    let (app, far, _servers) = world();
    let _sidecar = [app.serve("sidecar", "0.0.0.0:15006"), app.serve("sidecar", "[::]:15006")];
    app.intercepts("install --sidecar-uid 900");
    assert_eq!(far.asks(0, "10.77.0.1:8080").unwrap(), "sidecar 10.77.0.1:8080 10.77.0.2");
    assert_eq!(far.asks(0, "[fd77::1]:8080").unwrap(), "sidecar [fd77::1]:8080 fd77::2");
    assert_eq!(far.asks(0, "10.77.0.1:22").unwrap(), "ssh - 10.77.0.2");
    assert_eq!(far.asks(0, "10.77.0.1:15008").unwrap(), "mtls - 10.77.0.2");
    assert_eq!(far.asks(0, "10.77.0.1:15020").unwrap(), "metrics - 10.77.0.2");
    // The sidecar's way to the service.
    assert_eq!(app.asks(crate::SIDECAR, "127.0.0.1:8080").unwrap(), "service - 127.0.0.1");
}

#[test]
fn only_the_included_ports_and_sources_are_captured() {
    for (flags, is_captured) in [
        ("--include-inbound-port 8080", true),
        ("--include-inbound-port 8081", false),
        ("--exclude-inbound-port 8080", false),
        ("--include-inbound-cidr 10.77.0.0/24", true),
        ("--include-inbound-cidr 10.78.0.0/24", false),
        ("--exclude-inbound-cidr 10.77.0.2", false),
        ("--exclude-interface eth0", false),
        ("--include-interface eth0", true),
    ] {
        let (app, far, _servers) = world();
        let _sidecar = app.serve("sidecar", "0.0.0.0:15006");
        app.intercepts(&format!("install --sidecar-uid 900 {flags}"));
        let expected = if is_captured { "sidecar 10.77.0.1:8080 10.77.0.2" } else { "service - 10.77.0.2" };
        assert_eq!(far.asks(0, "10.77.0.1:8080").unwrap(), expected, "{flags}");
    }
}

#[test]
fn tproxy_hands_the_connection_over_unchanged() {
    let (app, far, _servers) = world();
    let _sidecar = [
        app.serve_transparently("sidecar", "0.0.0.0:15006"),
        app.serve_transparently("sidecar", "[::]:15006"),
    ];
    app.intercepts("install --sidecar-uid 900 --inbound-mode tproxy");
    assert_eq!(far.asks(0, "10.77.0.1:8080").unwrap(), "sidecar 10.77.0.1:8080 10.77.0.2");
    assert_eq!(far.asks(0, "[fd77::1]:8080").unwrap(), "sidecar [fd77::1]:8080 fd77::2");
    assert_eq!(far.asks(0, "10.77.0.1:22").unwrap(), "ssh - 10.77.0.2");
    assert_eq!(app.asks(crate::SERVICE, "127.0.0.1:8080").unwrap(), "service - 127.0.0.1");
}

#[test]
fn under_tproxy_the_service_can_see_the_client_s_address() {
    let (app, far, _servers) = world();
    let _sidecar =
        [app.relay_transparently("0.0.0.0:15006", 15006), app.relay_transparently("[::]:15006", 15006)];
    app.intercepts("install --sidecar-uid 900 --inbound-mode tproxy");
    assert_eq!(far.asks(0, "10.77.0.1:8080").unwrap(), "service - 10.77.0.2");
    assert_eq!(far.asks(0, "[fd77::1]:8080").unwrap(), "service - fd77::2");
}

#[test]
fn what_passes_through_the_machine_is_left_alone() {
    for mode in ["redirect", "tproxy"] {
        let (app, far, _servers) = world();
        let inner = Host::new();
        app.join(&inner, 1);
        app.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        far.sh("ip", &["route", "add", "10.77.1.0/24", "via", "10.77.0.1"]);
        inner.sh("ip", &["route", "add", "10.77.0.0/24", "via", "10.77.1.1"]);
        let _inner = inner.serve("inner", "10.77.1.2:8080");
        app.intercepts(&format!("install --sidecar-uid 900 --inbound-mode {mode}"));
        assert_eq!(far.asks(0, "10.77.1.2:8080").unwrap(), "inner - 10.77.0.2", "{mode}");
    }
}

#[test]
fn while_nobody_takes_what_tproxy_hands_over_nothing_new_gets_past() {
    for flags in ["", "--backend iptables"] {
        let (app, far, _servers) = world();
        app.intercepts(&format!("install --sidecar-uid 900 --inbound-mode tproxy {flags}"));
        // Somebody listens, but not for other addresses than its own.
        let _sidecar = app.serve("sidecar", "0.0.0.0:15006");
        for place in ["10.77.0.1:8080", "[fd77::1]:8080"] {
            let mut caller = Command::new("curl");
            caller.args(["--silent", "--max-time", "1", &format!("telnet://{place}")]);
            let output = far.run(caller);
            assert_eq!(output.status.code(), Some(28), "{flags}: {output:?}");
        }
        assert_eq!(far.asks(0, "10.77.0.1:22").unwrap(), "ssh - 10.77.0.2");
    }
}
