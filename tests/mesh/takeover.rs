//! A new sidecar process takes over from the running one, and nobody notices.

use mesh_load::running::Running;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::Duration;
use tests::http1::Connection;
use tests::wait::{eventually, holds};
use tests::world::{Ending, NAMESPACE, World};

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

#[test]
fn an_idle_connection_is_closed_long_before_the_grace_time_is_over_and_its_last_request_is_answered() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let arguments = world.arguments("shopper", &["--grace", "60m"]);
    let start = |world: &World, more: &[&str]| {
        let mut command = world.mesh.program("sidecar");
        command.arg("run").args(&arguments).args(more);
        Running::start("shopper", command, &world.mesh.logs()).unwrap()
    };
    let mut old = start(&world, &[]);
    let outbound = old.ready("outbound").unwrap().to_owned();
    world.until_answers(&outbound, "web.demo", "/", 200);
    let kept = || {
        let mut connection = Connection::open(&outbound).unwrap();
        assert_eq!(connection.get("web.demo", "/").unwrap().header("connection"), "");
        connection
    };
    let (mut idle, mut used, mut silent) = (kept(), kept(), Connection::open(&outbound).unwrap());
    // Accepted in order: once a later one is answered, the old process has it.
    kept();
    let new = start(&world, &["--takeover"]);
    let last = used.get("web.demo", "/").unwrap();
    assert_eq!((last.status, last.header("connection")), (200, "close"));
    for connection in [&mut idle, &mut used, &mut silent] {
        assert_eq!(connection.rest().unwrap(), b"", "an orderly end");
    }
    assert!(old.wait().unwrap().success(), "{}", old.end_of_log());
    drop(new);
}

#[test]
fn questions_and_scrapes_on_their_way_are_answered_by_the_process_that_has_them() {
    let world = World::new();
    // A DNS server that answers when it is told to.
    let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
    upstream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let server = upstream.local_addr().unwrap().to_string();
    let arguments = world.arguments("shopper", &["--dns-addr", "127.0.0.1:0", "--dns-upstream", &server]);
    let start = |world: &World, more: &[&str]| {
        let mut command = world.mesh.program("sidecar");
        command.arg("run").args(&arguments).args(more);
        Running::start("shopper", command, &world.mesh.logs()).unwrap()
    };
    let mut old = start(&world, &[]);
    let (dns, metrics) = (old.ready("dns").unwrap().to_owned(), old.ready("metrics").unwrap().to_owned());

    let question = |number: u8| {
        let name = [&[6][..], b"remote", &[4], b"test", &[0, 0, 1, 0, 1]].concat();
        [&[0, number, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name].concat()
    };
    let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
    asker.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    asker.send_to(&question(1), &dns).unwrap();
    let mut stream = TcpStream::connect(&dns).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let asked = question(2);
    stream.write_all(&[&[0, u8::try_from(asked.len()).unwrap()][..], &asked].concat()).unwrap();
    let mut datagram = [0; 512];
    let (length, from) = upstream.recv_from(&mut datagram).unwrap();
    // Half a request; once a later connection is answered, the old process has it.
    let mut scrape = Connection::open(&metrics).unwrap();
    scrape.write(b"GET /metrics HTTP/1.1\r\nhost: scraper\r\n").unwrap();
    assert_eq!(tests::http1::get(&metrics, "scraper", "/metrics").unwrap().status, 200);

    let new = start(&world, &["--takeover"]);
    scrape.write(b"\r\n").unwrap();
    let answer = scrape.answer().unwrap();
    assert!(answer.status == 200 && answer.body.contains("outrigger_"), "{answer:?}");
    let mut reply = datagram[..length].to_vec();
    // An answer with one address for the question as it came, without what stood after it.
    reply.truncate(12 + 6 + 1 + 4 + 1 + 1 + 4);
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    upstream.send_to(&reply, from).unwrap();
    let (length, _) = asker.recv_from(&mut datagram).unwrap();
    assert!(datagram[..length].ends_with(&[192, 0, 2, 7]) && datagram[1] == 1, "{:?}", &datagram[..length]);
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(answer))];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.ends_with(&[192, 0, 2, 7]) && answer[1] == 2, "{answer:?}");
    assert!(old.wait().unwrap().success(), "{}", old.end_of_log());
    drop(new);
}

/// What the control plane says of a workload, as it is stored.
fn stored(world: &World, name: &str) -> serde_json::Value {
    let said = world.mesh.meshctl(&["get", "workload", name, "--namespace", NAMESPACE, "--output", "json"]);
    serde_json::from_str(&said.unwrap()).unwrap()
}

