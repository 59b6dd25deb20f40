//! Programs that know nothing of the mesh and do not speak HTTP work through a sidecar pair unchanged.

use tests::http1::Connection;
use tests::wait::eventually;
use tests::world::World;

fn echo_mesh(args: &[&str], app_protocol: Option<&str>) -> (World, String) {
    let mut world = World::new();
    world.service("echo", 7000, app_protocol, "main");
    world.serve("echo", "echo-a", "tcp", &[&["tcp"], args].concat());
    world.client("caller", &["echo.demo:7000=127.0.0.1:0"]);
    let addr =
        world.mesh.member("caller").unwrap().sidecar_addr("upstream.echo.demo:7000").unwrap().to_owned();
    eventually("the echo answers", || {
        let mut probe = Connection::open(&addr).map_err(|error| error.to_string())?;
        if args.contains(&"--greeting") {
            probe.line().map_err(|error| error.to_string())?;
        }
        probe.write(b"probe\n").map_err(|error| error.to_string())?;
        match probe.line() {
            Ok(line) if line == "probe" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    (world, addr)
}

#[test]
fn a_line_goes_out_and_a_line_comes_back() {
    for app_protocol in [Some("tcp"), None] {
        let (_world, addr) = echo_mesh(&["--one-at-a-time", "--delay-ms", "200"], app_protocol);
        for round in 0..3 {
            let mut client = Connection::open(&addr).unwrap();
            for word in ["ahoy", "mate"] {
                client.write(format!("{word} {round}\n").as_bytes()).unwrap();
                assert_eq!(client.line().unwrap(), format!("{word} {round}"));
            }
        }
    }
}

#[test]
fn waiting_clients_of_a_one_at_a_time_server_all_get_their_line() {
    let (_world, addr) = echo_mesh(&["--one-at-a-time", "--delay-ms", "100"], Some("tcp"));
    let clients = (0..5).map(|n| {
        let addr = addr.clone();
        std::thread::spawn(move || {
            let mut client = Connection::open(&addr).unwrap();
            client.write(format!("client {n}\n").as_bytes()).unwrap();
            assert_eq!(client.line().unwrap(), format!("client {n}"));
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
}

#[test]
fn a_server_that_speaks_first_is_heard_at_once() {
    for app_protocol in [Some("tcp"), None] {
        let (_world, addr) = echo_mesh(&["--greeting", "220 ready"], app_protocol);
        let mut client = Connection::open(&addr).unwrap();
        assert_eq!(client.line().unwrap(), "220 ready");
        client.write(b"quit\n").unwrap();
        assert_eq!(client.line().unwrap(), "quit");
    }
}

#[test]
fn a_server_killed_mid_session_gives_a_clean_close() {
    let (mut world, addr) = echo_mesh(&[], Some("tcp"));
    let mut client = Connection::open(&addr).unwrap();
    client.write(b"ahoy\n").unwrap();
    assert_eq!(client.line().unwrap(), "ahoy");
    world.mesh.member("echo-a").unwrap().kill_application();
    assert_eq!(client.rest().unwrap(), b"", "an orderly end, not a reset");
}

#[test]
fn many_connections_carry_their_own_bytes() {
    let (world, addr) = echo_mesh(&["--raw"], Some("tcp"));
    let report = world.load(&[
        "tcp",
        "--target",
        &addr,
        "--connections",
        "16",
        "--payload-bytes",
        "1024",
        "--duration",
        "1",
    ]);
    assert_eq!(report["failed_total"], 0, "{report}");
    assert!(report["ok"].as_u64().unwrap() > 100, "{report}");
}
