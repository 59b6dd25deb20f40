//! What callers see when something is wrong, and what they don't see because it was mended.

use crate::mesh::{Ca, Pair, Plan, endpoint, id, service};
use crate::origin::{ask, eventually, full, get, http_echo, listen, nobody};
use http::{Request, Version};
use mesh_names::{AppProtocol, ServiceName};
use mesh_protocol::endpoint::Transport;
use sidecar::demand::Wish;
use sidecar::snapshot::ServiceState;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

#[tokio::test]
async fn an_unknown_host_is_refused_in_the_control_planes_words() {
    let mut pair = Pair::start(nobody().await, AppProtocol::Http);
    let foreign = get(pair.client.outbound, "www.example.com", "/").await;
    assert_eq!((foreign.status, foreign.reason()), (502, "unknown_host"));
    assert!(foreign.text.contains("`www.example.com` is no name of this mesh"), "{foreign:?}");
    let host = Wish::Host("www.example.com".into());
    assert_eq!(pair.client.demands.next().await, Some(host), "asked for, though not waited for");
    let outbound = pair.client.outbound;
    let asked = tokio::spawn(async move { get(outbound, "ordrs", "/").await });
    let name: ServiceName = "shop/ordrs".parse().unwrap();
    assert_eq!(pair.client.demands.next().await, Some(Wish::Service(name.clone())));
    let sentence = "no service `ordrs` in namespace `shop`; nearest: orders";
    pair.client.publish_states(HashMap::from([(name, ServiceState::Missing(sentence.into()))]));
    let got = asked.await.unwrap();
    assert_eq!((got.status, got.reason()), (502, "unknown_host"));
    assert_eq!(got.text.trim_end(), sentence);
}

#[tokio::test]
async fn a_refused_endpoint_is_replaced_by_another() {
    let ca = Ca::new();
    let application = http_echo("a").await;
    let server = Plan::new("orders").serving(application, AppProtocol::Http).start(&ca);
    let client = Plan::new("web").start(&ca);
    let dead = nobody().await;
    let gone = Transport::MutualTls {
        inbound_port: mesh_names::Port::new(dead.port()).unwrap(),
        identity: id("orders"),
    };
    client.publish(vec![(
        service("shop/orders", 80, AppProtocol::Http),
        vec![server.endpoint("shop/orders", 80, application), endpoint("shop/orders", 80, dead, gone)],
    )]);
    for n in 0..20 {
        let request = Request::post("http://orders/x").body(full("body")).unwrap();
        let got = ask(client.outbound, Version::HTTP_11, request).await;
        assert_eq!(got.status, 200, "{n} {got:?}");
        assert!(got.text.ends_with(" body"), "{got:?}");
    }
    let labels = [("service", "shop/orders"), ("cause", "unprocessed")];
    assert!(client.metric("outrigger_retries_total", &labels).await >= 1.0);
}

#[tokio::test]
async fn an_application_that_is_down_behind_its_sidecar_is_replaced_by_another() {
    let ca = Ca::new();
    let (application, dead) = (http_echo("a").await, nobody().await);
    let server = Plan::new("orders").serving(application, AppProtocol::Http).start(&ca);
    let broken = Plan::new("orders").serving(dead, AppProtocol::Http).start(&ca);
    let client = Plan::new("web").start(&ca);
    let endpoints =
        vec![server.endpoint("shop/orders", 80, application), broken.endpoint("shop/orders", 80, dead)];
    client.publish(vec![(service("shop/orders", 80, AppProtocol::Http), endpoints)]);
    for n in 0..20 {
        let request = Request::post("http://orders/x").body(full("body")).unwrap();
        let got = ask(client.outbound, Version::HTTP_11, request).await;
        assert_eq!(got.status, 200, "{n} {got:?}");
    }
    assert!(broken.metric("outrigger_refusals_total", &[("reason", "app_refused")]).await >= 1.0);
}

#[tokio::test]
async fn a_backend_that_is_down_is_unavailable_in_grpc_and_502_in_http() {
    let pair = Pair::start(nobody().await, AppProtocol::Detect);
    let got = get(pair.client.outbound, "orders", "/").await;
    assert_eq!((got.status, got.reason()), (502, "app_refused"), "{got:?}");
    let request = Request::post("http://orders/shop.Orders/Get").header("content-type", "application/grpc");
    let got = ask(pair.client.outbound, Version::HTTP_2, request.body(full("")).unwrap()).await;
    assert_eq!((got.status, got.reason()), (200, "app_refused"));
    assert_eq!(got.headers["grpc-status"], "14");
    pair.client.publish(vec![(service("shop/orders", 80, AppProtocol::Detect), vec![])]);
    let got = eventually(pair.client.outbound, "orders", |got| got.reason() == "no_endpoints").await;
    assert_eq!(got.status, 503, "{got:?}");
}

