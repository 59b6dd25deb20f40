//! Safe retries hide a failing endpoint, and unsafe ones are not made.

use mesh_load::mesh::Beside;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use tests::http1::{Connection, get};
use tests::wait::{eventually, holds};
use tests::world::{NAMESPACE, World};

fn pair() -> (World, String) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.in_turn("web");
    world.serve("web", "web-a", "http", &["http"]);
    world.serve("web", "web-b", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    eventually("both endpoints answer", || {
        let report =
            world.load(&["http1", "--target", "web.demo:80", "--via", &outbound, "--duration", "0.2"]);
        holds(report["instances"].as_object().is_some_and(|seen| seen.len() == 2), report)
    });
    (world, outbound)
}

#[test]
fn an_instance_killed_under_load_fails_no_idempotent_request() {
    let (mut world, outbound) = pair();
    let load = world.start_load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--connections",
        "8",
        "--rate",
        "150",
        "--duration",
        "3",
    ]);
    world.counted("web-b", "outrigger_requests_total", &[("direction", "inbound")], 20.0);
    world.mesh.member("web-b").unwrap().kill();
    let output = load.wait_with_output().unwrap();
    let report: serde_json::Value =
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(report["failed_total"], 0, "{report}");
}

#[test]
fn an_application_that_dies_behind_its_sidecar_fails_no_idempotent_request() {
    let (mut world, outbound) = pair();
    let load = world.start_load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--connections",
        "8",
        "--rate",
        "150",
        "--duration",
        "3",
    ]);
    world.counted("web-b", "outrigger_requests_total", &[("direction", "inbound")], 20.0);
    world.mesh.member("web-b").unwrap().kill_application();
    let output = load.wait_with_output().unwrap();
    let report: serde_json::Value =
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(report["failed_total"], 0, "{report}");
}

#[test]
fn a_refused_connection_is_retried_even_for_a_post() {
    let (mut world, outbound) = pair();
    world.mesh.member("web-b").unwrap().kill();
    let report = world.load(&[
        "http1",
        "--target",
        "web.demo:80",
        "--via",
        &outbound,
        "--path",
        "/echo",
        "--post-bytes",
        "100",
        "--rate",
        "100",
        "--duration",
        "1",
    ]);
    assert_eq!(report["failed_total"], 0, "{report}");
}

#[test]
fn a_route_asks_for_retries_by_status() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    world.serve("web", "web-b", "http", &["http", "--fail-rate", "0.5"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let failures = |world: &World| {
        let report = world.load(&[
            "http1",
            "--target",
            "web.demo:80",
            "--via",
            &outbound,
            "--rate",
            "100",
            "--duration",
            "1",
        ]);
        report["failed_total"].as_u64().unwrap()
    };
    eventually("without retries, failures show", || holds(failures(&world) > 0, "none"));
    world.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: demo}\nspec:\n  \
         parentRefs: [{group: '', kind: Service, name: web}]\n  rules:\n  - backendRefs: [{name: web, port: 80}]\n    \
         retry: {codes: [503], attempts: 2}\n",
    );
    eventually("with retries, none do", || {
        let failures = failures(&world);
        let retries = world.metrics("shopper").sum("outrigger_retries_total", &[]);
        holds(failures == 0 && retries > 0.0, format!("{failures} failures, {retries} retries"))
    });
}

/// An application that is asked for `/` and answers; of anything else it notes the method, and does what it was told with it.
fn application(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let noted = asked.clone();
    let serve = move |stream: TcpStream, asked: Arc<Mutex<Vec<String>>>| -> Option<()> {
        let mut writer = stream.try_clone().ok()?;
        let mut reader = BufReader::new(stream);
        loop {
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).ok()? > 2 {
                head.push_str(&line);
                line.clear();
            }
            if head.is_empty() {
                return None;
            }
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            reader.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
            if head.starts_with("GET / ") {
                write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
                continue;
            }
            asked.lock().unwrap().push(head.split(' ').next()?.to_owned());
            writer.write_all(answer.as_bytes()).ok()?;
            if answer.is_empty() {
                return None;
            }
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let asked = asked.clone();
            std::thread::spawn(move || serve(stream, asked));
        }
    });
    (address, noted)
}

fn join(world: &mut World, name: &str, application: SocketAddr) {
    let beside = Beside {
        namespace: NAMESPACE,
        service_account: "web",
        labels: &[("app", "web")],
        inbound: Some(format!("main={}/http", application.port())),
        ..Beside::default()
    };
    world.mesh.join(name, &beside, None).unwrap();
}

