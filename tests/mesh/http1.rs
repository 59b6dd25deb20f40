//! HTTP/1.1 as its specification has it (RFC 9110, RFC 9112), from a client through both sidecars to an application that
//! speaks it too: what must cross, what must not, and where a message ends.

use tests::http1::{Answer, Connection};
use tests::recorder::{Recorded, Recorder, Then};
use tests::world::World;

struct Site {
    world: World,
    outbound: String,
    recorder: Recorder,
}

impl Site {
    fn new() -> Self {
        let (recorder, address) = Recorder::start();
        let (world, outbound) = World::in_front_of(address, "/");
        recorder.take();
        Self { world, outbound, recorder }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.outbound).unwrap()
    }

    /// Sends `message` on a connection of its own: the answer, and the one request that the application saw.
    fn ask(&self, message: &str) -> (Answer, Recorded) {
        let mut connection = self.connect();
        connection.write(message.as_bytes()).unwrap();
        let answer = connection.answer().unwrap();
        let mut seen = self.recorder.take();
        assert_eq!(seen.len(), 1, "{message:?}: {answer:?}, {seen:?}");
        (answer, seen.remove(0))
    }
}

/// RFC 9110 §7.6.1.
#[test]
fn fields_of_a_connection_end_with_it_and_all_others_cross_both_ways() {
    let site = Site::new();
    let answered = "HTTP/1.1 200 Fine\r\nConnection: X-Private, keep-alive\r\nKeep-Alive: timeout=9\r\nX-Private: 1\r\n\
                    Proxy-Connection: keep-alive\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Public: \"a, b\"\r\n\
                    Content-Length: 2\r\n\r\nok";
    site.recorder.answers(answered.as_bytes(), Then::Next);
    let asked = "GET / HTTP/1.1\r\nHost: web\r\nConnection: X-Private, keep-alive\r\nKeep-Alive: timeout=9\r\n\
                 X-Private: 1\r\nProxy-Connection: keep-alive\r\nTE: gzip;q=0.5\r\nVia: 1.0 far\r\nAccept: a\r\n\
                 Accept: b;q=0.1, c\r\nX-Empty:\r\nAuthorization: Basic eA==\r\n\r\n";
    let (answer, seen) = site.ask(asked);
    for name in ["keep-alive", "x-private", "proxy-connection", "te"] {
        assert_eq!(seen.values(name).next(), None, "{name} reached the application: {seen:?}");
        assert_eq!(answer.header(name), "", "{name} reached the client: {answer:?}");
    }
    assert!(!answer.header("connection").to_ascii_lowercase().contains("x-private"), "{answer:?}");
    for (name, values) in [
        ("accept", &["a", "b;q=0.1, c"][..]),
        ("x-empty", &[""]),
        ("authorization", &["Basic eA=="]),
        ("via", &["1.0 far"]),
        ("host", &["web"]),
    ] {
        assert_eq!(seen.values(name).collect::<Vec<_>>(), values, "{name}");
    }
    let cookies: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
    assert_eq!(cookies.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(answer.header("x-public"), "\"a, b\"");
}

/// Targets, and what of them the application sees: its request line, and its Host.
const TARGETS: &[(&str, &str, &str, &str)] = &[
    ("GET /", "web", "GET / HTTP/1.1", "web"),
    (
        "GET /a//b/../c/./%2e%2E/d;p=1?q=a%20b&&=%00?",
        "web",
        "GET /a//b/../c/./%2e%2E/d;p=1?q=a%20b&&=%00? HTTP/1.1",
        "web",
    ),
    ("GET /?", "web", "GET /? HTTP/1.1", "web"),
    ("GET http://web/x?y", "other.example", "GET /x?y HTTP/1.1", "web"),
    ("GET http://web:80", "web", "GET / HTTP/1.1", "web:80"),
    ("OPTIONS *", "web", "OPTIONS * HTTP/1.1", "web"),
    ("PROPFIND /x", "web", "PROPFIND /x HTTP/1.1", "web"),
    ("get /x", "web", "get /x HTTP/1.1", "web"),
];

/// RFC 9112 §3.2.
#[test]
fn a_target_reaches_the_application_as_it_was_asked_for() {
    let site = Site::new();
    for (line, host, seen_line, seen_host) in TARGETS {
        let (answer, seen) = site.ask(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, 200, "{line}");
        assert_eq!(seen.line, *seen_line, "{line}");
        assert_eq!(seen.values("host").collect::<Vec<_>>(), [*seen_host], "{line}");
    }
}

/// RFC 9110 §10.1.1.
#[test]
fn who_expects_to_be_told_to_go_on_is_told_before_it_sends() {
    let site = Site::new();
    let mut connection = site.connect();
    connection
        .write(b"POST / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .unwrap();
    assert_eq!(connection.head().unwrap().status, 100);
    connection.write(b"body").unwrap();
    assert_eq!(connection.answer().unwrap().status, 200);
    assert_eq!(site.recorder.take()[0].body, b"body");
    assert_eq!(connection.get("web", "/").unwrap().status, 200);
}

/// RFC 9110 §15.2. `100 Continue` is each hop's own.
#[test]
fn interim_answers_come_before_the_last_one_and_never_take_its_place() {
    let site = Site::new();
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n";
    for (interim, statuses) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", &[][..]),
        ("HTTP/1.1 102 Processing\r\n\r\n", &[102]),
        (hint, &[103]),
        (&format!("{hint}HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 What\r\n\r\n{hint}"), &[103, 199, 103]),
    ] {
        let last = "HTTP/1.1 201 Created\r\nContent-Length: 4\r\nX-Last: yes\r\n\r\nlast";
        site.recorder.answers(format!("{interim}{last}").as_bytes(), Then::Next);
        let mut connection = site.connect();
        for _ in 0..2 {
            connection.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
            for status in statuses {
                let head = connection.head().unwrap();
                let link = if *status == 103 { "</x>; rel=preload" } else { "" };
                assert_eq!((head.status, head.header("link")), (*status, link));
            }
            let answer = connection.answer().unwrap();
            assert_eq!((answer.status, answer.header("x-last"), answer.body.as_str()), (201, "yes", "last"));
            assert_eq!(answer.header("link"), "", "a hint is no part of the answer");
        }
        connection.write(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n").unwrap();
        assert_eq!(connection.answer().unwrap().status, 201, "HTTP/1.0 knows of none");
    }
}

#[test]
fn an_interim_answer_does_not_wait_for_the_last_one() {
    let site = Site::new();
    let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nConnection: X-Own\r\nX-Own: 1\r\noutrigger-reason: no_route\r\n\r\n";
    let go_on = site.recorder.answers_in_two(hint, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast");
    let mut connection = site.connect();
    connection.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    let head = connection.head().unwrap();
    assert_eq!((head.status, head.header("link")), (103, "</x>"));
    assert_eq!(head.headers.len(), 1, "what is the connection's or a sidecar's own does not cross: {head:?}");
    go_on.send(()).unwrap();
    assert_eq!(connection.answer().unwrap().body, "last");
}

/// Answers that have no body whatever their fields say: what asks for them, how the application says it, and the length
/// that the client is told. A 304 may tell the length that a 200 would have (RFC 9110 §8.6).
const BODILESS: &[(&str, &str, u16, &str)] = &[
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, "5"),
    ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, ""),
    ("HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n", 404, "9"),
    ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
    ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304, ""),
    ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, "7"),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "0"),
];

