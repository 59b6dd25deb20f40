//! Both ends against the `h2` crate, an implementation by others, over a byte stream in memory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use mesh_http2::{Config, Error, ErrorCode, RecvStream, SendStream};
use std::future::{Future, poll_fn};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::LocalSet;

const CONFIG: Config = Config {
    streams_max: 100,
    first_streams: 100,
    stream_window: 1 << 20,
    connection_window: 4 << 20,
    send_buffer: 128 << 10,
    head_bytes: 128 << 10,
    keeps_buffers: true,
};

/// More than any window, and no multiple of any frame.
const LARGE: usize = (9 << 20) + 7;

fn run<F: Future<Output = ()>>(test: impl FnOnce(DuplexStream, DuplexStream) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (near, far) = tokio::io::duplex(50_000);
    LocalSet::new().block_on(&runtime, test(near, far));
}

async fn body(stream: &mut RecvStream) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    while let Some(chunk) = poll_fn(|cx| stream.poll_data(cx)).await {
        let chunk = chunk?;
        stream.release(chunk.len());
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

async fn send(stream: &mut SendStream, mut bytes: Bytes) {
    while !bytes.is_empty() {
        let room = poll_fn(|cx| stream.poll_room(cx)).await.unwrap();
        stream.send_data(bytes.split_to(room.min(bytes.len())), false).unwrap();
    }
}

async fn their_body(stream: &mut h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

async fn they_send(stream: &mut h2::SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        stream.send_data(bytes.split_to(room.min(bytes.len())), false).unwrap();
    }
}

fn trailers(value: &'static str) -> HeaderMap {
    [("end".parse().unwrap(), value.parse().unwrap())].into_iter().collect()
}

fn large() -> Bytes {
    (0..LARGE).map(|n| (n % 251) as u8).collect::<Vec<_>>().into()
}

/// Serves every request with its own fields and body.
fn our_echo(io: DuplexStream) {
    tokio::task::spawn_local(async move {
        let mut server = mesh_http2::serve(io, CONFIG);
        while let Some(accepted) = poll_fn(|cx| server.poll_accept(cx)).await {
            let (request, respond) = accepted.unwrap();
            tokio::task::spawn_local(async move {
                let (head, mut receive) = request.into_parts();
                let mut response =
                    Response::builder().status(if head.method == Method::GET { 204 } else { 200 });
                response.headers_mut().unwrap().extend(head.headers);
                let response = response.header("path", head.uri.path()).body(()).unwrap();
                if receive.is_end_stream() {
                    return respond.send(&response).unwrap();
                }
                let mut stream = respond.send_head(&response).unwrap();
                while let Some(chunk) = poll_fn(|cx| receive.poll_data(cx)).await {
                    let chunk = chunk.unwrap();
                    let bytes = chunk.len();
                    send(&mut stream, chunk).await;
                    receive.release(bytes);
                }
                match poll_fn(|cx| receive.poll_trailers(cx)).await.unwrap() {
                    Some(trailers) => stream.send_trailers(trailers).unwrap(),
                    None => stream.send_data(Bytes::new(), true).unwrap(),
                }
            });
        }
    });
}

fn their_echo(io: DuplexStream) {
    tokio::task::spawn_local(async move {
        let mut server = h2::server::handshake(io).await.unwrap();
        while let Some(Ok((request, mut respond))) = server.accept().await {
            tokio::task::spawn_local(async move {
                let (head, mut receive) = request.into_parts();
                let mut response = Response::new(());
                response.headers_mut().extend(head.headers);
                response.headers_mut().insert("path", head.uri.path().parse().unwrap());
                let is_whole = receive.is_end_stream();
                let mut stream = respond.send_response(response, is_whole).unwrap();
                if is_whole {
                    return;
                }
                while let Some(chunk) = receive.data().await {
                    let Ok(chunk) = chunk else { return };
                    let bytes = chunk.len();
                    they_send(&mut stream, chunk).await;
                    receive.flow_control().release_capacity(bytes).unwrap();
                }
                match receive.trailers().await.unwrap() {
                    Some(trailers) => stream.send_trailers(trailers).unwrap(),
                    None => stream.send_data(Bytes::new(), true).unwrap(),
                }
            });
        }
    });
}

fn fields(number: u32) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("user-agent", "someone/1.0".parse().unwrap());
    fields.insert("x-same", "the same for all".parse().unwrap());
    fields.insert("x-number", number.to_string().parse().unwrap());
    fields.insert("authorization", "Bearer abc".parse().unwrap());
    for n in 0..number % 3 {
        fields.append("x-many", n.to_string().parse().unwrap());
    }
    fields
}

