//! hyper as an oracle: whatever this crate takes for a message, hyper takes for the same message. The other way round is no
//! promise, as this crate is stricter on purpose.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its tasks end with its runtime"
)]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_http1::{After, Client, Server};
use proptest::prelude::*;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::ready;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A message as it was understood.
type Seen = (String, Vec<(String, Vec<u8>)>, Vec<u8>);

/// The fields in order of their names. A length said twice is said once, as a recipient may take it (RFC 9112 §6.3): this
/// crate always does, hyper not where there is no body.
fn fields(headers: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    fields.sort();
    fields.dedup_by(|later, first| first.0 == "content-length" && later == first);
    fields
}

/// A stream that has all of these bytes and then ends; what is written to it is thrown away.
async fn stream(bytes: &[u8]) -> DuplexStream {
    let (mut other, io) = tokio::io::duplex(1 << 20);
    other.write_all(bytes).await.unwrap();
    other.shutdown().await.unwrap();
    tokio::spawn(async move { other.read_to_end(&mut Vec::new()).await });
    io
}

/// A stream that has all of these bytes once it was asked, and then ends.
async fn answering(bytes: &[u8]) -> DuplexStream {
    let (mut other, io) = tokio::io::duplex(1 << 20);
    let bytes = bytes.to_vec();
    tokio::spawn(async move {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") && other.read_buf(&mut asked).await.unwrap() > 0 {}
        other.write_all(&bytes).await.unwrap();
        other.shutdown().await.unwrap();
        other.read_to_end(&mut Vec::new()).await
    });
    io
}

/// The requests that this crate sees; a body that breaks off ends them.
async fn ours(bytes: &[u8]) -> Vec<Seen> {
    let mut server = Server::new(stream(bytes).await, Bytes::new());
    let mut seen = Vec::new();
    while let Ok(Some(request)) = server.next().await {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { break };
        let line = format!("{} {} {:?}", head.method, head.uri, head.version);
        seen.push((line, fields(&head.headers), body.to_bytes().to_vec()));
        if !matches!(server.exchange(ready(Response::new(Empty::<Bytes>::new()))).await, After::Next) {
            break;
        }
    }
    seen
}

async fn hypers(bytes: &[u8]) -> Vec<Seen> {
    let seen = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let seen = &seen;
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let line = format!("{} {} {:?}", head.method, head.uri, head.version);
                seen.borrow_mut().push((line, fields(&head.headers), body.to_bytes().to_vec()));
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // The end of what is sent is no end of the answers, here.
    builder.half_close(true).serve_connection(TokioIo::new(stream(bytes).await), service).await.ok();
    seen.into_inner()
}

/// The answer that this crate sees.
async fn our_answer(bytes: &[u8]) -> Option<Seen> {
    let mut client = Client::new(answering(bytes).await);
    let request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    let answer = client.send(request, |_interim| {}).await.ok()?;
    let (head, body) = answer.response.into_parts();
    let body = body.collect().await.ok()?.to_bytes().to_vec();
    Some((format!("{} {:?}", head.status, head.version), fields(&head.headers), body))
}

async fn hypers_answer(bytes: &[u8]) -> Option<Seen> {
    let io = TokioIo::new(answering(bytes).await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
    tokio::spawn(connection);
    let response = sender.send_request(Request::get("/").body(Empty::<Bytes>::new()).unwrap()).await.ok()?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes().to_vec();
    Some((format!("{} {:?}", head.status, head.version), fields(&head.headers), body))
}

/// Parts of messages, good and bad, of which any sequence may come.
fn text(parts: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(parts), 0..14).prop_map(|parts| parts.concat())
}

const REQUEST: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /p HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "GET / HTTP/1.1\n",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 10\r\n",
    "Content-Length: +3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "X : y\r\n",
    "X: y\n",
    " folded\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "abc",
    "3\r\nabc\r\n",
    "3;x=y\r\nabc\r\n",
    "3\nabc\n",
    "0\r\n\r\n",
    "0\r\nT: u\r\n\r\n",
    "0x3\r\n",
];

const ANSWER: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204 \r\n",
    "HTTP/1.1 304 No\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0 200 OK\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 4\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: close\r\n",
    "X: y\n",
    "\r\n",
    "\r\n",
    "abc",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
];

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A request with a body in one of the ways there are.
fn valid() -> impl Strategy<Value = String> {
    let body = proptest::collection::vec("[ -~]{1,30}", 0..4);
    ("[a-z/]{0,10}", any::<bool>(), body).prop_map(|(path, chunked, parts)| {
        if chunked {
            let chunks: String = parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect();
            format!("POST /{path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
        } else {
            let body = parts.concat();
            format!("PUT /{path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_taken_for_requests_is_the_same_for_hyper(text in text(REQUEST)) {
        let (ours, hypers) = run(async { (ours(text.as_bytes()).await, hypers(text.as_bytes()).await) });
        prop_assert!(hypers.starts_with(&ours), "ours: {ours:?}\nhyper's: {hypers:?}");
    }

    #[test]
    fn what_is_taken_for_an_answer_is_the_same_for_hyper(text in text(ANSWER)) {
        let (ours, hypers) =
            run(async { (our_answer(text.as_bytes()).await, hypers_answer(text.as_bytes()).await) });
        if ours.is_some() {
            prop_assert_eq!(ours, hypers);
        }
    }

    #[test]
    fn valid_requests_are_all_taken(requests in proptest::collection::vec(valid(), 1..5)) {
        let text = requests.concat();
        let (ours, hypers) = run(async { (ours(text.as_bytes()).await, hypers(text.as_bytes()).await) });
        prop_assert_eq!(ours.len(), requests.len());
        prop_assert_eq!(ours, hypers);
    }

    #[test]
    fn any_bytes_end_somewhere(bytes: Vec<u8>) {
        run(async {
            ours(&bytes).await;
            our_answer(&bytes).await;
        });
    }
}
