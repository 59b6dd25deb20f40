//! Probes tell whether the rules work, whether or not a sidecar runs; and if they don't, everything is as it was.

use tests::netns::{Host, no_probe_is_left};

/// Takes port 80 before anyone else, so that a probe to it goes astray.
const ASTRAY: &str = "table inet astray { chain output { type nat hook output priority -101; tcp dport 80 redirect to \
                      :9; }; }";

#[test]
fn every_way_is_probed_without_a_sidecar_and_without_a_network() {
    let host = Host::new();
    let said = host.intercepts("install --sidecar-uid 900 --sidecar-gid 901 --sidecar-mark 0x5f");
    for (line, version) in [
        ("outbound", "IPv4"),
        ("outbound", "IPv6"),
        ("DNS over UDP", "IPv4"),
        ("DNS over UDP", "IPv6"),
        ("DNS over TCP", "IPv4"),
        ("DNS over TCP", "IPv6"),
        ("inbound", "IPv4"),
        ("inbound", "IPv6"),
    ] {
        let found =
            said.lines().any(|l| l.starts_with(&format!("{line} {version}: ")) && l.contains(" came to "));
        assert!(found, "{line} {version} in {said}");
    }
    for own in ["user 900", "group 901", "mark 0x5f"] {
        assert_eq!(said.matches(&format!("a connection of {own} to ")).count(), 2, "{own} in {said}");
    }
    assert!(!said.contains("not probed"), "{said}");
    assert!(said.ends_with("installed: table inet outrigger\n"), "{said}");
    no_probe_is_left(&host);
}

#[test]
fn a_failed_probe_takes_the_rules_away_again() {
    let host = Host::new();
    host.sh("nft", &[ASTRAY]);
    let (rules, routing) = (host.rules(), host.sh("ip", &["rule"]));
    let said = host.refuses("install --sidecar-uid 900 --inbound-mode tproxy --include-outbound-port 80");
    assert!(said.starts_with("sidecar: outbound IPv4: a connection of user 65534 to "), "{said}");
    assert!(
        said.contains("the rules were removed again; to install them all the same, give --no-verify"),
        "{said}"
    );
    assert_eq!(host.rules(), rules);
    assert_eq!(host.sh("ip", &["rule"]), routing);
    host.intercepts("install --sidecar-uid 900 --include-outbound-port 80 --no-verify");
    assert!(host.rules().contains("table inet outrigger"));
}

#[test]
fn a_failed_probe_puts_back_what_was_installed_before() {
    let host = Host::new();
    host.intercepts("install --sidecar-uid 900 --inbound-mode tproxy");
    host.sh("nft", &[ASTRAY]);
    let (rules, routing) = (host.rules(), host.sh("ip", &["rule"]));
    let said = host.refuses("install --sidecar-uid 901 --inbound-port 16006 --include-outbound-port 80");
    assert!(said.contains("the rules that were installed before are back"), "{said}");
    let sorted = |text: &str| {
        let mut tables: Vec<_> = text
            .split("\ntable ")
            .map(|table| table.trim_start_matches("table ").trim().to_owned())
            .collect();
        tables.sort();
        tables
    };
    assert_eq!(sorted(&host.rules()), sorted(&rules));
    assert_eq!(host.sh("ip", &["rule"]), routing);
}

#[test]
fn verifying_says_when_nothing_is_installed_and_when_all_is_well() {
    let (host, _far) = Host::pair();
    let said = host.refuses("verify --sidecar-uid 900");
    assert!(said.contains("did not come to 127.0.0.1:15001"), "{said}");
    assert!(said.contains("run `sidecar intercept install` with these flags"), "{said}");
    assert_eq!(host.rules(), "");
    host.intercepts("install --sidecar-uid 900 --no-verify");
    let rules = host.rules();
    host.intercepts("verify --sidecar-uid 900");
    assert_eq!(host.rules(), rules);
}

#[test]
fn a_running_sidecar_s_listeners_are_used() {
    let (host, _far) = Host::pair();
    let _sidecar = [
        host.serve("sidecar", "127.0.0.1:15001"),
        host.serve("sidecar", "[::1]:15001"),
        host.serve("sidecar", "0.0.0.0:15006"),
        host.serve("sidecar", "[::]:15006"),
    ];
    host.intercepts("install --sidecar-uid 900");
    host.intercepts("verify --sidecar-uid 900");
    host.intercepts("uninstall");
    let said = host.refuses("verify --sidecar-uid 900");
    assert!(said.contains("outbound IPv4") && said.contains("inbound IPv6"), "{said}");
}

#[test]
fn a_sidecar_that_listens_on_ipv4_only_is_told_while_ipv6_is_captured_too() {
    let (host, _far) = Host::pair();
    let _sidecar = host.serve("sidecar", "127.0.0.1:15001");
    let said = host.refuses("install --sidecar-uid 900");
    assert!(said.contains("a sidecar listens on 127.0.0.1:15001, but nobody on [::1]:15001"), "{said}");
    assert!(said.contains("--ipv4-only"), "{said}");
    assert_eq!(host.rules(), "");
    host.intercepts("install --sidecar-uid 900 --ipv4-only");
}

#[test]
fn a_firewall_that_blocks_the_inbound_port_is_found() {
    let host = Host::new();
    let firewall = "table inet firewall { chain input { type filter hook input priority 0; policy accept; tcp dport \
                    15006 drop; }; }";
    host.sh("nft", &[firewall]);
    let said = host.refuses("install --sidecar-uid 900 --outbound-mode off --dns-mode off");
    assert!(said.contains("a firewall of this machine must let port 15006 in"), "{said}");
}