#[tokio::test]
async fn an_endpoint_with_another_identity_gets_no_request() {
    let ca = Ca::new();
    let application = http_echo("a").await;
    let server = Plan::new("impostor").serving(application, AppProtocol::Http).start(&ca);
    let client = Plan::new("web").start(&ca);
    let mut pretended = server.endpoint("shop/orders", 80, application);
    if let Transport::MutualTls { identity, .. } = &mut pretended.transport {
        *identity = id("orders");
    }
    client.publish(vec![(service("shop/orders", 80, AppProtocol::Http), vec![pretended])]);
    let got = get(client.outbound, "orders", "/").await;
    assert_eq!((got.status, got.reason()), (502, "identity_mismatch"), "{got:?}");
    assert!(!got.text.contains("127.0.0.1") && !got.text.contains("impostor"), "{got:?}");
    assert_eq!(server.metric("outrigger_requests_total", &[]).await, 0.0);
}

#[tokio::test]
async fn strangers_on_the_inbound_port_are_refused_and_counted() {
    let pair = Pair::start(http_echo("a").await, AppProtocol::Http);
    let mut plain = TcpStream::connect(pair.server.inbound).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    assert!(answer.is_empty());
    let labels = [("direction", "inbound"), ("reason", "plaintext")];
    assert_eq!(pair.server.metric("outrigger_refusals_total", &labels).await, 1.0);
    let foreign = Plan::new("web").start(&Ca::new());
    let application = http_echo("a").await;
    foreign.publish(vec![(
        service("shop/orders", 80, AppProtocol::Http),
        vec![pair.server.endpoint("shop/orders", 80, application)],
    )]);
    let got = get(foreign.outbound, "orders", "/").await;
    assert_eq!((got.status, got.reason()), (502, "handshake_failed"), "{got:?}");
}

#[tokio::test]
async fn a_port_that_was_not_announced_can_not_be_reached() {
    let ca = Ca::new();
    let secret = http_echo("secret").await;
    let server = Plan::new("orders").serving(http_echo("a").await, AppProtocol::Http).start(&ca);
    let client = Plan::new("web").start(&ca);
    client.publish(vec![(
        service("shop/orders", 80, AppProtocol::Http),
        vec![server.endpoint("shop/orders", 80, secret)],
    )]);
    let got = get(client.outbound, "orders", "/").await;
    assert_eq!(got.status, 502, "{got:?}");
    assert!(server.metric("outrigger_refusals_total", &[("reason", "unknown_inbound_port")]).await >= 1.0);
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
}

/// Answers one request per connection and closes it, without saying so before.
async fn closes_after_each() -> std::net::SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.ok();
            });
        }
    });
    address
}

#[tokio::test]
async fn a_kept_connection_that_the_application_closes_loses_no_request() {
    let pair = Pair::start(closes_after_each().await, AppProtocol::Http);
    for n in 0..100 {
        let got = get(pair.client.outbound, "orders", "/").await;
        assert_eq!((got.status, got.text.as_str()), (200, "ok"), "{n}");
    }
}

/// Answers the first request of each connection, and closes it once another has come whole.
async fn swallows_the_second() -> (std::net::SocketAddr, Arc<AtomicU32>) {
    let (listener, address) = listen().await;
    let swallowed = Arc::new(AtomicU32::new(0));
    let count = swallowed.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.ok();
                read_head(&mut stream).await;
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    (address, swallowed)
}

#[tokio::test]
async fn a_request_that_a_kept_connection_swallows_is_sent_again_only_if_it_is_idempotent() {
    let (address, swallowed) = swallows_the_second().await;
    let pair = Pair::start(address, AppProtocol::Http);
    for n in 0..4 {
        let got = get(pair.client.outbound, "orders", "/").await;
        assert_eq!((got.status, got.text.as_str()), (200, "ok"), "{n}");
    }
    assert_eq!(swallowed.load(Ordering::Relaxed), 3);
    let post = Request::post("http://orders/").body(full("")).unwrap();
    let got = ask(pair.client.outbound, Version::HTTP_11, post).await;
    assert_eq!((got.status, got.reason()), (502, "app_closed"));
    assert_eq!(swallowed.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_then_ends_the_workers() {
    let (listener, address) = listen().await;
    let (arrived, mut has_arrived) = mpsc::channel(1);
    let (go_on, mut may_go_on) = mpsc::channel::<()>(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        arrived.send(()).await.unwrap();
        may_go_on.recv().await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
    });
    let Pair { mut client, mut server } = Pair::start(address, AppProtocol::Http);
    let outbound = client.outbound;
    let asked = tokio::spawn(async move { get(outbound, "orders", "/").await });
    has_arrived.recv().await.unwrap();
    server.drain.drain();
    client.drain.drain();
    go_on.send(()).await.unwrap();
    assert_eq!(asked.await.unwrap().text, "done");
    assert_eq!((client.join().await, server.join().await), (0, 0));
    assert!(TcpStream::connect(outbound).await.is_err());
}

#[tokio::test]
async fn a_service_that_leads_back_to_us_is_refused() {
    let pair = Pair::start(nobody().await, AppProtocol::Http);
    let ourselves = endpoint("shop/orders", 80, pair.client.outbound, Transport::Plaintext);
    pair.client.publish(vec![(service("shop/orders", 80, AppProtocol::Http), vec![ourselves])]);
    eventually(pair.client.outbound, "orders", |got| (got.status, got.reason()) == (508, "loop_detected"))
        .await;
}
