//! The HTTP origin: HTTP/1.1 and HTTP/2 by prior knowledge on one port. A request enters; an answer leaves that names
//! the instance in `x-instance`. Paths are listed in [`answer`].

use super::misbehave::{Failures, Misbehave, Slowness};
use super::{Listen, listen};
use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Streams one HTTP/2 client may have open on a connection.
const MAX_CONCURRENT_STREAMS: u32 = 1000;
/// Flow-control windows of a stream and of a connection: enough for 10 KiB bodies on a hundred streams.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Largest body made by `/bytes/N`.
const LARGEST_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Longest wait of `/delay/MS`.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The header in which each answer names the instance that gave it.
pub const X_INSTANCE: HeaderName = HeaderName::from_static("x-instance");

/// The flags of the HTTP server.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    misbehave: Misbehave,
    /// Length of the body of GET /
    #[arg(long, default_value_t = 100)]
    body_bytes: usize,
}

/// A body answered: fixed, or streamed.
pub type AnswerBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, hyper::Error>>;

/// What one serving thread answers from.
struct Site {
    options: Options,
    name: HeaderValue,
    page: Bytes,
    failures: Failures,
    slowness: Slowness,
}

/// Serves until a signal.
///
/// # Errors
/// The address cannot be bound, or the name cannot stand in a header.
pub fn run(options: Options) -> Result<()> {
    let listening = options.listen.clone();
    listen::serve(&listening, listen::Accept::Concurrently, move || {
        let site = Rc::new(Site {
            name: HeaderValue::from_str(&options.listen.name)?,
            page: page(&options.listen.name, options.body_bytes),
            failures: options.misbehave.failures(),
            slowness: options.misbehave.slowness(),
            options: options.clone(),
        });
        Ok(move |stream, drain| {
            let site = site.clone();
            let service = hyper::service::service_fn(move |request| {
                let site = site.clone();
                async move { Ok::<_, Infallible>(answer(&site, request).await) }
            });
            serve_connection(stream, service, drain)
        })
    })
}

/// The body of `GET /`: the instance's name, then dots up to `bytes`. A client that knows the name can check each byte.
pub fn page(name: &str, bytes: usize) -> Bytes {
    let mut page = name.as_bytes().to_vec();
    page.resize(bytes.max(1), b'.');
    page.into()
}

