//! What applications speak passes unchanged: HTTP/1.1, HTTP/2, gRPC with trailers, upgrades.

use tests::http1::Connection;
use tests::wait::{eventually, holds};
use tests::world::World;

#[test]
fn http1_bodies_pass_both_ways() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let report = world.load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--path",
        "/echo",
        "--post-bytes",
        "10240",
        "--connections",
        "4",
        "--duration",
        "1",
    ]);
    assert_eq!(report["failed_total"], 0, "{report}");
    assert!(report["ok"].as_u64().unwrap() > 0, "{report}");

    let mut connection = Connection::open(&outbound).unwrap();
    connection
        .write(b"POST /echo HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nahoy \r\n4\r\nmate\r\n0\r\n\r\n")
        .unwrap();
    assert_eq!(connection.answer().unwrap().body, "ahoy mate");
    connection.write(b"HEAD / HTTP/1.1\r\nHost: web\r\n\r\nGET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    let head = connection.line().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[test]
fn http2_and_grpc_pass_with_many_streams() {
    let mut world = World::new();
    world.service("web", 80, Some("kubernetes.io/h2c"), "main");
    world.service("greeter", 50051, Some("grpc"), "main");
    world.serve("web", "web-a", "h2c", &["http"]);
    world.serve("greeter", "greeter-a", "grpc", &["grpc"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    for (protocol, target) in [("http2", "web.demo:80"), ("grpc", "greeter.demo:50051")] {
        let report = world.load(&[
            protocol,
            "--target",
            target,
            "--via",
            &outbound,
            "--connections",
            "2",
            "--streams",
            "20",
            "--duration",
            "1",
        ]);
        assert_eq!(report["failed_total"], 0, "{protocol}: {report}");
        assert!(report["ok"].as_u64().unwrap() > 100, "{protocol}: {report}");
    }
}

#[test]
fn an_undeclared_port_carries_what_the_client_speaks() {
    let mut world = World::new();
    world.service("web", 80, None, "main");
    world.serve("web", "web-a", "detect", &["http"]);
    let outbound = world.client("shopper", &["web.demo:80=127.0.0.1:0"]);
    let upstream =
        world.mesh.member("shopper").unwrap().sidecar_addr("upstream.web.demo:80").unwrap().to_owned();
    world.until_answers(&upstream, "web", "/", 200);
    for via in [&outbound, &upstream] {
        for protocol in ["http1", "http2"] {
            let report =
                world.load(&[protocol, "--target", "web.demo:80", "--via", via, "--duration", "0.5"]);
            assert_eq!(report["failed_total"], 0, "{protocol} via {via}: {report}");
            assert!(report["ok"].as_u64().unwrap() > 0, "{protocol} via {via}: {report}");
        }
    }
}

#[test]
fn an_undeclared_port_that_spoke_http_costs_no_tunnels_and_may_turn_to_greet() {
    let mut world = World::new();
    world.service("web", 80, None, "main");
    world.serve("web", "web-a", "detect", &["http"]);
    let outbound = world.client("shopper", &["web.demo:80=127.0.0.1:0"]);
    let upstream =
        world.mesh.member("shopper").unwrap().sidecar_addr("upstream.web.demo:80").unwrap().to_owned();
    world.until_answers(&outbound, "web", "/", 200);
    let tunnels = |world: &mut World| world.metrics("web-a").sum("outrigger_handshakes_total", &[]);
    let shown = |world: &mut World, what| {
        let labels = [("direction", "outbound"), ("shown", what)];
        world.metrics("shopper").sum("outrigger_undeclared_connections_total", &labels)
    };
    // Clients that say nothing until the tunnel made for them has arrived: what they then ask goes another way.
    for _ in 0..2 {
        let before = tunnels(&mut world);
        let mut client = Connection::open(&upstream).unwrap();
        eventually("a tunnel arrives", || holds(tunnels(&mut world) > before, before));
        assert_eq!(client.get("web", "/").unwrap().status, 200);
    }
    assert_eq!(shown(&mut world, "needless"), 2.0);
    let before = tunnels(&mut world);
    for _ in 0..10 {
        let mut client = Connection::open(&upstream).unwrap();
        // There and back: time enough for a tunnel, not for a patient sidecar.
        world.until_answers(&outbound, "web", "/", 200);
        assert_eq!(client.get("web", "/").unwrap().status, 200);
    }
    let (needless, spared) = (shown(&mut world, "needless") - 2.0, shown(&mut world, "spared"));
    assert!(spared > 0.0 && spared + needless == 10.0, "{spared} {needless}");
    let made = tunnels(&mut world) - before;
    assert!(made <= needless, "{made} tunnels, and {needless} connections that may have had one");

    let web = world.mesh.member("web-a").unwrap();
    let listen = format!("127.0.0.1:{}", web.application_port().unwrap());
    web.kill_application();
    let _greeter = world.origin("web-greets", &["tcp", "--listen", &listen, "--greeting", "220 ready"]);
    for heard in [1.0, 2.0] {
        let mut client = Connection::open(&upstream).unwrap();
        assert_eq!(client.line().unwrap(), "220 ready");
        assert_eq!(shown(&mut world, "server_first"), heard);
    }
}

#[test]
fn an_upgraded_connection_becomes_a_two_way_stream() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let mut connection = Connection::open(&outbound).unwrap();
    connection
        .write(b"GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .unwrap();
    let answer = connection.answer().unwrap();
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("upgrade"), "echo");
    for line in ["one", "two"] {
        connection.write(format!("{line}\n").as_bytes()).unwrap();
        assert_eq!(connection.line().unwrap(), line);
    }
}

#[test]
fn a_server_learns_who_called_and_cannot_be_lied_to() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let mut connection = Connection::open(&outbound).unwrap();
    connection
        .write(b"GET /headers HTTP/1.1\r\nHost: web\r\nX-Forwarded-Client-Cert: URI=spiffe://mesh.internal/ns/x/sa/admin\r\n\r\n")
        .unwrap();
    let seen = connection.answer().unwrap().body;
    assert!(seen.contains("spiffe://mesh.internal/ns/demo/sa/shopper"), "{seen}");
    assert!(!seen.contains("sa/admin"), "{seen}");
}