/// RFC 9110 §6.4.1, RFC 9112 §6.3.
#[test]
fn an_answer_without_a_body_has_none_and_the_next_follows_at_once() {
    let site = Site::new();
    for (method, answer, status, length) in BODILESS {
        let mut connection = site.connect();
        for _ in 0..2 {
            site.recorder.answers(answer.as_bytes(), Then::Next);
            connection.write(format!("{method} / HTTP/1.1\r\nHost: web\r\n\r\n").as_bytes()).unwrap();
            let head = connection.head().unwrap_or_else(|error| panic!("{method}, {answer:?}: {error}"));
            assert_eq!(head.status, *status, "{method}, {answer:?}");
            assert_eq!(head.header("content-length"), *length, "{method}, {answer:?}");
        }
        site.recorder.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext", Then::Next);
        let next = connection.get("web", "/").unwrap_or_else(|error| panic!("after {answer:?}: {error}"));
        assert_eq!(next.body, "next", "after {method}, {answer:?}");
    }
}

/// RFC 9112 §9.3.2.
#[test]
fn requests_sent_at_once_are_answered_in_their_order() {
    let mut site = Site::new();
    site.world.service("echo", 80, Some("http"), "main");
    site.world.serve("echo", "echo-a", "http", &["http"]);
    site.world.until_answers(&site.outbound, "echo", "/", 200);
    let mut connection = site.connect();
    // The first takes longest.
    let delays = [200, 0, 20, 0, 5, 0, 0, 1];
    let all: String = delays
        .iter()
        .map(|delay| match delay {
            0 => "GET / HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
            delay => format!("POST /delay/{delay} HTTP/1.1\r\nHost: echo\r\nContent-Length: 3\r\n\r\nabc"),
        })
        .collect();
    connection.write(all.as_bytes()).unwrap();
    for (n, delay) in delays.iter().enumerate() {
        let answer = connection.answer().unwrap();
        let expected = if *delay == 0 { "" } else { "echo-a" };
        assert_eq!((answer.status, answer.header("x-instance")), (200, expected), "answer {n}");
    }
}

