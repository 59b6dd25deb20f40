//! A server against clients that are bytes: what is read as a request, how answers are framed, and when it ends.

use super::*;
use crate::error::BodyError;
use crate::world::{Frames, pair, until};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use std::cell::Cell;
use std::future::{pending, ready};
use tokio::task::{LocalSet, spawn_local, yield_now};

fn full(text: &'static str) -> Full<Bytes> {
    Full::new(Bytes::from_static(text.as_bytes()))
}

fn well() -> Response<Full<Bytes>> {
    Response::new(full("well"))
}

async fn body<IO: AsyncRead + AsyncWrite + Unpin>(
    request: Request<Incoming<IO>>,
) -> Result<Bytes, BodyError> {
    Ok(request.into_body().collect().await?.to_bytes())
}

/// What is answered to this request by this answer, and whether the connection stays.
async fn answered<B>(request: &str, answer: Response<B>) -> (String, bool)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (mut client, io) = pair();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut server = Server::new(io, Bytes::new());
    drop(server.next().await.unwrap().unwrap());
    let stays = match server.exchange(ready(answer)).await {
        After::Next => true,
        After::Close => false,
        other @ (After::Switched | After::Gone(_) | After::Broken(_)) => panic!("{other:?}"),
    };
    drop(server);
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    (got, stays)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn an_answer_is_delimited_as_its_request_and_its_head_say() {
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("sum", "1".parse().unwrap());
        trailers.insert("host", "b".parse().unwrap());
        Frame::trailers(trailers)
    };
    let data = || Frame::data(Bytes::from_static(b"well"));
    let streamed = |frames: Vec<Frame<Bytes>>| Response::new(Frames::of(frames));
    let with = |name: &'static str, value: &'static str, frames| {
        let mut response = streamed(frames);
        response.headers_mut().insert(name, value.parse().unwrap());
        response
    };
    let status = |status: u16, mut response: Response<Frames>| {
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    let h10 = "GET / HTTP/1.0\r\n\r\n";
    for (request, response, expected) in [
        (GET, streamed(vec![data()]), "200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n"),
        (
            GET,
            streamed(vec![data(), trailers()]),
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\nsum: 1\r\n\r\n",
        ),
        (GET, with("content-length", "4", vec![data()]), "200 OK\r\ncontent-length: 4\r\n\r\nwell"),
        // What is more than that is no part of the message.
        (GET, with("content-length", "2", vec![data()]), "200 OK\r\ncontent-length: 2\r\n\r\nwe"),
        (
            GET,
            with("content-length", "x", vec![data()]),
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n",
        ),
        (
            GET,
            with("transfer-encoding", "gzip", vec![data()]),
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n",
        ),
        (
            "HEAD / HTTP/1.1\r\n\r\n",
            with("content-length", "4", vec![]),
            "200 OK\r\ncontent-length: 4\r\n\r\n",
        ),
        (
            GET,
            status(304, with("content-length", "4", vec![])),
            "304 Not Modified\r\ncontent-length: 4\r\n\r\n",
        ),
        (GET, status(204, with("content-length", "4", vec![])), "204 No Content\r\n\r\n"),
        (GET, status(299, with("content-length", "0", vec![])), "299 \r\ncontent-length: 0\r\n\r\n"),
    ] {
        let (got, stays) = answered(request, response).await;
        assert_eq!(got, format!("HTTP/1.1 {expected}"), "{request}");
        assert!(stays);
    }
    let (got, stays) = answered(h10, streamed(vec![data()])).await;
    assert_eq!((got.as_str(), stays), ("HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nwell", false));
    let (got, stays) = answered(GET, Response::new(Empty::<Bytes>::new())).await;
    assert_eq!((got.as_str(), stays), ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true));
}

/// RFC 9112 §9.3.
#[tokio::test]
async fn a_connection_stays_as_both_ends_want() {
    for (request, connection, stays, field) in [
        ("GET / HTTP/1.1\r\n\r\n", None, true, ""),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", None, false, "connection: close\r\n"),
        ("GET / HTTP/1.1\r\nConnection: keep-alive, x\r\n\r\n", None, true, ""),
        ("GET / HTTP/1.0\r\n\r\n", None, false, "connection: close\r\n"),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", None, true, "connection: keep-alive\r\n"),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", None, false, "connection: close\r\n"),
        ("GET / HTTP/1.1\r\n\r\n", Some("close"), false, "connection: close\r\n"),
        ("GET / HTTP/1.1\r\n\r\n", Some("x-hop"), true, ""),
    ] {
        let mut answer = well();
        if let Some(connection) = connection {
            answer.headers_mut().insert("connection", connection.parse().unwrap());
        }
        let (got, stayed) = answered(request, answer).await;
        assert_eq!(stayed, stays, "{request}");
        let end = format!("content-length: 4\r\n{field}\r\nwell");
        assert!(got.ends_with(&end), "{request}: {got}");
    }
}

