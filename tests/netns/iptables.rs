//! The same with iptables-nft, for machines that have only that.

use crate::{SERVICE, SIDECAR};
use tests::netns::Host;

fn lines_of_ours(host: &Host) -> Vec<String> {
    let saved = host.sh("iptables-nft-save", &[]) + &host.sh("ip6tables-nft-save", &[]);
    saved.lines().filter(|line| line.contains("outrigger")).map(str::to_owned).collect()
}

#[test]
fn captures_and_leaves_alone_as_nft_does() {
    let (app, far) = Host::pair();
    let _servers = [
        app.serve("sidecar", "127.0.0.1:15001"),
        app.serve("sidecar", "[::1]:15001"),
        app.serve("sidecar", "0.0.0.0:15006"),
        app.serve("sidecar", "[::]:15006"),
        app.serve("service", "0.0.0.0:8080"),
        far.serve("far", "10.77.0.2:80"),
        far.serve("far", "10.77.0.2:81"),
    ];
    app.intercepts("install --sidecar-uid 900 --backend iptables --exclude-outbound-port 81 --exclude-outbound-port 90-99");
    assert_eq!(app.asks(SERVICE, "10.77.0.2:80").unwrap(), "sidecar 10.77.0.2:80 10.77.0.1");
    assert_eq!(app.asks(SERVICE, "10.77.0.2:81").unwrap(), "far - 10.77.0.1");
    assert_eq!(app.asks(SERVICE, "[fd77::2]:80").unwrap(), "sidecar [fd77::2]:80 fd77::1");
    assert_eq!(app.asks(SIDECAR, "10.77.0.2:80").unwrap(), "far - 10.77.0.1");
    assert_eq!(far.asks(0, "10.77.0.1:8080").unwrap(), "sidecar 10.77.0.1:8080 10.77.0.2");
}

#[test]
fn tproxy_works_both_ways() {
    let (app, far) = Host::pair();
    let _servers = [app.serve("service", "0.0.0.0:8080"), app.relay_transparently("0.0.0.0:15006", 15006)];
    app.intercepts("install --sidecar-uid 900 --backend iptables --inbound-mode tproxy");
    assert_eq!(far.asks(0, "10.77.0.1:8080").unwrap(), "service - 10.77.0.2");
}

#[test]
fn installing_twice_is_installing_once_and_uninstalling_leaves_nothing_of_ours() {
    let host = Host::new();
    host.sh("iptables-nft", &["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "1", "-j", "RETURN"]);
    let theirs = host.sh("iptables-nft", &["-t", "nat", "-S"]);
    let flags = "--sidecar-uid 900 --backend iptables --inbound-mode tproxy";
    host.intercepts(&format!("install {flags}"));
    let once = lines_of_ours(&host);
    assert!(!once.is_empty());
    host.intercepts(&format!("install {flags}"));
    assert_eq!(lines_of_ours(&host), once);
    let said = host.refuses("install --sidecar-uid 900");
    assert!(said.contains("installed with iptables are there already"), "{said}");
    host.intercepts("uninstall");
    assert_eq!(lines_of_ours(&host), Vec::<String>::new());
    assert_eq!(host.sh("iptables-nft", &["-t", "nat", "-S"]), theirs);
}

#[test]
fn a_failed_probe_puts_back_what_was_installed_before() {
    let host = Host::new();
    host.intercepts("install --sidecar-uid 900 --backend iptables");
    host.sh(
        "iptables-nft",
        &["-t", "nat", "-I", "OUTPUT", "-p", "tcp", "--dport", "80", "-j", "REDIRECT", "--to-ports", "9"],
    );
    let before = lines_of_ours(&host);
    let said = host.refuses("install --sidecar-uid 901 --backend iptables --include-outbound-port 80");
    assert!(said.contains("the rules that were installed before are back"), "{said}");
    assert_eq!(lines_of_ours(&host), before);
}
