//! Applications beside a sidecar, and the clients in front of one.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_mtls::ApiAcceptor;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Body = BoxBody<Bytes, Infallible>;

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port nobody listens on.
pub(crate) async fn nobody() -> SocketAddr {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    // Bound for as long as the test runs, so that nobody else gets it; never listening.
    std::mem::forget(socket);
    address
}

/// An HTTP server that says what it saw: method, path, host, the caller's identity, and the body.
pub(crate) async fn http_echo(word: &'static str) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_http(stream, word));
        }
    });
    address
}

/// Serves one connection of it.
pub(crate) async fn serve_http(stream: TcpStream, word: &'static str) {
    let service = service_fn(move |request| echo(word, request));
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    server.serve_connection_with_upgrades(TokioIo::new(stream), service).await.ok();
}

/// The same behind TLS, as this place outside of the mesh.
pub(crate) async fn https_echo(word: &'static str, place: ApiAcceptor) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let place = place.clone();
            tokio::spawn(async move {
                let Ok(stream) = place.accept(stream).await else { return };
                let service = service_fn(move |request| echo(word, request));
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                server.serve_connection_with_upgrades(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    address
}

async fn echo(word: &'static str, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.headers().contains_key("upgrade") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut line = [0; 5];
            while stream.read_exact(&mut line).await.is_ok() {
                stream.write_all(&line).await.unwrap();
            }
        });
        let response =
            Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        return Ok(response.body(full("")).unwrap());
    }
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or("-");
    let host = head.uri.authority().map_or(header("host"), |a| a.as_str());
    let text = format!(
        "{word} {} {} {:?} host={host} from={} hop={} ",
        head.method,
        head.uri.path(),
        head.version,
        header("x-forwarded-client-cert"),
        header("outrigger-http"),
    );
    let is_grpc = header("content-type") == "application/grpc";
    let path = head.uri.path().to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    let mut response = Response::builder();
    if let Some(status) = path.strip_prefix("/status/") {
        response = response.status(status.parse::<u16>().unwrap());
    }
    if is_grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
        return Ok(response.header("content-type", "application/grpc").body(body).unwrap());
    }
    let mut all = text.into_bytes();
    all.extend_from_slice(&body);
    Ok(response.header("keep-alive", "timeout=5").body(full(all)).unwrap())
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn reason(&self) -> &str {
        self.headers.get("outrigger-reason").map_or("", |v| v.to_str().unwrap())
    }
}

/// Asks once over a new connection of this HTTP version.
pub(crate) async fn ask(address: SocketAddr, version: Version, mut request: Request<Body>) -> Got {
    if version == Version::HTTP_11
        && let Some(authority) = request.uri().authority().cloned()
    {
        request.headers_mut().entry("host").or_insert(HeaderValue::from_str(authority.as_str()).unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    let response = if version == Version::HTTP_2 {
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Got { status: head.status.as_u16(), headers: head.headers, trailers, text }
}

/// A GET of `path` at `host`, over HTTP/1.1.
pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> Got {
    let request = Request::builder().uri(path).header("host", host).body(full("")).unwrap();
    ask(address, Version::HTTP_11, request).await
}

/// Asks until the answer is as expected: a published snapshot reaches the workers soon, not at once.
pub(crate) async fn eventually(address: SocketAddr, host: &str, expected: impl Fn(&Got) -> bool) -> Got {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let got = get(address, host, "/x").await;
        if expected(&got) {
            return got;
        }
        assert!(tokio::time::Instant::now() < deadline, "still {got:?}");
    }
}

/// Sends bytes as they are and reads the head of the answer.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}
