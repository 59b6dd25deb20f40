//! HTTP of every version, through two sidecars.

use crate::mesh::{Pair, endpoint, id, port, routed, service};
use crate::origin::{Got, ask, eventually, full, get, http_echo, raw};
use http::{Request, Version};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_names::AppProtocol;
use mesh_protocol::endpoint::Transport;
use mesh_protocol::service::{Backend, PathMatch, RouteMatch, RouteRule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn http_1_get_and_post_arrive_with_the_callers_identity_and_are_counted_on_both_sides() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::Http);
    let got = get(pair.client.outbound, "orders", "/x?y=z").await;
    assert_eq!(got.status, 200, "{got:?}");
    assert!(got.headers.get("keep-alive").is_none(), "{got:?}");
    let from = format!("URI={}", id("web"));
    assert_eq!(got.text, format!("a GET /x HTTP/1.1 host=orders from={from} hop=- "));
    let body = "b".repeat(100_000);
    let request = Request::post("/p")
        .header("host", "orders.shop.svc.mesh.internal:80")
        .header("x-forwarded-client-cert", "URI=spiffe://mesh.internal/ns/shop/sa/admin")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .body(full(body.clone()))
        .unwrap();
    let got = ask(pair.client.outbound, Version::HTTP_11, request).await;
    let host = "orders.shop.svc.mesh.internal:80";
    assert_eq!(got.text, format!("a POST /p HTTP/1.1 host={host} from={from} hop=- {body}"));
    let peer = id("orders").to_string();
    let labels = [("direction", "outbound"), ("service", "shop/orders"), ("peer", &peer), ("status", "200")];
    assert_eq!(pair.client.metric("outrigger_requests_total", &labels).await, 2.0);
    let peer = id("web").to_string();
    let labels = [("direction", "inbound"), ("peer", &peer), ("status", "200")];
    assert_eq!(pair.server.metric("outrigger_requests_total", &labels).await, 2.0);
    let bytes = pair.client.metric("outrigger_request_bytes_total", &[("service", "shop/orders")]).await;
    assert_eq!(bytes, 100_000.0);
    assert_eq!(pair.client.metric("outrigger_request_duration_seconds", &[]).await, 2.0);
}

#[tokio::test]
async fn an_absolute_target_and_an_upstream_lead_to_the_same_service() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::Http);
    let got = get(pair.client.outbound, "ignored.example", "http://orders/x").await;
    assert!(got.text.starts_with("a GET /x HTTP/1.1 host=orders "), "{got:?}");
    let got = get(pair.client.upstreams[0], "localhost:1234", "/x").await;
    assert!(got.text.starts_with("a GET /x HTTP/1.1 host=localhost:1234 "), "{got:?}");
}

async fn many(pair: &Pair, version: Version) -> Vec<Got> {
    let asked = (0..50).map(|n| {
        let request = Request::get(format!("http://orders/{n}")).body(full("")).unwrap();
        ask(pair.client.outbound, version, request)
    });
    futures_util::future::join_all(asked).await
}

#[tokio::test]
async fn requests_of_many_clients_share_one_connection_between_the_sidecars() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::H2c);
    let got = many(&pair, Version::HTTP_2).await;
    for (n, got) in got.iter().enumerate() {
        assert!(got.text.starts_with(&format!("a GET /{n} HTTP/2.0 host=orders ")), "{got:?}");
    }
    let labels = [("side", "upstream"), ("protocol", "http2")];
    assert_eq!(pair.client.metric("outrigger_connections_opened_total", &labels).await, 1.0);
    assert_eq!(pair.server.metric("outrigger_handshakes_total", &[("result", "ok")]).await, 1.0);
}

