//! A client against servers that are bytes: what is sent, what is read, and what is said of a connection that broke.

use super::*;
use crate::error::BodyError;
use crate::world::{Counted, Frames, Given, pair, until};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use std::io;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::task::{LocalSet, spawn_local, yield_now};

fn get() -> Request<Full<Bytes>> {
    Request::get("/").header("host", "a").body(Full::default()).unwrap()
}

fn ignored(_interim: Response<()>) {}

fn connected() -> (DuplexStream, Client<Counted>) {
    let (server, io) = pair();
    (server, Client::new(io))
}

/// The answer to a request with this method when these bytes come back, and what the connection is good for afterwards.
async fn asked(
    method: Method,
    bytes: &str,
    closes: bool,
) -> Result<(u16, Result<Bytes, BodyError>, bool), String> {
    let (mut server, mut client) = connected();
    server.write_all(bytes.as_bytes()).await.unwrap();
    if closes {
        server.shutdown().await.unwrap();
    }
    let mut request = get();
    *request.method_mut() = method;
    let answer = client.send(request, ignored).await.map_err(|failure| failure.error.to_string())?;
    assert!(answer.rest.is_none());
    let status = answer.response.status().as_u16();
    let body = answer.response.into_body().collect().await.map(|body| body.to_bytes());
    drop(server);
    Ok((status, body, client.is_reusable()))
}

