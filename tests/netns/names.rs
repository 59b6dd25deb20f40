//! Names, as the resolvers of unmodified programs ask for them on a captured machine: the mesh's are answered by its
//! sidecar, all others by the DNS server the machine has.

use mesh_load::running::Running;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::site::{Machine, Site};
use tests::wait::eventually;
use tokio::time::Instant;

fn world() -> (Site, Running, Machine) {
    let site = Site::new();
    site.service("orders", "80>8080/http");
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("netns/dns_server.py"));
    command.args(["10.78.0.254", "fd78::fe"]);
    let server = site.switch.inside(|| Running::start("dns", command, &site.logs())).unwrap();
    let caller = site.member("caller", "");
    (site, server, caller)
}

/// What a resolver says, and how long it took.
fn asks(caller: &Machine, program: &str, args: &[&str]) -> (Result<String, String>, Duration) {
    let started = Instant::now();
    let output = caller.run(program, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{} {}{}", output.status, text(&output.stdout), text(&output.stderr)))
    };
    (said, started.elapsed())
}

const PYTHON: &str = "import socket, sys\nfor found in socket.getaddrinfo(sys.argv[1], 80, proto=socket.IPPROTO_TCP):\n    \
                      print(found[4][0])\n";

/// By c-ares, which reads /etc/resolv.conf and speaks DNS itself.
const NODE: &str = "require('dns').resolve4(process.argv[1], (error, found) => { if (error) { console.error(error.code); \
                    process.exit(1); } console.log(found.join()); });";

fn getent(caller: &Machine, name: &str) -> (Result<String, String>, Duration) {
    asks(caller, "getent", &["ahosts", name])
}

fn python(caller: &Machine, name: &str) -> (Result<String, String>, Duration) {
    asks(caller, "python3", &["-c", PYTHON, name])
}

#[test]
fn libc_and_python_find_the_mesh_s_names_and_everybody_else_s() {
    let (_site, _server, caller) = world();
    for ask in [getent, python] {
        for name in
            ["orders", "orders.shop", "orders.shop.svc.mesh.internal", "orders.shop.svc.mesh.internal."]
        {
            let said = eventually("the name is known", || ask(&caller, name).0);
            assert!(said.contains("240.240.") && said.contains("fd6f:7574:7269::"), "{name}: {said}");
        }
        let said = ask(&caller, "www.example.test").0.unwrap();
        assert!(said.contains("192.0.2.7") && said.contains("2001:db8::7"), "{said}");
    }
    let first = getent(&caller, "orders").0.unwrap();
    assert_eq!(getent(&caller, "orders").0.unwrap(), first, "an address stays");
}

#[test]
fn c_ares_finds_them_too() {
    let (_site, _server, caller) = world();
    let node = |name: &str| asks(&caller, "node", &["-e", NODE, name]).0;
    for name in ["orders", "orders.shop", "orders.shop.svc.mesh.internal"] {
        let said = eventually("the name is known", || node(name));
        assert!(said.starts_with("240.240."), "{name}: {said}");
    }
    assert_eq!(node("www.example.test").unwrap(), "192.0.2.7\n");
    let said = node("www.missing.test").unwrap_err();
    assert!(said.contains("ENOTFOUND"), "{said}");
}

#[test]
fn a_name_that_does_not_exist_is_said_so_at_once() {
    let (_site, _server, caller) = world();
    for name in ["missing", "missing.shop", "missing.shop.svc.mesh.internal", "www.missing.test"] {
        let (said, took) = getent(&caller, name);
        said.unwrap_err();
        assert!(took < Duration::from_secs(2), "{name}: {took:?}");
        // The very first questions may meet a control plane that has not answered yet.
        let took = eventually("the answer is no", || match python(&caller, name) {
            (Err(said), took) if said.contains("Name or service not known") => Ok(took),
            (other, _) => Err(format!("{other:?}")),
        });
        assert!(took < Duration::from_secs(2), "{name}: {took:?}");
    }
}

#[test]
fn search_domains_are_no_hindrance() {
    let (_site, _server, caller) = world();
    fs::write(
        caller.dir().join("resolv.conf"),
        "nameserver 10.78.0.254\nsearch shop.svc.mesh.internal svc.mesh.internal mesh.internal\noptions ndots:5\n",
    )
    .unwrap();
    for name in ["orders", "orders.shop", "orders.shop.svc.mesh.internal"] {
        let said = eventually("the name is known", || getent(&caller, name).0);
        assert!(said.contains("240.240."), "{name}: {said}");
    }
    let (said, took) = getent(&caller, "www.example.test");
    assert!(said.unwrap().contains("192.0.2.7"));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_network_that_loses_every_second_answer_loses_no_name() {
    let (_site, _server, caller) = world();
    let loss = "table inet loss { chain in { type filter hook input priority 0; iifname eth0 udp sport 53 numgen inc mod 2 0 \
                drop; }; }";
    caller.host.sh("nft", &[loss]);
    for number in 0..6 {
        let name = format!("host{number}.example.test");
        let (said, took) = getent(&caller, &name);
        assert!(said.unwrap().contains("192.0.2.7"), "{name}");
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
    }
}

#[test]
fn names_are_answered_while_the_control_plane_is_down() {
    let (mut site, _server, caller) = world();
    let known = eventually("the name is known", || getent(&caller, "orders").0);
    site.kill_control_plane();
    for _ in 0..3 {
        let (said, took) = getent(&caller, "orders");
        assert_eq!(said.unwrap(), known);
        assert!(took < Duration::from_secs(1), "{took:?}");
        let (said, took) = getent(&caller, "www.example.test");
        assert!(said.unwrap().contains("192.0.2.7"));
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}
