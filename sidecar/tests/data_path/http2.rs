//! What is HTTP/2's own: streams that are cut, given up, held back, or made into tunnels.

use crate::mesh::Pair;
use crate::origin::{ask, full, listen};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client, server};
use http::{Method, Request, Response, Version};
use mesh_names::AppProtocol;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// One request as an application sees it.
struct Seen {
    head: http::request::Parts,
    body: RecvStream,
    respond: server::SendResponse<Bytes>,
}

/// An application that speaks HTTP/2 and leaves every request to the test.
async fn application() -> (SocketAddr, mpsc::Receiver<Seen>) {
    let (listener, address) = listen().await;
    let (seen, requests) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut connection = server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let (head, body) = request.into_parts();
                    seen.send(Seen { head, body, respond }).await.ok();
                }
            });
        }
    });
    (address, requests)
}

/// A client's connection.
async fn connect(address: SocketAddr) -> client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

fn post() -> Request<()> {
    Request::post("http://orders/x").body(()).unwrap()
}

async fn send_all(stream: &mut SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        stream.send_data(bytes.split_to(room.min(bytes.len())), false).unwrap();
    }
}

async fn read_all(body: &mut RecvStream) -> Result<usize, h2::Error> {
    let mut amount = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        amount += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(amount)
}

#[tokio::test]
async fn a_response_that_is_cut_never_looks_complete() {
    let (address, mut requests) = application().await;
    let pair = Pair::start(address, AppProtocol::H2c);
    for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
        let mut sender = connect(pair.client.outbound).await;
        let (response, _) = sender.send_request(post(), true).unwrap();
        let mut seen = requests.recv().await.unwrap();
        let mut stream = seen.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "half");
        stream.send_reset(reason);
        assert!(read_all(&mut body).await.is_err(), "{reason:?}");
    }
    let labels = [("direction", "outbound"), ("reason", "upstream_reset")];
    assert_eq!(pair.client.metric("outrigger_refusals_total", &labels).await, 3.0);
}