#[tokio::test]
async fn a_head_and_the_body_it_has_leave_in_one_write() {
    let (mut client, io) = pair();
    let writes = io.writes.clone();
    let mut server = Server::new(io, Bytes::new());
    for (length, chunked) in [(4, false), (10_000, false), (4, true), (10_000, true)] {
        client.write_all(GET.as_bytes()).await.unwrap();
        server.next().await.unwrap();
        writes.set(0);
        let data = Frame::data(Bytes::from(vec![b'x'; length]));
        let mut response = Response::new(Frames::of([data]));
        if !chunked {
            response.headers_mut().insert("content-length", length.into());
        }
        assert!(matches!(server.exchange(ready(response)).await, After::Next));
        assert_eq!(writes.get(), 1, "{length} {chunked}");
    }
}

#[tokio::test]
async fn what_a_body_has_is_written_before_the_rest_is_awaited() {
    let (mut client, io) = pair();
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut server = Server::new(io, Bytes::new());
    server.next().await.unwrap();
    let body = Frames::default();
    let given = body.given();
    given.data("one");
    let exchange = server.exchange(ready(Response::new(body)));
    let reader = async {
        until(&mut client, "3\r\none\r\n").await;
        given.data("two");
        until(&mut client, "3\r\ntwo\r\n").await;
        given.end();
        until(&mut client, "0\r\n\r\n").await;
    };
    let (after, ()) = tokio::join!(exchange, reader);
    assert!(matches!(after, After::Next));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let (mut client, io) = pair();
    let read = "POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\n\
                Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\nGET /4 HT";
    let mut server = Server::new(io, Bytes::from_static(read.as_bytes()));
    let mut seen = Vec::new();
    for _ in 0..4 {
        if seen.len() == 3 {
            client.write_all(b"TP/1.1\r\n\r\n").await.unwrap();
        }
        let request = server.next().await.unwrap().unwrap();
        let path = request.uri().path().to_owned();
        seen.push((path, body(request).await.unwrap()));
        assert!(matches!(server.exchange(ready(well())).await, After::Next));
    }
    let seen: Vec<_> = seen.iter().map(|(path, body)| (path.as_str(), &body[..])).collect();
    assert_eq!(seen, [("/1", &b"abc"[..]), ("/2", b""), ("/3", b"de"), ("/4", b"")]);
}

#[tokio::test]
async fn continue_is_said_when_the_body_is_first_read_and_not_otherwise() {
    let head = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let (mut client, io) = pair();
    client.write_all(head.as_bytes()).await.unwrap();
    let mut server = Server::new(io, Bytes::new());
    let request = server.next().await.unwrap().unwrap();
    let asked = async {
        assert_eq!(until(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"body").await.unwrap();
        let answer = until(&mut client, "well").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    };
    let answer = Box::pin(async {
        assert_eq!(body(request).await.unwrap(), "body");
        well()
    });
    let (after, ()) = tokio::join!(server.exchange(answer), asked);
    assert!(matches!(after, After::Next));
    // Not read: whether the body follows nobody knows.
    let (got, stays) = answered(head, well()).await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains("connection: close\r\n"), "{got}");
    assert!(!stays);
    // It came without waiting.
    let (got, stays) = answered(&format!("{head}body"), well()).await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && stays, "{got}");
}

