//! The resolvers that programs come with, each with its own habits, on a captured machine: glibc's (A and AAAA from one
//! socket, search lists), musl's (the same, without EDNS, and before 1.2.4 without TCP), c-ares' (EDNS, TCP) and Go's
//! (imitated by `resolver_go.py`). All of them must find the same.

use mesh_load::running::Running;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use tests::netns::told;
use tests::site::{Machine, Site};
use tests::wait::eventually;

const SERVER: &str = "nameserver 10.78.0.254\n";
/// As systemd-resolved and cloud images have it.
const OPTIONS: &str = "nameserver 10.78.0.254\noptions edns0 trust-ad single-request\n";
/// A first server that is nowhere: whoever answers does it in its place.
const SEARCH: &str = "nameserver 198.51.100.1\nnameserver 10.78.0.254\nsearch corp.test shop.svc.mesh.internal\noptions \
                      ndots:1\n";

/// What getaddrinfo finds, one a line.
const GLIBC: &str = "import socket, sys\ntry:\n    found = socket.getaddrinfo(sys.argv[1], 80, proto=socket.IPPROTO_TCP)\n\
                     except socket.gaierror as error:\n    sys.exit(str(error))\nfor one in found:\n    print(one[4][0])\n";
const C_ARES: &str = "const dns = require('dns').promises; const [how, name] = process.argv.slice(1); \
     const kinds = how === 'any' ? ['resolve4', 'resolve6'] : [how]; \
     Promise.allSettled(kinds.map((kind) => dns[kind](name))).then((all) => { \
       const found = all.flatMap((one) => one.value || []); \
       if (!found.length) { console.error(all[0].reason.code); process.exit(1); } \
       for (const one of found) console.log(one.name ? `${one.priority} ${one.weight} ${one.port} ${one.name}.` : one); });";

struct World {
    site: Site,
    caller: Machine,
    _server: Running,
    barriers: AtomicU32,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Resolver {
    Glibc,
    Musl,
    CAres,
    Go,
}

use Resolver::{CAres, Glibc, Go, Musl};

const ALL: [Resolver; 4] = [Glibc, Musl, CAres, Go];

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("netns").join(name)
}

impl World {
    fn new() -> Self {
        let site = Site::new();
        site.service("orders", "80>8080/http");
        let mut command = Command::new("python3");
        command.arg(source("dns_server.py")).args(["10.78.0.254", "fd78::fe"]);
        let server = site.switch.inside(|| Running::start("dns", command, &site.logs())).unwrap();
        let caller = site.member("caller", "");
        let mut compiler = Command::new("musl-gcc");
        compiler.args(["-static", "-Wall", "-Werror", "-o"]).arg(caller.dir().join("musl"));
        let compiled = compiler.arg(source("resolver_musl.c")).output().unwrap();
        assert!(compiled.status.success(), "{}", told(&compiled));
        fs::copy(source("resolver_go.py"), caller.dir().join("go.py")).unwrap();
        let world = Self { site, caller, _server: server, barriers: AtomicU32::new(0) };
        // From here on the control plane has answered.
        eventually("the name is known", || world.asks(Glibc, "orders"));
        world
    }

    fn configure(&self, text: &str) {
        fs::write(self.caller.dir().join("resolv.conf"), text).unwrap();
    }

    fn asks(&self, resolver: Resolver, name: &str) -> Result<String, String> {
        match resolver {
            Glibc => self.says("python3", &["-c", GLIBC, name]),
            Musl => self.says(&self.path("musl"), &[name]),
            CAres => self.says("node", &["-e", C_ARES, "any", name]),
            Go => self.says("python3", &[&self.path("go.py"), name]),
        }
    }

    fn path(&self, name: &str) -> String {
        self.caller.dir().join(name).to_str().unwrap().to_owned()
    }

    fn says(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let output = self.caller.run(program, args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(text) } else { Err(told(&output)) }
    }