#[tokio::test]
async fn a_request_that_is_given_up_is_given_up_at_the_application() {
    let (address, mut requests) = application().await;
    let pair = Pair::start(address, AppProtocol::H2c);
    let mut sender = connect(pair.client.outbound).await;
    let (response, mut stream) = sender.send_request(post(), false).unwrap();
    let mut seen = requests.recv().await.unwrap();
    stream.send_reset(Reason::CANCEL);
    drop(response);
    assert!(read_all(&mut seen.body).await.is_err());
    let reset = std::future::poll_fn(|cx| seen.respond.poll_reset(cx)).await.unwrap();
    assert_eq!(reset, Reason::CANCEL);
    // The connections stay: the next request goes over them.
    let (response, _) = sender.send_request(post(), true).unwrap();
    let mut seen = requests.recv().await.unwrap();
    seen.respond.send_response(Response::new(()), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    let labels = [("side", "upstream"), ("protocol", "http2")];
    assert_eq!(pair.client.metric("outrigger_connections_opened_total", &labels).await, 1.0);
}

#[tokio::test]
async fn an_answer_before_the_bodys_end_arrives_and_ends_the_body() {
    let (address, mut requests) = application().await;
    let pair = Pair::start(address, AppProtocol::H2c);
    let mut sender = connect(pair.client.outbound).await;
    let (response, mut stream) = sender.send_request(post(), false).unwrap();
    let mut seen = requests.recv().await.unwrap();
    seen.respond.send_response(Response::builder().status(413).body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 413);
    // Nobody wants the rest: the client is told, and the application too.
    assert!(read_all(&mut seen.body).await.is_err());
    std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
}

#[tokio::test]
async fn bodies_larger_than_every_window_flow_both_ways_with_trailers() {
    const BYTES: usize = 24 << 20;
    let (address, mut requests) = application().await;
    let pair = Pair::start(address, AppProtocol::H2c);
    let mut sender = connect(pair.client.outbound).await;
    let (response, mut stream) = sender.send_request(post(), false).unwrap();
    let sending = tokio::spawn(async move {
        send_all(&mut stream, Bytes::from(vec![7; BYTES])).await;
        stream
            .send_trailers([("end".parse().unwrap(), "up".parse().unwrap())].into_iter().collect())
            .unwrap();
    });
    let mut seen = requests.recv().await.unwrap();
    assert_eq!(seen.head.method, Method::POST);
    assert_eq!(read_all(&mut seen.body).await.unwrap(), BYTES);
    assert_eq!(seen.body.trailers().await.unwrap().unwrap()["end"], "up");
    sending.await.unwrap();
    let mut stream = seen.respond.send_response(Response::new(()), false).unwrap();
    let sending = tokio::spawn(async move {
        send_all(&mut stream, Bytes::from(vec![7; BYTES])).await;
        stream
            .send_trailers([("end".parse().unwrap(), "down".parse().unwrap())].into_iter().collect())
            .unwrap();
    });
    let mut body = response.await.unwrap().into_body();
    assert_eq!(read_all(&mut body).await.unwrap(), BYTES);
    assert_eq!(body.trailers().await.unwrap().unwrap()["end"], "down");
    sending.await.unwrap();
}

#[tokio::test]
async fn both_sides_of_a_stream_talk_in_turn() {
    let (address, mut requests) = application().await;
    let pair = Pair::start(address, AppProtocol::Grpc);
    let mut sender = connect(pair.client.outbound).await;
    let (response, mut up) = sender.send_request(post(), false).unwrap();
    let mut seen = requests.recv().await.unwrap();
    let mut down = seen.respond.send_response(Response::new(()), false).unwrap();
    let mut answers = response.await.unwrap().into_body();
    for turn in 0..100_u32 {
        let word = Bytes::from(turn.to_be_bytes().to_vec());
        up.send_data(word.clone(), false).unwrap();
        assert_eq!(seen.body.data().await.unwrap().unwrap(), word);
        down.send_data(word.clone(), false).unwrap();
        assert_eq!(answers.data().await.unwrap().unwrap(), word);
    }
    up.send_data(Bytes::new(), true).unwrap();
    assert_eq!(read_all(&mut seen.body).await.unwrap(), 0);
    down.send_data(Bytes::new(), true).unwrap();
    assert_eq!(read_all(&mut answers).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connect_stream_becomes_a_tunnel() {
    let (listener, address) = listen().await;
    let pair = Pair::start(address, AppProtocol::Tcp);
    let mut sender = connect(pair.client.outbound).await;
    let request = Request::builder().method(Method::CONNECT).uri("orders:80").body(()).unwrap();
    let (response, mut up) = sender.send_request(request, false).unwrap();
    let (mut application, _) = listener.accept().await.unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let mut down = response.into_body();
    up.send_data(Bytes::from_static(b"ping"), false).unwrap();
    let mut four = [0; 4];
    application.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
    application.write_all(b"pong").await.unwrap();
    assert_eq!(down.data().await.unwrap().unwrap(), "pong");
    // Each direction ends by itself.
    up.send_data(Bytes::new(), true).unwrap();
    assert_eq!(application.read(&mut four).await.unwrap(), 0);
    application.write_all(b"last").await.unwrap();
    drop(application);
    assert_eq!(read_all(&mut down).await.unwrap(), 4);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_its_reason_in_both_versions() {
    let (address, _requests) = application().await;
    let pair = Pair::start(address, AppProtocol::H2c);
    // The last is more than is kept of a head.
    for (version, bytes) in
        [(Version::HTTP_11, 66_000), (Version::HTTP_2, 66_000), (Version::HTTP_2, 140_000)]
    {
        let request = Request::get("http://orders/x").header("long", "x".repeat(bytes));
        let got = ask(pair.client.outbound, version, request.body(full("")).unwrap()).await;
        assert_eq!((got.status, got.reason()), (431, "headers_too_large"), "{version:?} {got:?}");
    }
    assert_eq!(pair.server.metric("outrigger_requests_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_request_whose_client_goes_away_before_the_answer_is_counted_on_both_sides() {
    let (address, mut requests) = application().await;
    let pair = Pair::start(address, AppProtocol::H2c);
    let mut sender = connect(pair.client.outbound).await;
    let (response, _) = sender.send_request(post(), true).unwrap();
    let mut seen = requests.recv().await.unwrap();
    drop(response);
    std::future::poll_fn(|cx| seen.respond.poll_reset(cx)).await.unwrap();
    for (sidecar, service) in [(&pair.client, "shop/orders"), (&pair.server, "")] {
        let labels = [("service", service), ("status", "499"), ("reason", "downstream_closed")];
        assert_eq!(sidecar.metric("outrigger_requests_total", &labels).await, 1.0);
    }
}