/// RFC 9110 §7.8.
#[test]
fn an_upgrade_that_is_declined_is_an_answer_like_any_other() {
    let site = Site::new();
    let mut connection = site.connect();
    for (token, reaches) in [("websocket", true), ("h2c", false)] {
        let settings = "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n";
        let message = format!(
            "GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {token}\r\n{settings}\r\n"
        );
        connection.write(message.as_bytes()).unwrap();
        let answer = connection.answer().unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{token}");
        let seen = site.recorder.take().remove(0);
        let upgrade: Vec<_> = seen.values("upgrade").collect();
        assert_eq!(upgrade, if reaches { vec![token] } else { vec![] }, "{token}");
        assert_eq!(seen.values("http2-settings").next(), None, "{token}: of the connection");
    }
}

/// RFC 9110 §9.3.6: a tunnel leads to a service of the mesh through the proxy port, or nowhere.
#[test]
fn connect_opens_a_tunnel_to_a_service_or_says_why_not() {
    let site = Site::new();
    for (authority, status, reason) in [
        ("nowhere.example:1", 502, "unknown_host"),
        ("web:81", 502, "unknown_port"),
        ("admin@web:80", 400, "bad_request"),
        ("web:80", 200, ""),
    ] {
        let mut connection = site.connect();
        connection
            .write(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes())
            .unwrap();
        let head = connection.head().unwrap();
        assert_eq!((head.status, head.reason()), (status, reason), "{authority}");
        assert!(site.recorder.take().is_empty(), "{authority}: a CONNECT is not the application's");
        if status == 200 {
            let inside = connection.get("web", "/inside").unwrap();
            assert_eq!(inside.status, 200);
            assert_eq!(site.recorder.take()[0].line, "GET /inside HTTP/1.1");
        }
    }
}

/// RFC 9110 §6.5, RFC 9112 §7.1.2.
#[test]
fn trailers_cross_both_ways() {
    let site = Site::new();
    let answered = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n";
    site.recorder.answers(answered.as_bytes(), Then::Next);
    let (answer, seen) = site.ask(
        "POST / HTTP/1.1\r\nHost: web\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n\
         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n",
    );
    assert_eq!(seen.body, b"abc");
    let names: Vec<_> = seen.trailers.iter().map(|line| line.to_ascii_lowercase()).collect();
    assert_eq!(names, ["x-sum: 3"], "{seen:?}");
    assert_eq!(answer.body, "ok");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "2".to_owned())], "{answer:?}");
}

/// RFC 9112 §9.3, §9.6.
#[test]
fn a_connection_lasts_as_long_as_both_sides_want() {
    let site = Site::new();
    for (request, lasts) in [
        ("GET / HTTP/1.1\r\nHost: web\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: web\r\nConnection: Close, X-Y\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: web\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        let mut connection = site.connect();
        connection.write(request.as_bytes()).unwrap();
        assert_eq!(connection.answer().unwrap().status, 200, "{request:?}");
        if lasts {
            connection.write(request.as_bytes()).unwrap();
            assert_eq!(connection.answer().unwrap().status, 200, "{request:?}");
        } else {
            assert_eq!(connection.rest().unwrap(), b"", "{request:?}: it ends behind its answer");
        }
    }
    // What the application wants of its connection is not the client's affair.
    let ended = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    site.recorder.answers(ended.as_bytes(), Then::End);
    let mut connection = site.connect();
    for _ in 0..3 {
        assert_eq!(connection.get("web", "/").unwrap().body, "ok");
    }
}

#[test]
fn a_head_that_is_too_large_is_told_which_limit_it_met() {
    let site = Site::new();
    let many: String = (0..100).map(|n| format!("x-{n}: {n}\r\n")).collect();
    for (what, rest, status, reason) in [
        (
            "a field of 100 KB",
            format!("/ HTTP/1.1\r\nHost: web\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
            431,
            "headers_too_large",
        ),
        ("101 fields", format!("/ HTTP/1.1\r\nHost: web\r\n{many}\r\n"), 431, "headers_too_large"),
        (
            "a target of 20 KB",
            format!("/{} HTTP/1.1\r\nHost: web\r\n\r\n", "x".repeat(20_000)),
            414,
            "uri_too_long",
        ),
        (
            "a target of 70 KB",
            format!("/{} HTTP/1.1\r\nHost: web\r\n\r\n", "x".repeat(70_000)),
            414,
            "uri_too_long",
        ),
    ] {
        let mut connection = site.connect();
        // The sidecar may answer, and close, before it has read everything.
        connection.write(format!("GET {rest}").as_bytes()).ok();
        let answer = connection.answer().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((answer.status, answer.reason()), (status, reason), "{what}: {}", answer.body);
        assert!(site.recorder.take().is_empty(), "{what}");
    }
}