/// Serves HTTP on one connection until it ends; drains it (`connection: close`, GOAWAY) when asked to.
pub async fn serve_connection<S, B>(stream: TcpStream, service: S, drain: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>> + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(LocalExecutor);
    builder
        .http2()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // How a client ends its connection is its own business.
    tokio::select! {
        ended = connection.as_mut() => return drop(ended),
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.ok();
}

/// Runs what hyper spawns on the thread it serves on.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// Answers one request:
/// `/echo` the request's body and trailers, `/status/N`, `/delay/MS`, `/bytes/N`, `/headers` the request as JSON,
/// `/trailers` a body with the trailer `x-checksum`, `/grpc-status/N` a gRPC answer whose trailers say so; any other path a page of known content. An upgrade request on
/// any path is accepted and echoed.
async fn answer(site: &Site, request: Request<Incoming>) -> Response<AnswerBody> {
    if let Some(delay) = site.options.misbehave.delay() {
        tokio::time::sleep(delay).await;
    }
    if let Some(late) = site.slowness.next() {
        tokio::time::sleep(late).await;
    }
    let mut response = if site.failures.next_fails() {
        text(StatusCode::SERVICE_UNAVAILABLE, "failing as asked by --fail-rate\n".to_owned())
    } else if request.headers().contains_key(UPGRADE) {
        upgrade(request)
    } else {
        respond(site, request).await
    };
    response.headers_mut().insert(X_INSTANCE, site.name.clone());
    response
}

async fn respond(site: &Site, request: Request<Incoming>) -> Response<AnswerBody> {
    let path = request.uri().path();
    let mut segments = path.trim_start_matches('/').splitn(2, '/');
    match (segments.next(), segments.next()) {
        (Some("echo"), None) => echo(request),
        (Some("headers"), None) => headers(&request),
        (Some("trailers"), None) => trailers(site),
        (Some("grpc-status"), Some(code)) => grpc_status(code),
        (Some("status"), Some(code)) => match StatusCode::from_bytes(code.as_bytes()) {
            Ok(status) => text(status, if bodiless(status) { String::new() } else { format!("{status}\n") }),
            Err(_) => text(StatusCode::BAD_REQUEST, format!("`{code}` is not a status\n")),
        },
        (Some("delay"), Some(delay)) => match delay.parse().map(Duration::from_millis) {
            Ok(delay) if delay <= LONGEST_DELAY => {
                tokio::time::sleep(delay).await;
                whole(site.page.clone())
            }
            _ => text(StatusCode::BAD_REQUEST, format!("`{delay}` is not a delay up to a minute\n")),
        },
        (Some("bytes"), Some(count)) => match count.parse() {
            Ok(count) if count <= LARGEST_BODY_BYTES => whole(page(&site.options.listen.name, count)),
            _ => text(StatusCode::BAD_REQUEST, format!("`{count}` is not a length up to 64 MiB\n")),
        },
        _ => whole(site.page.clone()),
    }
}

fn bodiless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn whole(body: Bytes) -> Response<AnswerBody> {
    Response::new(Either::Left(Full::new(body)))
}

/// A plain-text answer.
pub fn text(status: StatusCode, body: String) -> Response<AnswerBody> {
    let mut response = whole(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn echo(request: Request<Incoming>) -> Response<AnswerBody> {
    let (parts, body) = request.into_parts();
    let mut response = Response::new(Either::Right(body.boxed_unsync()));
    if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    response
}

fn headers(request: &Request<Incoming>) -> Response<AnswerBody> {
    let fields: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let seen = serde_json::json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "version": format!("{:?}", request.version()),
        "headers": fields,
    });
    let mut response = whole(seen.to_string().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn trailers(site: &Site) -> Response<AnswerBody> {
    let sum: u64 = site.page.iter().map(|byte| u64::from(*byte)).sum();
    let mut fields = HeaderMap::new();
    fields.insert("x-checksum", HeaderValue::from(sum));
    let frames = [Ok(Frame::data(site.page.clone())), Ok(Frame::trailers(fields))];
    let body: StreamBody<_> = StreamBody::new(stream::iter(frames));
    let mut response = Response::new(Either::Right(body.boxed_unsync()));
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
    response
}

/// A message without content, and the status in the trailers.
fn grpc_status(code: &str) -> Response<AnswerBody> {
    let Ok(status) = HeaderValue::from_str(code) else {
        return text(StatusCode::BAD_REQUEST, format!("`{code}` is not a gRPC status\n"));
    };
    let fields = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), status)]);
    let frames = [Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(fields))];
    let body: StreamBody<_> = StreamBody::new(stream::iter(frames));
    let mut response = Response::new(Either::Right(body.boxed_unsync()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("trailer", HeaderValue::from_static("grpc-status"));
    response
}

/// Switches to the first protocol the client offers, whatever it is, and echoes bytes from then on.
fn upgrade(mut request: Request<Incoming>) -> Response<AnswerBody> {
    let offered = request.headers().get(UPGRADE).cloned();
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(async move {
        let Ok(upgraded) = upgrading.await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let Some(bytes) = buffer.get(..read) else { return };
            if stream.write_all(bytes).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        // The other side has ended; there is nobody left to tell that closing failed.
        stream.shutdown().await.ok();
    });
    let mut response = whole(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(offered) = offered {
        response.headers_mut().insert(UPGRADE, offered);
    }
    response
}

/// Adapts a tonic service to hyper's service trait.
#[derive(Debug, Clone)]
pub struct Tonic<S>(pub S);

impl<S> Service<Request<Incoming>> for Tonic<S>
where
    S: tower_service::Service<Request<Incoming>> + Clone + 'static,
    S::Future: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut service = self.0.clone();
        // tonic's generated services are always ready.
        Box::pin(async move { service.call(request).await })
    }
}
