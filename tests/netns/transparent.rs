//! TPROXY: the service sees who calls it, and the sidecar is between them all the same.

use crate::plaintext::{mesh_mode, until_refused};
use std::path::Path;
use std::process::{Command, Stdio};
use tests::netns::no_probe_is_left;
use tests::site::{Machine, Site, Versions};

const FLAGS: &str = "--inbound-mode tproxy --inbound 8080/http --inbound 8081 --inbound 7000/tcp";
const RULES: &str = "install --sidecar-uid 900 --inbound-mode tproxy";
const PLAINTEXT: &str = "outrigger_inbound_plaintext_connections_total";

fn serve(machine: &mut Machine, port: u16) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns/caller.py");
    let (script, port) = (script.to_str().unwrap().to_owned(), port.to_string());
    machine.start(&format!("caller-{port}"), "python3", &[&script, &port]);
}

/// A service on ports that are declared to speak HTTP, anything, and bytes, and one that is not announced; and a machine
/// outside of the mesh.
fn world() -> (Site, Machine, Machine) {
    let site = Site::new();
    site.service("orders", "80>8080/http");
    let mut orders = site.machine("orders", Versions::Both);
    // As some distributions have it: what comes by an interface must be from where that interface leads.
    orders.host.sh("sysctl", &["-q", "-w", "net.ipv4.conf.all.rp_filter=1"]);
    site.join_as_root(&mut orders, FLAGS);
    orders.host.intercepts(RULES);
    for port in [8080, 8081, 7000, 9999] {
        serve(&mut orders, port);
    }
    let stranger = site.machine("stranger", Versions::Both);
    (site, orders, stranger)
}

fn urls(orders: &Machine, port: u16) -> [String; 2] {
    [format!("http://{}:{port}/", orders.v4), format!("http://[{}]:{port}/", orders.v6)]
}

#[test]
fn plain_text_that_is_let_in_reaches_an_unmodified_server_from_the_client_s_own_address() {
    let (site, orders, stranger) = world();
    let other = site.machine("other", Versions::Both);
    mesh_mode(&site, "Permissive");
    stranger.until_curl(&urls(&orders, 8080)[0], "called from");
    for port in [8080, 8081, 7000, 9999] {
        for client in [&stranger, &other] {
            let [v4, v6] = urls(&orders, port);
            // Several on one connection, and then others.
            for _ in 0..2 {
                let answer = client.curl(&format!("{v4} {v4} {v4}")).unwrap();
                assert_eq!(answer, format!("called from {}\n", client.v4).repeat(3), "{port}");
                let answer = client.curl(&format!("{v6} {v6}")).unwrap();
                assert_eq!(answer, format!("called from {}\n", client.v6).repeat(2), "{port}");
            }
        }
    }
    for source in [&stranger.v4, &stranger.v6, &other.v4] {
        orders.counted(PLAINTEXT, &[("source", source), ("verdict", "accepted")], 8.0);
    }
}

#[test]
fn many_clients_behind_one_address_are_served_at_once() {
    let (site, orders, stranger) = world();
    mesh_mode(&site, "Permissive");
    let [url, _] = urls(&orders, 8080);
    stranger.until_curl(&url, "called from");
    let many = format!("--no-keepalive --parallel --parallel-immediate --parallel-max 100 {url}?[1-300]");
    let answer = stranger.curl(&many).unwrap();
    assert_eq!(answer, format!("called from {}\n", stranger.v4).repeat(300));
}

#[test]
fn where_plain_text_is_not_let_in_it_is_refused_and_peers_come_as_before() {
    let (site, orders, stranger) = world();
    let caller = site.member("caller", "");
    for url in urls(&orders, 8080).iter().chain(&urls(&orders, 9999)) {
        until_refused(&stranger, url);
    }
    orders.counted(PLAINTEXT, &[("source", &stranger.v6), ("verdict", "refused")], 2.0);
    caller.until_curl("http://orders.shop/", "called from 127.0.0.1");
    mesh_mode(&site, "Permissive");
    stranger.until_curl(&urls(&orders, 8080)[0], &format!("called from {}", stranger.v4));
    mesh_mode(&site, "Strict");
    until_refused(&stranger, &urls(&orders, 8080)[0]);
}