/// RFC 9112 §6.3, §9.3.
#[tokio::test]
async fn an_answer_ends_where_it_says_and_the_connection_is_kept_if_that_is_sure() {
    let get = || Method::GET;
    for (method, bytes, status, body, is_kept) in [
        (get(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true),
        (get(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", true),
        (get(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", 200, "ok", false),
        (get(), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false),
        (get(), "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false),
        (get(), "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true),
        (get(), "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        (get(), "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 204, "", false),
        (get(), "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, "", true),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 200, "", true),
        (
            get(),
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
            "",
            true,
        ),
    ] {
        let (got, got_body, kept) = asked(method, bytes, false).await.unwrap();
        assert_eq!((got, &got_body.unwrap()[..], kept), (status, body.as_bytes(), is_kept), "{bytes:?}");
    }
    let (_, body, is_kept) = asked(get(), "HTTP/1.1 200 OK\r\n\r\nall of it", true).await.unwrap();
    assert_eq!((&body.unwrap()[..], is_kept), (&b"all of it"[..], false));
}

/// RFC 9110 §15.2.
#[tokio::test]
async fn what_comes_before_the_answer_is_given_out_as_it_comes() {
    let (mut server, mut client) = connected();
    let heads = Rc::new(std::cell::RefCell::new(Vec::new()));
    let noted = heads.clone();
    let mut asking = client.send(get(), move |head: Response<()>| {
        noted.borrow_mut().push((head.status().as_u16(), head.headers().len()));
    });
    for (bytes, seen) in [
        ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1", 2),
        (" 100 Continue\r\n\r\n", 3),
    ] {
        server.write_all(bytes.as_bytes()).await.unwrap();
        let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut asking).poll(cx)));
        assert!(polled.await.is_pending());
        assert_eq!(heads.borrow().len(), seen);
    }
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    assert_eq!(asking.await.unwrap().response.status(), 200);
    assert_eq!(*heads.borrow(), [(103, 1), (102, 0), (100, 0)]);
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    for (bytes, part) in [
        ("-ERR unknown command\r\n", "version"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "both"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "coding"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "Content-Length"),
        ("HTTP/1.1 200", "closed"),
        ("", "closed"),
    ] {
        let error = asked(Method::GET, bytes, true).await.unwrap_err();
        assert!(error.contains(part), "{bytes:?}: {error}");
    }
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(40);
    assert!(asked(Method::GET, &endless, false).await.is_err());
}

#[tokio::test]
async fn a_body_that_ends_too_soon_is_an_error() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nok\r\n",
    ] {
        let (_, body, is_kept) = asked(Method::GET, bytes, true).await.unwrap();
        assert!(matches!(body, Err(BodyError::Closed | BodyError::Invalid(_))), "{body:?}");
        assert!(!is_kept);
    }
}

#[tokio::test]
async fn a_request_leaves_in_one_write_in_the_form_its_target_has() {
    let (mut server, io) = pair();
    let writes = io.writes.clone();
    let mut client = Client::new(io);
    let post = |body: &'static str| Request::post("/p?q").body(Full::from(body)).unwrap();
    let large: &'static str = "x".repeat(10_000).leak();
    for (request, expected) in [
        (get(), "GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        (post(""), "POST /p?q HTTP/1.1\r\ncontent-length: 0\r\n\r\n".to_owned()),
        (post("ab"), "POST /p?q HTTP/1.1\r\ncontent-length: 2\r\n\r\nab".to_owned()),
        (post(large), format!("POST /p?q HTTP/1.1\r\ncontent-length: 10000\r\n\r\n{large}")),
        (
            Request::get("http://a:1").body(Full::default()).unwrap(),
            "GET http://a:1/ HTTP/1.1\r\n\r\n".to_owned(),
        ),
        (Request::options("*").body(Full::default()).unwrap(), "OPTIONS * HTTP/1.1\r\n\r\n".to_owned()),
    ] {
        writes.set(0);
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        client.send(request, ignored).await.unwrap();
        assert_eq!(writes.get(), 1, "{expected}");
        assert_eq!(until(&mut server, &expected).await, expected);
        assert!(client.is_open());
    }
}

#[tokio::test]
async fn a_body_without_a_length_goes_in_chunks_with_its_trailers() {
    let (mut server, mut client) = connected();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("sum", "1".parse().unwrap());
    let body = Frames::of([Frame::data(Bytes::from_static(b"ab")), Frame::trailers(trailers)]);
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    client.send(Request::post("/").body(body).unwrap(), ignored).await.unwrap();
    let expected = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nsum: 1\r\n\r\n";
    assert_eq!(until(&mut server, "1\r\n\r\n").await, expected);
}

#[tokio::test]
async fn a_connection_that_was_closed_or_spoke_by_itself_is_not_open() {
    let (mut server, client) = connected();
    assert!(client.is_open());
    server.write_all(b"H").await.unwrap();
    assert!(!client.is_open());
    let (server, client) = connected();
    drop(server);
    assert!(!client.is_open());
}

#[tokio::test]
async fn a_request_of_which_nothing_was_sent_is_given_back() {
    let (_server, io) = pair();
    io.fails.set(true);
    let mut client = Client::new(io);
    let failure = client.send(get(), ignored).await.unwrap_err();
    assert!(matches!(failure.error, SendError::Unsent(_)));
    assert_eq!(failure.unsent.unwrap().headers()["host"], "a");
    // Its body was read: what is given back would not be the request.
    let (_server, io) = pair();
    io.fails.set(true);
    let failure =
        Client::new(io).send(Request::post("/").body(Full::from("a")).unwrap(), ignored).await.unwrap_err();
    assert!(matches!(failure.error, SendError::Unsent(_)) && failure.unsent.is_none());
}

#[tokio::test]
async fn an_answer_to_a_request_that_can_not_be_sent_any_more_is_read() {
    let (mut server, io) = pair();
    let fails = io.fails.clone();
    let mut client = Client::new(io);
    let body = Frames::default();
    let given = body.given();
    given.data("a");
    let asking = client.send(Request::post("/").body(body).unwrap(), ignored);
    let answering = async {
        until(&mut server, "a\r\n").await;
        fails.set(true);
        given.data("b");
        yield_now().await;
        server.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.unwrap().response.status(), 413);
    assert!(!client.is_reusable());
}

/// A request that streams, its body's handle, and an answer that came meanwhile.
async fn early(
    server: &mut DuplexStream,
    client: &mut Client<Counted>,
) -> (std::rc::Rc<Given>, Answer<Counted, Frames>) {
    let body = Frames::default();
    let given = body.given();
    given.data("a");
    let asking = client.send(Request::post("/").body(body).unwrap(), ignored);
    let answering = async {
        until(server, "1\r\na\r\n").await;
        server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    };
    let (answer, ()) = tokio::join!(asking, answering);
    (given, answer.unwrap())
}

#[tokio::test]
async fn an_answer_may_begin_before_its_request_has_ended() {
    let promise = async {
        let (mut server, mut client) = connected();
        let (given, answer) = early(&mut server, &mut client).await;
        let rest = spawn_local(answer.rest.unwrap());
        let mut body = answer.response.into_body();
        given.data("b");
        until(&mut server, "1\r\nb\r\n").await;
        server.write_all(b"2\r\nok\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
        assert!(body.is_end_stream() && !client.is_reusable());
        given.end();
        rest.await.unwrap();
        until(&mut server, "0\r\n\r\n").await;
        assert!(client.is_reusable());
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn a_request_whose_body_breaks_breaks_its_answer() {
    let (mut server, mut client) = connected();
    let (_given, answer) = early(&mut server, &mut client).await;
    let Rest { shared, .. } = answer.rest.unwrap();
    let reading = async { answer.response.into_body().frame().await.unwrap().unwrap_err() };
    let breaking = async {
        yield_now().await;
        shared.close(Some(io::Error::other("the downstream broke").into()));
    };
    let (error, ()) = tokio::join!(reading, breaking);
    assert!(matches!(error, BodyError::Request(_)), "{error:?}");
}

#[tokio::test]
async fn a_dropped_client_is_no_end_of_its_answers_body() {
    let (mut server, mut client) = connected();
    server.write_all(b"HTTP/1.1 200 OK\r\n\r\npart").await.unwrap();
    let mut body = client.send(get(), ignored).await.unwrap().response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "part");
    drop(client);
    assert!(matches!(body.frame().await, Some(Err(BodyError::Over))));
}

#[tokio::test]
async fn a_switched_connection_becomes_its_stream_and_what_was_read() {
    let (mut server, mut client) = connected();
    server.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nahead").await.unwrap();
    let answer = client.send(get(), ignored).await.unwrap();
    assert_eq!(answer.response.status(), 101);
    assert!(!client.is_reusable());
    let mut upgraded = client.into_upgraded().unwrap();
    assert_eq!(upgraded.read, "ahead");
    until(&mut server, "\r\n\r\n").await;
    upgraded.io.write_all(b"on").await.unwrap();
    assert_eq!(until(&mut server, "on").await, "on");
}