#[tokio::test]
async fn an_undeclared_port_is_asked_in_the_version_its_caller_used() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::Detect);
    for (version, seen) in [(Version::HTTP_11, "HTTP/1.1"), (Version::HTTP_2, "HTTP/2.0")] {
        for address in [pair.client.outbound, pair.client.upstreams[0]] {
            let request = Request::get("http://orders/d").body(full("")).unwrap();
            let got = ask(address, version, request).await;
            assert!(got.text.starts_with(&format!("a GET /d {seen} host=orders ")), "{got:?}");
            assert!(got.text.contains("hop=- "), "{got:?}");
        }
    }
}

#[tokio::test]
async fn grpc_keeps_its_trailers() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::Grpc);
    let request = Request::post("http://orders/shop.Orders/Get")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(full("\0\0\0\0\0"))
        .unwrap();
    let got = ask(pair.client.outbound, Version::HTTP_2, request).await;
    assert_eq!(got.text, "\0\0\0\0\0");
    assert_eq!(got.trailers["grpc-status"], "0");
    let labels = [("direction", "outbound"), ("grpc_status", "0")];
    assert_eq!(pair.client.metric("outrigger_requests_total", &labels).await, 1.0);
}

#[tokio::test]
async fn an_upgrade_becomes_a_stream_of_bytes_both_ways() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::Http);
    let mut stream = TcpStream::connect(pair.client.outbound).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("upgrade: echo"), "{answer}");
    for line in [b"hello", b"world"] {
        stream.write_all(line).await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, line);
    }
}

#[tokio::test]
async fn an_endpoint_without_a_sidecar_is_reached_in_the_clear() {
    let application = http_echo("plain").await;
    let pair = Pair::start(application, AppProtocol::Http);
    let plain = endpoint("shop/orders", 80, application, Transport::Plaintext);
    pair.client.publish(vec![(service("shop/orders", 80, AppProtocol::Http), vec![plain])]);
    eventually(pair.client.outbound, "orders", |got| got.text.contains("from=- ")).await;
    for _ in 0..3 {
        let got = get(pair.client.outbound, "orders", "/x").await;
        assert!(got.text.starts_with("plain GET /x HTTP/1.1 host=orders from=- "), "{got:?}");
    }
    let labels = [("side", "upstream"), ("protocol", "http1")];
    assert_eq!(pair.client.metric("outrigger_connections_opened_total", &labels).await, 1.0);
}

#[tokio::test]
async fn routes_share_traffic_by_weight_and_a_change_takes_effect_at_once() {
    let (one, two) = (http_echo("one").await, http_echo("two").await);
    let pair = Pair::start(one, AppProtocol::Http);
    let publish = |weights: [u32; 2]| {
        let backends = ["shop/one", "shop/two"].iter().zip(weights).map(|(service, weight)| Backend {
            service: service.parse().unwrap(),
            port: port(80),
            weight,
            invalid: None,
        });
        let rule = RouteRule {
            route: "shop/canary".into(),
            index: 0,
            backends: backends.collect(),
            timeouts: Default::default(),
            retry: None,
            hedging: None,
        };
        let fits = RouteMatch {
            rule: 0,
            path: PathMatch::Prefix("/x".into()),
            method: None,
            headers: vec![],
            query_params: vec![],
        };
        let plain = |name, target| {
            (service(name, 80, AppProtocol::Http), vec![endpoint(name, 80, target, Transport::Plaintext)])
        };
        pair.client.publish(vec![
            (routed("shop/orders", 80, AppProtocol::Http, vec![rule], vec![fits]), vec![]),
            plain("shop/one", one),
            plain("shop/two", two),
        ]);
    };
    publish([100, 0]);
    eventually(pair.client.outbound, "orders", |got| got.text.contains("from=- ")).await;
    for _ in 0..10 {
        assert!(get(pair.client.outbound, "orders", "/x").await.text.starts_with("one "));
    }
    publish([50, 50]);
    let mut twos = 0;
    for _ in 0..100 {
        twos += u32::from(get(pair.client.outbound, "orders", "/x").await.text.starts_with("two "));
    }
    assert!((20..80).contains(&twos), "{twos}");
    let missed = get(pair.client.outbound, "orders", "/y").await;
    assert_eq!((missed.status, missed.reason()), (404, "no_route"));
    let labels = [("route", "shop/canary"), ("backend", "shop/two"), ("status", "200")];
    let counted = pair.client.metric("outrigger_requests_total", &labels).await;
    assert_eq!(counted, f64::from(twos));
}