#[test]
fn while_no_sidecar_runs_nothing_new_gets_past_and_what_was_open_stays() {
    let (site, mut orders, stranger) = world();
    mesh_mode(&site, "Permissive");
    let [url, v6] = urls(&orders, 8080);
    stranger.until_curl(&url, "called from");
    orders.host.intercepts("uninstall");
    let mut open = Command::new("python3");
    open.args(["-c", KEPT, &orders.v4]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut open = stranger.host.inside(|| open.spawn()).unwrap();
    let mut first = [0; 4];
    std::io::Read::read_exact(open.stdout.as_mut().unwrap(), &mut first).unwrap();
    orders.host.intercepts(RULES);
    orders.kill_sidecar();
    for url in [&url, &v6] {
        let said = stranger.curl(&format!("--max-time 2 {url}")).unwrap_err();
        assert!(said.contains("exit status: 28"), "no answer, rather than let past: {said}");
    }
    let output = open.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("called from {}\n", stranger.v4),
        "{output:?}"
    );
    orders.restart_sidecar();
    stranger.until_curl(&url, &format!("called from {}", stranger.v4));
}

/// Opens a connection and asks on it when its input ends.
const KEPT: &str = "import http.client, sys\nc = http.client.HTTPConnection(sys.argv[1], 8080, timeout=10)\nc.connect()\n\
                    print('open', end='', flush=True)\nsys.stdin.read()\nc.request('GET', '/')\n\
                    print(c.getresponse().read().decode(), end='')\n";

#[test]
fn verify_finds_the_sidecar_beside_a_running_service() {
    let (site, mut orders, _stranger) = world();
    let flags = "--sidecar-uid 900 --inbound-mode tproxy --include-inbound-port 8080";
    orders.host.intercepts(&format!("install {flags}"));
    for mode in ["Strict", "Permissive"] {
        mesh_mode(&site, mode);
        let said = orders.host.intercepts(&format!("verify {flags}"));
        assert_eq!(said.matches("a connection from another network namespace to ").count(), 2, "{said}");
        assert!(!said.contains("not probed"), "{said}");
    }
    orders.kill_sidecar();
    let said = orders.host.intercepts(&format!("verify {flags}"));
    assert!(!said.contains("not probed"), "without a sidecar it listens itself: {said}");
    // A sidecar for rules that redirect does not take what TPROXY hands over.
    site.join_as_root(&mut orders, &FLAGS.replace("tproxy", "redirect"));
    let said = orders.host.refuses(&format!("verify {flags}"));
    assert!(said.contains("did not come to 0.0.0.0:15006"), "{said}");
    no_probe_is_left(&orders.host);
}

#[test]
fn a_process_that_takes_over_makes_the_sockets_transparent() {
    let site = Site::new();
    let mut orders = site.machine("orders", Versions::Both);
    site.join_as_root(&mut orders, "--inbound 8080/http --dns-addr off");
    serve(&mut orders, 8080);
    let stranger = site.machine("stranger", Versions::Both);
    mesh_mode(&site, "Permissive");
    orders.host.intercepts("install --sidecar-uid 900 --dns-mode off");
    stranger.until_curl(&urls(&orders, 8080)[0], "called from 127.0.0.1");
    orders.take_over_sidecar("--inbound-mode tproxy");
    stranger.until_curl(&urls(&orders, 8080)[0], "called from 127.0.0.1");
    orders.host.intercepts(&format!("{RULES} --dns-mode off"));
    for (url, client) in urls(&orders, 8080).iter().zip([&stranger.v4, &stranger.v6]) {
        assert_eq!(stranger.curl(url).unwrap(), format!("called from {client}\n"));
    }
}

#[test]
fn uninstalling_leaves_neither_rules_nor_routes() {
    let (site, orders, stranger) = world();
    let before = site.machine("before", Versions::Both);
    mesh_mode(&site, "Permissive");
    stranger.until_curl(&urls(&orders, 8080)[0], "called from");
    orders.host.intercepts("uninstall");
    let state = |machine: &Machine| {
        let rules = ["-4", "-6"].map(|version| machine.host.sh("ip", &[version, "rule"]));
        let mut routes = Vec::new();
        for version in ["-4", "-6"] {
            let mut show = Command::new("ip");
            show.args([version, "route", "show", "table", "15006"]);
            routes.push(String::from_utf8_lossy(&machine.host.run(show).stdout).into_owned());
        }
        (machine.host.rules(), rules, routes)
    };
    assert_eq!(state(&orders), state(&before));
    stranger.curl(&urls(&orders, 8080)[0]).unwrap();
}