    /// How often the machine's server was asked this since the start.
    fn asked(&self, question: &str) -> usize {
        // Whatever was asked before this is in the log once this is.
        let barrier = format!("barrier{}.example.test", self.barriers.fetch_add(1, Ordering::Relaxed));
        self.asks(Go, &barrier).unwrap();
        let log = eventually("the barrier is in the log", || {
            let log = fs::read_to_string(self.site.logs().join("dns.log")).unwrap_or_default();
            if log.contains(&format!("asked {barrier} ")) { Ok(log) } else { Err(()) }
        });
        log.lines().filter(|line| *line == format!("asked {question}")).count()
    }
}

fn is_of_the_mesh(said: &str) -> bool {
    said.contains("240.240.") && said.contains("fd6f:7574:7269::")
}

#[test]
fn every_resolver_finds_every_form_of_a_name_and_everybody_else_s() {
    let world = World::new();
    for configuration in [SERVER, OPTIONS, SEARCH] {
        world.configure(configuration);
        for resolver in ALL {
            for name in
                ["orders", "orders.shop", "orders.shop.svc.mesh.internal", "orders.shop.svc.mesh.internal."]
            {
                let said = world.asks(resolver, name);
                assert!(said.as_deref().is_ok_and(is_of_the_mesh), "{resolver:?} {name}: {said:?}");
            }
            let said = world.asks(resolver, "www.example.test").unwrap();
            assert!(said.contains("192.0.2.7") && said.contains("2001:db8::7"), "{resolver:?}: {said}");
            let said = world.asks(resolver, "six.example.test").unwrap();
            assert!(said.contains("2001:db8::7") && !said.contains("192.0.2.7"), "{resolver:?}: {said}");
        }
    }
}

#[test]
fn no_question_is_asked_twice() {
    let world = World::new();
    for (configuration, name, sent) in [
        (SERVER, "orders", 2),
        (SERVER, "www.example.test", 2),
        (OPTIONS, "orders.shop.svc.mesh.internal.", 2),
        (SEARCH, "orders.shop", 2),
        // `orders.corp.test` comes first.
        (SEARCH, "orders", 4),
    ] {
        world.configure(configuration);
        let said = world.asks(Go, name).unwrap();
        assert!(said.ends_with(&format!("datagrams {sent}, streams 0\n")), "{name}: {said}");
    }
}

#[test]
fn a_no_is_final_for_every_resolver_and_remembered() {
    let world = World::new();
    for configuration in [SERVER, OPTIONS, SEARCH] {
        world.configure(configuration);
        for (resolver, no) in [
            (Glibc, "Name or service not known"),
            (Musl, "Name does not resolve"),
            (CAres, "ENOTFOUND"),
            (Go, "Missing"),
        ] {
            for name in ["missing", "missing.shop", "missing.shop.svc.mesh.internal.", "www.missing.test"] {
                let said = world.asks(resolver, name).unwrap_err();
                assert!(said.contains(no), "{resolver:?} {name}: {said}");
            }
        }
    }
    world.configure(SERVER);
    let ask = || ALL.map(|resolver| world.asks(resolver, "www.gone.test").unwrap_err());
    ask();
    let asked = ["www.gone.test 1", "www.gone.test 28"].map(|question| world.asked(question));
    assert!(asked.iter().all(|count| (1..=2).contains(count)), "once for each wish: {asked:?}");
    ask();
    assert_eq!(["www.gone.test 1", "www.gone.test 28"].map(|question| world.asked(question)), asked);
    assert_eq!(world.asked("missing.shop.svc.mesh.internal 1"), 0, "what is the mesh's is nobody else's");
}