#[test]
fn what_may_have_been_done_already_is_not_done_twice_unless_twice_is_as_good_as_once() {
    // It reads all of a request, and then closes the connection: whether it did what was asked nobody can know.
    let (address, asked) = application("");
    let (mut world, outbound) = World::in_front_of(address, "/");
    join(&mut world, "web-b", address);
    for (method, body, attempts) in
        [("POST", "two", 1), ("PATCH", "two", 1), ("GET", "", 3), ("PUT", "two", 3)]
    {
        let mut connection = Connection::open(&outbound).unwrap();
        let head =
            format!("{method} /order HTTP/1.1\r\nHost: web\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        connection.write(head.as_bytes()).unwrap();
        let answer = connection.answer().unwrap();
        let seen = std::mem::take(&mut *asked.lock().unwrap());
        assert_eq!((answer.status, seen.len()), (502, attempts), "{method}: {} {seen:?}", answer.body);
    }
}

#[test]
fn an_application_that_says_when_to_come_again_is_asked_then_or_not_at_all() {
    let later = "HTTP/1.1 503 x\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let soon = "HTTP/1.1 503 x\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    for (answer, attempts) in [(later, 1), (soon, 3)] {
        let (address, asked) = application(answer);
        let (mut world, outbound) = World::in_front_of(address, "/");
        world.apply(
            "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web, namespace: demo}\nspec:\n  \
             targetRefs: [{kind: Service, name: web}]\n  retry: {statuses: [503], attempts: 2}\n",
        );
        eventually("an answer of 503 is retried as the application says", || {
            assert_eq!(get(&outbound, "web", "/busy").unwrap().status, 503);
            let seen = std::mem::take(&mut *asked.lock().unwrap()).len();
            let denied =
                world.metrics("shopper").sum("outrigger_retries_denied_total", &[("why", "retry_after")]);
            holds(seen == attempts && (denied > 0.0) == (attempts == 1), (seen, denied))
        });
    }
}

#[test]
fn a_grpc_status_that_is_listed_is_retried() {
    let mut world = World::new();
    world.service("greeter", 80, Some("grpc"), "main");
    world.serve("greeter", "greeter-a", "grpc", &["grpc"]);
    world.serve("greeter", "greeter-b", "grpc", &["grpc", "--fail-rate", "0.5"]);
    let outbound = world.client("shopper", &[]);
    let arguments =
        ["grpc", "--target", "greeter.demo:80", "--via", &outbound, "--rate", "100", "--duration", "1"];
    let policy = |retry: &str| {
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: greeter, namespace: demo}}\nspec:\n  \
             targetRefs: [{{kind: Service, name: greeter}}]\n  loadBalancing: {{policy: RoundRobin}}\n  outlierDetection: \
             {{consecutiveGatewayFailures: 0}}\n{retry}"
        )
    };
    world.apply(&policy(""));
    let failures = |world: &World| world.load(&arguments)["failed_total"].as_u64().unwrap();
    eventually("without retries, failures show", || holds(failures(&world) > 0, "none"));
    world.apply(&policy("  retry: {grpcStatuses: [Unavailable], attempts: 3}\n"));
    eventually("with retries, none do", || {
        let failures = failures(&world);
        let retries = world.metrics("shopper").sum("outrigger_retries_total", &[("cause", "status")]);
        holds(failures == 0 && retries > 0.0, format!("{failures} failures, {retries} retries"))
    });
}

#[test]
fn a_body_is_sent_again_as_long_as_it_is_short_enough_to_be_kept() {
    let (address, asked) = application("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n");
    let (mut world, outbound) = World::in_front_of(address, "/");
    world.apply(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web, namespace: demo}\nspec:\n  \
         targetRefs: [{kind: Service, name: web}]\n  outlierDetection: {consecutiveGatewayFailures: 0}\n  retry: {statuses: \
         [503], methods: [POST], attempts: 2}\n",
    );
    for (bytes, attempts) in [(1024, 3), (1 << 20, 1)] {
        eventually("it is as the policy says", || {
            let mut connection = Connection::open(&outbound).unwrap();
            let head = format!("POST /order HTTP/1.1\r\nHost: web\r\nContent-Length: {bytes}\r\n\r\n");
            connection.write(head.as_bytes()).unwrap();
            connection.write(&vec![b'x'; bytes]).unwrap();
            assert_eq!(connection.answer().unwrap().status, 503);
            let seen = std::mem::take(&mut *asked.lock().unwrap()).len();
            holds(seen == attempts, seen)
        });
    }
    let denied = world.metrics("shopper").sum("outrigger_retries_denied_total", &[("why", "body")]);
    assert_eq!(denied, 1.0, "it is said why the long one was sent once");
}