#[test]
fn peers_see_nothing_of_twenty_takeovers() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http", "--delay-ms", "2"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web.demo", "/", 200);
    let before = stored(&world, "web-a");
    assert_eq!(before["status"]["conditions"][0]["status"], "True", "{before}");
    let load = world.start_load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--path",
        "/echo",
        "--post-bytes",
        "300",
        "--connections",
        "4",
        "--rate",
        "100",
        "--duration",
        "15",
    ]);
    let mut olds = Vec::new();
    for _ in 0..20 {
        olds.push(world.mesh.take_over_sidecar("web-a", 1).unwrap());
        assert_eq!(stored(&world, "web-a"), before, "nothing was written of it");
    }
    for mut old in olds {
        assert!(old.wait().unwrap().success(), "{}", old.end_of_log());
    }
    let report = report(load);
    assert_eq!(report["failed_total"], 0, "{report}");
    assert!(report["instances"]["web-a"].as_u64().unwrap() > 100, "{report}");
    assert_eq!(stored(&world, "web-a"), before, "nothing was written of it");
}

#[test]
fn a_takeover_that_is_called_off_leaves_the_workload_in_the_mesh() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web.demo", "/", 200);
    let before = stored(&world, "web-a");
    // The offer as a process that never says that it serves takes it: it holds the sockets, and ends.
    let state = world.dir().join("web-a/state");
    let mut offered = UnixStream::connect(state.join("takeover")).unwrap();
    offered.read_exact(&mut [0; 4]).unwrap();
    drop(offered);
    world.until_answers(&outbound, "web.demo", "/", 200);
    // One that is told to end while it waits for its control plane.
    world.mesh.kill_control_plane();
    let mut arguments = world.mesh.member("web-a").unwrap().sidecar_arguments().to_vec();
    arguments.push("--takeover".into());
    let mut command = world.mesh.program("sidecar");
    command.arg("run").args(&arguments).args(["--address", "127.0.0.1", "--workers", "1"]);
    for listener in ["outbound", "inbound", "admin", "metrics"] {
        command.args([&format!("--{listener}-addr"), "127.0.0.1:0"]);
    }
    let mut called_off = Running::launch("called-off", command, &world.mesh.logs()).unwrap();
    let log = world.mesh.logs().join("called-off.log");
    eventually("it is under way", || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        holds(said.contains("taking over"), said)
    });
    world.mesh.restart_control_plane().unwrap();
    called_off.terminate().unwrap();
    called_off.wait().unwrap();
    world.until_answers(&outbound, "web.demo", "/", 200);
    let after = stored(&world, "web-a");
    assert_eq!(after["status"]["conditions"], before["status"]["conditions"]);
}

#[test]
fn a_process_that_announced_the_workload_and_died_leaves_it_to_the_one_that_runs() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web.demo", "/", 200);
    let before = stored(&world, "web-a");
    // As a new process during a takeover, but for its port: so it is seen whose word counts.
    let mut arguments = world.mesh.member("web-a").unwrap().sidecar_arguments().to_vec();
    let state = arguments.iter().position(|argument| argument == "--state-dir").unwrap() + 1;
    arguments[state] = world.dir().join("second").into();
    let mut command = world.mesh.program("sidecar");
    command.arg("run").args(&arguments).args(["--address", "127.0.0.1", "--workers", "1"]);
    for listener in ["outbound", "inbound", "admin", "metrics"] {
        command.args([&format!("--{listener}-addr"), "127.0.0.1:0"]);
    }
    let mut second = Running::start("second", command, &world.mesh.logs()).unwrap();
    eventually("the second one's word counts", || {
        let spec = stored(&world, "web-a")["spec"].clone();
        holds(spec != before["spec"], spec)
    });
    second.kill();
    eventually("the first one's word counts again", || {
        let now = stored(&world, "web-a");
        holds(now["spec"] == before["spec"] && now["status"]["conditions"][0]["status"] == "True", now)
    });
    world.until_answers(&outbound, "web.demo", "/", 200);
}

#[test]
fn a_sidecar_with_a_command_is_not_taken_over_from_and_the_remedy_is_said() {
    let world = World::new();
    let arguments = world.arguments("job", &[]);
    let mut command = world.mesh.program("sidecar");
    command.arg("run").args(&arguments).args(["--", "sh", "-c", "echo job ready: up=1; exec sleep 1000"]);
    let job = Ending(Running::start("job", command, &world.mesh.logs()).unwrap());
    assert_eq!(job.0.ready("up").unwrap(), "1");
    let mut command = world.mesh.program("sidecar");
    let output = command.arg("run").args(&arguments).arg("--takeover").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.contains("it has a COMMAND") && last.contains("start this one without --takeover"),
        "{said}"
    );
}