#[test]
fn ports_and_addresses_have_names_for_every_resolver_that_asks() {
    let world = World::new();
    let found = world.asks(Musl, "orders").unwrap();
    let addresses: Vec<_> = found.lines().collect();
    assert_eq!(addresses.len(), 2, "{found}");
    let node = |how: &str, name: &str| world.says("node", &["-e", C_ARES, how, name]);
    let go = |how: &str, name: &str| world.says("python3", &[&world.path("go.py"), how, name]);
    for (name, data) in [
        ("_p80._tcp.orders.shop.svc.mesh.internal", "0 100 80 orders.shop.svc.mesh.internal."),
        ("_p80._tcp.orders", "0 100 80 orders.shop.svc.mesh.internal."),
        ("_ldap._tcp.example.test", "1 2 389 ldap.example.test."),
    ] {
        for said in [node("resolveSrv", name), go("srv", name)] {
            assert!(said.as_deref().is_ok_and(|said| said.starts_with(data)), "{name}: {said:?}");
        }
    }
    node("resolveSrv", "_p81._tcp.orders.shop.svc.mesh.internal").unwrap_err();
    for (address, name) in addresses
        .into_iter()
        .map(|address| (address, "orders.shop.svc.mesh.internal"))
        .chain([("192.0.2.7", "www.example.test")])
    {
        for said in [
            world.says(&world.path("musl"), &["ptr", address]),
            world.says("getent", &["hosts", address]),
            node("reverse", address),
            go("ptr", address),
        ] {
            assert!(said.as_deref().is_ok_and(|said| said.contains(name)), "{address}: {said:?}");
        }
    }
}

#[test]
fn what_is_too_long_for_a_datagram_arrives_whole_where_the_resolver_knows_tcp() {
    let world = World::new();
    for configuration in [SERVER, OPTIONS] {
        world.configure(configuration);
        for (name, count) in [("many.example.test", 50), ("more.example.test", 300)] {
            for resolver in [Glibc, CAres, Go] {
                let said = world.asks(resolver, name).unwrap();
                let found = said.lines().filter(|line| line.starts_with("198.18.")).count();
                assert_eq!(found, count, "{resolver:?} {name} {configuration}");
            }
            // Before 1.2.4 musl takes what has come, and there is something in it.
            let said = world.asks(Musl, name).unwrap();
            assert!(said.lines().count() >= 10, "{name}: {said}");
        }
    }
    let said = world.asks(Go, "more.example.test").unwrap();
    assert!(said.contains("streams 1"), "{said}");
}

/// The kernel takes what leaves from the same port to the same server for a part of the same conversation, and does not
/// capture it.
#[test]
fn the_sidecars_own_questions_leave_from_ports_that_no_application_is_given() {
    let world = World::new();
    let given = world.says("cat", &["/proc/sys/net/ipv4/ip_local_port_range"]).unwrap();
    let given: Vec<u16> = given.split_whitespace().map(|end| end.parse().unwrap()).collect();
    for n in 0..20 {
        world.asks(Glibc, &format!("missing{n}.test")).unwrap_err();
    }
    world.asked("missing19.test 1");
    let log = fs::read_to_string(world.site.logs().join("dns.log")).unwrap();
    let ports: Vec<u16> =
        log.lines().filter_map(|line| line.strip_prefix("datagram from port ")?.parse().ok()).collect();
    assert!(ports.len() >= 40, "{log}");
    assert!(ports.iter().all(|port| !(given[0]..=given[1]).contains(port)), "{given:?}: {ports:?}");
}

#[test]
fn every_resolver_is_answered_while_the_control_plane_is_down() {
    let mut world = World::new();
    let known = world.asks(Musl, "orders").unwrap();
    let address = known.lines().next().unwrap().to_owned();
    world.says("getent", &["hosts", &address]).unwrap();
    world.site.kill_control_plane();
    for configuration in [SERVER, OPTIONS, SEARCH] {
        world.configure(configuration);
        for resolver in ALL {
            for name in ["orders", "orders.shop.svc.mesh.internal."] {
                let said = world.asks(resolver, name);
                assert!(said.as_deref().is_ok_and(is_of_the_mesh), "{resolver:?} {name}: {said:?}");
            }
            let said = world.asks(resolver, "www.example.test").unwrap();
            assert!(said.contains("192.0.2.7"), "{resolver:?}: {said}");
            world.asks(resolver, "www.missing.test").unwrap_err();
        }
        let said = world.says("getent", &["hosts", &address]).unwrap();
        assert!(said.contains("orders.shop.svc.mesh.internal"), "{said}");
    }
}