/// RFC 9110 §15.2.
#[tokio::test]
async fn what_comes_before_the_answer_leaves_at_once_but_not_to_http_1_0_nor_after_it_has_begun() {
    let head = || Response::builder().status(103).header("link", "x").header("content-length", "5");
    let hint = || head().header("connection", "close").body(()).unwrap();
    let (mut client, io) = pair();
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut server = Server::new(io, Bytes::new());
    server.next().await.unwrap();
    let (interim, late, (tell, told)) = (server.interim(), server.interim(), tokio::sync::oneshot::channel());
    let answer = Box::pin(async {
        interim.send(hint());
        told.await.unwrap();
        well()
    });
    let asked = async {
        assert_eq!(until(&mut client, "\r\n\r\n").await, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
        tell.send(()).unwrap();
        let answer = until(&mut client, "well").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    };
    let (after, ()) = tokio::join!(server.exchange(answer), asked);
    assert!(matches!(after, After::Next));
    late.send(hint());
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    server.next().await.unwrap();
    late.send(hint());
    assert!(matches!(server.exchange(ready(well())).await, After::Close));
    assert!(until(&mut client, "well").await.starts_with("HTTP/1.0 200 OK\r\n"));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    struct Gone(Rc<Cell<bool>>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    for request in [GET, "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"] {
        let (mut client, io) = pair();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = Server::new(io, Bytes::new());
        server.next().await.unwrap();
        let cancelled = Rc::new(Cell::new(false));
        let guard = Gone(cancelled.clone());
        let answer = Box::pin(async {
            let _guard = guard;
            pending::<Response<Full<Bytes>>>().await
        });
        let going = async {
            yield_now().await;
            assert!(!cancelled.get());
            drop(client);
        };
        let (after, ()) = tokio::join!(server.exchange(answer), going);
        assert!(matches!(after, After::Gone(_)), "{after:?}");
        assert!(cancelled.get());
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_an_answer_that_streams() {
    let (mut client, io) = pair();
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut server = Server::new(io, Bytes::new());
    server.next().await.unwrap();
    let exchange = server.exchange(ready(Response::new(Frames::default())));
    let going = async {
        until(&mut client, "\r\n\r\n").await;
        drop(client);
    };
    let (after, ()) = tokio::join!(exchange, going);
    assert!(matches!(after, After::Gone(_)), "{after:?}");
}

#[tokio::test]
async fn a_body_nobody_wants_is_drained_or_ends_the_connection() {
    for (length, is_drained) in [(10_000, true), (DRAINED_MAX, true), (DRAINED_MAX + 1, false)] {
        let (mut client, io) = pair();
        let mut server = Server::new(io, Bytes::new());
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let request = server.next().await.unwrap().unwrap();
        drop(request);
        assert!(matches!(server.exchange(ready(well())).await, After::Next));
        client.write_all(&vec![b'x'; length]).await.unwrap();
        client.write_all(GET.as_bytes()).await.unwrap();
        assert!(server.has_begun());
        let next = server.next().await.unwrap();
        assert_eq!(next.is_some(), is_drained, "{length}");
        if !is_drained {
            let client = async move {
                client.write_all(&[b'x'; 5000]).await.unwrap();
                let mut got = String::new();
                client.read_to_string(&mut got).await.unwrap();
                assert!(got.ends_with("well"), "{got}");
            };
            // It waits for the client's end, however much it sends.
            tokio::join!(server.close(), client);
        }
    }
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffer() {
    let (mut client, io) = pair();
    let mut server = Server::new(io, Bytes::new());
    client.write_all(GET.as_bytes()).await.unwrap();
    server.next().await.unwrap();
    assert!(matches!(server.exchange(ready(well())).await, After::Next));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(server.poll_next(&mut cx).is_pending());
    let state = server.shared.state.borrow();
    assert_eq!(state.reader.buffer.capacity(), 0);
    assert!(!server.has_begun());
}

#[tokio::test]
async fn what_is_no_request_can_be_answered_and_ends_the_connection() {
    for (bytes, expected) in [
        ("\x16\x03\x01\x02\x00", BadHead::NotHttp),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            BadHead::LengthAndCoding,
        ),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", BadHead::Coding),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", BadHead::Length),
    ] {
        let (mut client, io) = pair();
        client.write_all(bytes.as_bytes()).await.unwrap();
        let mut server = Server::new(io, Bytes::new());
        match server.next().await {
            Err(HeadError::Bad(bad)) => assert_eq!(bad, expected),
            other => panic!("{other:?}"),
        }
        assert!(matches!(server.exchange(ready(well())).await, After::Close));
        let reading = async {
            let got = until(&mut client, "well").await;
            assert!(got.contains("connection: close\r\n"), "{got}");
            drop(client);
        };
        tokio::join!(server.close(), reading);
    }
    let (mut client, io) = pair();
    client.write_all(b"GET / HT").await.unwrap();
    drop(client);
    assert!(matches!(Server::new(io, Bytes::new()).next().await, Err(HeadError::Closed)));
}

#[tokio::test]
async fn an_upgraded_connection_becomes_its_stream_and_what_was_read() {
    let upgrade = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nahead";
    for (request, status) in [(upgrade, 101), ("CONNECT a:1 HTTP/1.1\r\n\r\nahead", 200)] {
        let (mut client, io) = pair();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = Server::new(io, Bytes::new());
        let mut request = server.next().await.unwrap().unwrap();
        let upgraded = request.body_mut().take_upgrade().unwrap();
        let mut answer = Response::new(Empty::<Bytes>::new());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
        let (after, upgraded) = tokio::join!(server.exchange(ready(answer)), upgraded);
        assert!(matches!(after, After::Switched));
        drop((server, request));
        let mut upgraded = upgraded.unwrap();
        assert_eq!(upgraded.read, "ahead");
        let head = until(&mut client, "\r\n\r\n").await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")) && !head.contains("content-length"),
            "{head}"
        );
        upgraded.io.write_all(b"on").await.unwrap();
        assert_eq!(until(&mut client, "on").await, "on");
    }
}

#[tokio::test]
async fn an_upgrade_that_is_refused_comes_to_nothing() {
    let (mut client, io) = pair();
    client.write_all(b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await.unwrap();
    let mut server = Server::new(io, Bytes::new());
    let mut request = server.next().await.unwrap().unwrap();
    let upgraded = request.body_mut().take_upgrade().unwrap();
    let (after, upgraded) = tokio::join!(server.exchange(ready(well())), upgraded);
    assert!(matches!(after, After::Next) && upgraded.is_none());
    // And nobody changes what nobody asked to change.
    client.write_all(GET.as_bytes()).await.unwrap();
    assert!(server.next().await.unwrap().unwrap().body_mut().take_upgrade().is_none());
    let mut answer = well();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    assert!(matches!(server.exchange(ready(answer)).await, After::Close));
}

#[tokio::test]
async fn another_task_may_read_the_body_while_the_answer_leaves() {
    let promise = async {
        let (mut client, io) = pair();
        client.write_all(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await.unwrap();
        let mut server = Server::new(io, Bytes::new());
        let request = server.next().await.unwrap().unwrap();
        let frames = Frames::default();
        let given = frames.given();
        let reading = spawn_local(async move {
            let read = body(request).await.unwrap();
            given.data("seen");
            given.end();
            read
        });
        let writing = async {
            until(&mut client, "\r\n\r\n").await;
            client.write_all(b"1\r\nb\r\n0\r\n\r\n").await.unwrap();
            until(&mut client, "4\r\nseen\r\n0\r\n\r\n").await;
            // The body's end is also when the next request can come.
            client.write_all(GET.as_bytes()).await.unwrap();
        };
        let (after, ()) = tokio::join!(server.exchange(ready(Response::new(frames))), writing);
        assert!(matches!(after, After::Next));
        assert_eq!(reading.await.unwrap(), "ab");
        assert!(server.next().await.unwrap().is_some());
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn a_client_that_goes_away_after_its_body_was_read_elsewhere_is_noticed() {
    let promise = async {
        let (mut client, io) = pair();
        client.write_all(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await.unwrap();
        let mut server = Server::new(io, Bytes::new());
        let request = server.next().await.unwrap().unwrap();
        let reading = spawn_local(body(request));
        let serving = spawn_local(async move { server.exchange(pending::<Response<Full<Bytes>>>()).await });
        yield_now().await;
        client.write_all(b"0\r\n\r\n").await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), "a");
        drop(client);
        assert!(matches!(serving.await.unwrap(), After::Gone(_)));
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn a_body_whose_exchange_is_over_reads_nothing_of_the_next() {
    let (mut client, io) = pair();
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na").await.unwrap();
    let mut server = Server::new(io, Bytes::new());
    let stale = server.next().await.unwrap().unwrap();
    assert!(matches!(server.exchange(ready(well())).await, After::Next));
    client.write_all(b"bPOST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nc").await.unwrap();
    let fresh = server.next().await.unwrap().unwrap();
    assert!(matches!(body(stale).await, Err(BodyError::Over)));
    client.write_all(b"d").await.unwrap();
    assert_eq!(body(fresh).await.unwrap(), "cd");
}

#[tokio::test]
async fn an_answer_that_breaks_off_looks_like_it() {
    let length = |length: u64| {
        let mut response = Response::new(Frames::of([Frame::data(Bytes::from_static(b"abc"))]));
        response.headers_mut().insert("content-length", length.into());
        response
    };
    let (mut client, io) = pair();
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut server = Server::new(io, Bytes::new());
    server.next().await.unwrap();
    assert!(matches!(server.exchange(ready(length(4))).await, After::Broken(_)));
    drop(server);
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert!(got.ends_with("content-length: 4\r\n\r\nabc"), "{got}");
}
