//! A new sidecar process takes over from the running one, and nobody notices.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Child;
use tests::wait::{eventually, holds};
use tests::world::World;

fn report(load: Child) -> serde_json::Value {
    let output = load.wait_with_output().unwrap();
    serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap()
}

#[test]
fn takeovers_in_a_row_under_load_fail_no_request_at_either_end() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http", "--delay-ms", "2"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web.demo", "/", 200);
    let target = ["--target", "web.demo:80", "--via", &outbound, "--duration", "12"];
    let post = ["--path", "/echo", "--post-bytes", "300"];
    let start = |world: &World, kind: &str, more: &[&str]| {
        world.start_load(&[&[kind][..], &target, &post, more].concat())
    };
    let loads = [
        ("keep-alive", start(&world, "http1", &["--connections", "8", "--rate", "120"])),
        (
            "a connection each",
            start(&world, "http1", &["--connections", "4", "--rate", "80", "--header", "connection:close"]),
        ),
        ("streams", start(&world, "http2", &["--connections", "2", "--streams", "8", "--rate", "120"])),
    ];
    world.counted("shopper", "outrigger_requests_total", &[("direction", "outbound")], 200.0);
    // The client's side and the server's in turn, with more workers, fewer, and as many.
    for (name, workers) in [
        ("shopper", 2),
        ("web-a", 2),
        ("shopper", 1),
        ("web-a", 1),
        ("shopper", 3),
        ("web-a", 3),
        ("shopper", 3),
    ] {
        let mut old = world.mesh.take_over_sidecar(name, workers).unwrap();
        let status = old.wait().unwrap();
        assert!(status.success(), "the old process of {name} ended with {status}:\n{}", old.end_of_log());
        assert_eq!(world.mesh.member("shopper").unwrap().sidecar_addr("outbound").unwrap(), outbound);
        let direction = if name == "shopper" { "outbound" } else { "inbound" };
        world.counted(name, "outrigger_requests_total", &[("direction", direction)], 20.0);
    }
    for (what, load) in loads {
        let report = report(load);
        assert_eq!(report["failed_total"], 0, "{what}: {report}");
        assert!(report["instances"]["web-a"].as_u64().unwrap() > 100, "{what}: {report}");
    }
}

#[test]
fn an_open_connection_goes_on_to_its_end_and_new_ones_go_to_the_new_process() {
    let mut world = World::new();
    world.service("echo", 9, Some("tcp"), "main");
    world.serve("echo", "echo-a", "tcp", &["tcp"]);
    world.client("shopper", &["echo.demo:9=127.0.0.1:0"]);
    let address =
        world.mesh.member("shopper").unwrap().sidecar_addr("upstream.echo.demo:9").unwrap().to_owned();
    let dial = || {
        let stream = TcpStream::connect(&address).unwrap();
        (BufReader::new(stream.try_clone().unwrap()), stream)
    };
    let say = |(reader, writer): &mut (BufReader<TcpStream>, TcpStream), word: &str| -> Result<(), String> {
        writer.write_all(format!("{word}\n").as_bytes()).map_err(|error| error.to_string())?;
        let mut line = String::new();
        reader.read_line(&mut line).map_err(|error| error.to_string())?;
        holds(line.trim_end() == word, line)
    };
    let mut open = eventually("the echo answers", || {
        let mut connection = dial();
        say(&mut connection, "first").map(|()| connection)
    });
    let mut old = world.mesh.take_over_sidecar("shopper", 1).unwrap();
    say(&mut open, "still there").unwrap();
    say(&mut dial(), "new").unwrap();
    assert!(old.is_running(), "it has a connection to finish");
    drop(open);
    assert!(old.wait().unwrap().success(), "{}", old.end_of_log());
    say(&mut dial(), "newer").unwrap();
}

#[test]
fn a_takeover_that_fails_changes_nothing() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web.demo", "/", 200);
    let broken = world.dir().join("broken.crt");
    std::fs::write(&broken, "not a certificate").unwrap();
    let mut command = world.mesh.program("sidecar");
    let mut arguments = world.mesh.member("shopper").unwrap().sidecar_arguments().to_vec();
    let bundle = arguments.iter().position(|argument| argument == "--trust-bundle").unwrap() + 1;
    arguments[bundle] = broken.into();
    command.arg("run").args(arguments).arg("--takeover");
    for listener in ["outbound", "inbound", "admin", "metrics"] {
        command.args([&format!("--{listener}-addr"), "127.0.0.1:0"]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("broken.crt"), "{said}");
    world.until_answers(&outbound, "web.demo", "/", 200);
    // And the next one succeeds.
    let mut old = world.mesh.take_over_sidecar("shopper", 1).unwrap();
    assert!(old.wait().unwrap().success(), "{}", old.end_of_log());
    world.until_answers(&outbound, "web.demo", "/", 200);
}