#[tokio::test]
async fn what_breaks_http_is_refused_and_does_not_reach_the_application() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::Http);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: orders\r\nHost: orders\r\nConnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: u@orders\r\nConnection: close\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("GET https://orders/ HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n", "400"),
        ("GET / HTTP/7.0\r\nHost: orders\r\n\r\n", "400"),
    ] {
        let answer = raw(pair.client.outbound, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?} -> {answer:?}");
        assert!(answer.contains("outrigger-reason: bad_request\r\n"), "{request:?} -> {answer:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: orders\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let answer = raw(pair.client.outbound, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    assert!(answer.contains("outrigger-reason: headers_too_large\r\n"), "{answer:?}");
    let long = format!("GET /{} HTTP/1.1\r\nHost: orders\r\n\r\n", "x".repeat(70_000));
    let answer = raw(pair.client.outbound, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer:?}");
    assert!(answer.contains("outrigger-reason: uri_too_long\r\n"), "{answer:?}");
    for (reason, times) in [("bad_request", 6.0), ("headers_too_large", 1.0), ("uri_too_long", 1.0)] {
        let labels = [("direction", "outbound"), ("reason", reason)];
        assert_eq!(pair.client.metric("outrigger_refusals_total", &labels).await, times, "{reason}");
    }
    assert_eq!(pair.server.metric("outrigger_requests_total", &[]).await, 0.0);
}

#[tokio::test]
async fn one_http_2_connection_carries_a_thousand_requests() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::Http);
    let stream = TcpStream::connect(pair.client.outbound).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let asked = (0..1000).map(|n| {
        let mut sender = sender.clone();
        async move {
            let request = Request::get(format!("http://orders/{n}")).body(full("")).unwrap();
            sender.send_request(request).await.unwrap().status()
        }
    });
    let statuses = futures_util::future::join_all(asked).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test]
async fn four_hundred_streams_at_once_flow_again_and_again() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::H2c);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let io = TokioIo::new(TcpStream::connect(pair.client.outbound).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        clients.push(sender);
    }
    let streams = (0..400).map(|n| {
        let mut sender = clients[n % 4].clone();
        async move {
            for _ in 0..10 {
                let request = Request::get(format!("http://orders/{n}")).body(full("")).unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap();
            }
        }
    });
    let all = futures_util::future::join_all(streams);
    tokio::time::timeout(std::time::Duration::from_secs(60), all).await.expect("they flow");
}

#[tokio::test]
async fn what_follows_an_answer_and_is_no_http_is_refused_with_its_reason() {
    let application = http_echo("a").await;
    let pair = Pair::start(application, AppProtocol::Http);
    let mut stream = TcpStream::connect(pair.client.outbound).await.unwrap();
    let mut answers = String::new();
    for request in ["GET /1 HTTP/1.1\r\nHost: orders\r\n\r\n", "GET /2 HTTP/1.1\r\nHost: orders\r\n\r\n"] {
        stream.write_all(request.as_bytes()).await.unwrap();
        while !answers.contains("hop=- ") {
            let mut some = [0; 1024];
            let amount = stream.read(&mut some).await.unwrap();
            answers.push_str(std::str::from_utf8(&some[..amount]).unwrap());
        }
        assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers:?}");
        answers.clear();
    }
    stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").await.unwrap();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answers:?}");
    assert!(answers.contains("outrigger-reason: bad_request\r\n"), "{answers:?}");
    assert!(answers.ends_with("\r\n\r\nwhat came is no HTTP request\n"), "{answers:?}");
}