#[test]
fn their_client_is_served_by_ours() {
    run(|near, far| async move {
        our_echo(far);
        let (mut client, connection) = h2::client::handshake(near).await.unwrap();
        tokio::task::spawn_local(async move { connection.await.unwrap() });
        for number in 0..300 {
            let mut request = Request::get(format!("http://a/{number}?q")).body(()).unwrap();
            *request.headers_mut() = fields(number);
            let (response, _) = client.send_request(request, true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(
                (response.status(), &response.headers()["path"]),
                (http::StatusCode::NO_CONTENT, &format!("/{number}").parse::<http::HeaderValue>().unwrap())
            );
            for (name, value) in &fields(number) {
                assert!(response.headers().get_all(name).iter().any(|v| v == value), "{name}");
            }
        }
        let request = Request::post("http://a/").body(()).unwrap();
        let (response, mut stream) = client.send_request(request, false).unwrap();
        tokio::task::spawn_local(async move {
            they_send(&mut stream, large()).await;
            stream.send_trailers(trailers("up")).unwrap();
        });
        let mut received = response.await.unwrap().into_body();
        assert!(their_body(&mut received).await.unwrap() == large());
        assert_eq!(received.trailers().await.unwrap().unwrap()["end"], "up");
    });
}

#[test]
fn our_client_is_served_by_theirs() {
    run(|near, far| async move {
        their_echo(far);
        let (opener, connection) = mesh_http2::connect(near, CONFIG);
        let ended = tokio::task::spawn_local(connection);
        for number in 0..300 {
            let mut request = Request::get(format!("http://a/{number}?q")).body(()).unwrap();
            *request.headers_mut() = fields(number);
            let response = opener.send(request).unwrap().await.unwrap();
            assert_eq!(response.headers()["path"], format!("/{number}"));
            for (name, value) in &fields(number) {
                assert!(response.headers().get_all(name).iter().any(|v| v == value), "{name}");
            }
            assert!(response.body().is_end_stream());
        }
        let (response, mut stream) = opener.send_head(Request::post("http://a/").body(()).unwrap()).unwrap();
        tokio::task::spawn_local(async move {
            send(&mut stream, large()).await;
            stream.send_trailers(trailers("up")).unwrap();
        });
        let mut received = response.await.unwrap().into_body();
        assert!(body(&mut received).await.unwrap() == large());
        let end = poll_fn(|cx| received.poll_trailers(cx)).await.unwrap().unwrap();
        assert_eq!(end["end"], "up");
        drop((received, opener));
        ended.await.unwrap().unwrap();
    });
}

#[test]
fn both_of_ours_carry_many_streams_at_once() {
    run(|near, far| async move {
        our_echo(far);
        let (opener, connection) = mesh_http2::connect(near, CONFIG);
        tokio::task::spawn_local(connection);
        let mut all = Vec::new();
        // More than the server takes at once.
        for number in 0..250_u32 {
            let (response, mut stream) =
                opener.send_head(Request::post("http://a/").body(()).unwrap()).unwrap();
            all.push(tokio::task::spawn_local(async move {
                let sent = Bytes::from(vec![number as u8; number as usize * 300]);
                let sending = sent.clone();
                tokio::task::spawn_local(async move {
                    send(&mut stream, sending).await;
                    stream.send_data(Bytes::new(), true).unwrap();
                });
                let mut received = response.await.unwrap().into_body();
                assert!(body(&mut received).await.unwrap() == sent, "{number}");
            }));
        }
        for one in all {
            one.await.unwrap();
        }
    });
}

#[test]
fn a_head_in_several_frames_goes_through_both_ways() {
    let long: http::HeaderValue = "x".repeat(50_000).parse().unwrap();
    run(|near, far| async move {
        our_echo(far);
        let (mut client, connection) = h2::client::handshake(near).await.unwrap();
        tokio::task::spawn_local(connection);
        let request = Request::get("http://a/").header("long", &long).body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        // Theirs takes 16 KiB only, and says so by itself.
        assert!(response.await.is_err() || client.ready().await.is_ok());
    });
    let long: http::HeaderValue = "x".repeat(50_000).parse().unwrap();
    run(|near, far| async move {
        our_echo(far);
        let (opener, connection) = mesh_http2::connect(near, CONFIG);
        tokio::task::spawn_local(connection);
        let request = Request::get("http://a/").header("long", &long).body(()).unwrap();
        let response = opener.send(request).unwrap().await.unwrap();
        assert_eq!(response.headers()["long"], long);
    });
}

#[test]
fn resets_mean_the_same_to_both() {
    run(|near, far| async move {
        let (opener, connection) = mesh_http2::connect(near, CONFIG);
        tokio::task::spawn_local(connection);
        let mut server = h2::server::handshake(far).await.unwrap();
        let first = opener.send(Request::get("http://a/").body(()).unwrap()).unwrap();
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        drop(request);
        tokio::task::spawn_local(async move {
            while let Some(Ok((_, mut respond))) = server.accept().await {
                // Until the client gives it up.
                let reason = poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
                assert_eq!(reason, h2::Reason::CANCEL);
            }
        });
        let Err(error) = first.await else { panic!() };
        assert!(error.is_unprocessed() && error.code() == Some(ErrorCode::REFUSED_STREAM));
        let second = opener.send(Request::get("http://a/").body(()).unwrap()).unwrap();
        tokio::task::yield_now().await;
        drop(second);
        tokio::task::yield_now().await;
    });
}

#[test]
fn our_graceful_end_loses_nothing_of_theirs() {
    run(|near, far| async move {
        let (mut client, connection) = h2::client::handshake(near).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        let (response, _) = client.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap();
        let mut server = mesh_http2::serve(far, CONFIG);
        let (_, respond) = poll_fn(|cx| server.poll_accept(cx)).await.unwrap().unwrap();
        server.shut_down();
        let answering = tokio::task::spawn_local(async move {
            tokio::task::yield_now().await;
            respond.send(&Response::new(())).unwrap();
        });
        assert!(poll_fn(|cx| server.poll_accept(cx)).await.is_none());
        answering.await.unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        connection.await.unwrap().unwrap();
    });
}

#[test]
fn a_connection_that_breaks_is_told_to_all_with_its_cause() {
    run(|near, far| async move {
        let (opener, connection) = mesh_http2::connect(near, CONFIG);
        let ended = tokio::task::spawn_local(connection);
        let response = opener.send(Request::get("http://a/").body(()).unwrap()).unwrap();
        tokio::task::yield_now().await;
        drop(far);
        assert!(response.await.is_err());
        // Reading found the end, or writing did.
        ended.await.unwrap().ok();
        assert!(!opener.is_ready());
        let Err(error) = opener.send(Request::get("http://a/").body(()).unwrap()) else { panic!() };
        assert!(error.is_unprocessed());
    });
}

#[test]
fn a_dropped_connection_leaves_nobody_waiting() {
    run(|near, far| async move {
        our_echo(far);
        let (opener, connection) = mesh_http2::connect(near, CONFIG);
        let (response, mut stream) = opener.send_head(Request::post("http://a/").body(()).unwrap()).unwrap();
        drop(connection);
        assert!(response.await.is_err());
        assert!(poll_fn(|cx| stream.poll_room(cx)).await.is_err());
        assert!(matches!(poll_fn(|cx| stream.poll_reset(cx)).await, Error::Closed));
    });
}

#[tokio::test(start_paused = true)]
async fn a_pulse_tells_what_was_heard_and_a_resting_connection_goes_on() {
    let (near, far) = tokio::io::duplex(50_000);
    let tasks = LocalSet::new();
    let test = async move {
        our_echo(far);
        let (opener, connection) = mesh_http2::connect(near, CONFIG);
        let pulse = connection.pulse();
        tokio::task::spawn_local(connection);
        let ask = || opener.send(Request::get("http://a/").body(()).unwrap()).unwrap();
        ask().await.unwrap();
        assert!(pulse.was_heard() && !pulse.was_heard());
        pulse.rest();
        pulse.ask();
        // Time stands still until nothing else is left to do.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(pulse.was_heard(), "the answer to the question");
        ask().await.unwrap();
    };
    tasks.run_until(test).await;
}

/// How a server's connection ends for a client that sends a frame longer than it may be, and goes on for `more` bytes: what
/// it was told, or the error of sending.
async fn told_while_sending(more: usize) -> std::io::Result<Vec<u8>> {
    let (mut near, far) = tokio::io::duplex(4_000);
    let tasks = LocalSet::new();
    let test = async move {
        our_echo(far);
        let too_long =
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b"\x00\xff\xff\0\0\0\0\0\x01"]
                .concat();
        near.write_all(&too_long).await?;
        for _ in 0..more / 1_000 {
            near.write_all(&[0; 1_000]).await?;
        }
        near.shutdown().await?;
        let mut told = Vec::new();
        near.read_to_end(&mut told).await?;
        Ok(told)
    };
    tasks.run_until(test).await
}

#[tokio::test]
async fn a_client_that_goes_on_sending_hears_why_its_connection_ends_unless_it_sends_for_ever() {
    let told = told_while_sending(50_000).await.unwrap();
    // GOAWAY, of the connection, with FRAME_SIZE_ERROR behind the number of the last stream.
    let is_goaway = |frame: &[u8]| frame[3] == 7 && frame[13..17] == [0, 0, 0, 6];
    assert!(told.windows(17).any(is_goaway), "{told:?}");
    assert!(told_while_sending(10_000_000).await.is_err());
}
