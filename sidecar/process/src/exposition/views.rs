//! Which path is answered by what.
//!
//! Enters: handlers by method and path, then requests. Leaves: replies. Never here: sockets.

use super::metrics::{self, Exposition};
use crate::Readiness;
use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Bytes of one request body: a level, a drain time. One more is answered 413.
pub(crate) const BODY_BYTES: usize = 64 * 1024;

/// From the end of a request's header to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// From a scrape's arrival until its figures must be gathered. A worker that is too busy to flush by then is shown
/// with its older figures rather than failing the scrape.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What a view is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The text after `?`, empty without one.
    pub query: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The body, at most 64 KiB.
    pub body: Bytes,
}

impl Request {
    /// The body as text, trimmed; what is not UTF-8 is replaced.
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// The value of `name` in the query, as written: values that need percent-decoding are not expected by any view.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, v)| v)
    }
}

/// What a view answers.
#[derive(Debug, Clone)]
pub struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
}

impl Reply {
    /// 200 with plain text.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// 200 with JSON that is already serialised.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self { content_type: "application/json", ..Self::text(body) }
    }

    /// The same reply under another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn into_response(self) -> http::Response<Full<Bytes>> {
        let mut response = http::Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response
    }
}

type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler = Box<dyn Fn(Request) -> Answer + Send + Sync>;

/// The views of one process.
#[derive(Default)]
pub struct Views {
    by_path: BTreeMap<&'static str, BTreeMap<&'static str, Handler>>,
}

impl Views {
    /// No views yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers GET (and HEAD) on `path`.
    #[must_use]
    pub fn get<F, A>(self, path: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        self.on("GET", path, handler)
    }

    /// Answers PUT on `path`: sets something to what the body says.
    #[must_use]
    pub fn put<F, A>(self, path: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        self.on("PUT", path, handler)
    }

    /// Answers POST on `path`: starts something.
    #[must_use]
    pub fn post<F, A>(self, path: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        self.on("POST", path, handler)
    }

    /// Answers `/readyz` and `/ready` (200 when every condition holds, else 503 naming those that do not), and `/livez`
    /// and `/live` (200 as long as the process answers at all).
    #[must_use]
    pub fn health(self, readiness: &Readiness) -> Self {
        let ready = |readiness: Readiness| move |_request| std::future::ready(readiness_reply(&readiness));
        let live = |_request| std::future::ready(Reply::text("live\n"));
        self.get("/ready", ready(readiness.clone()))
            .get("/readyz", ready(readiness.clone()))
            .get("/live", live)
            .get("/livez", live)
    }

    /// Answers `/metrics` with all families of `registry`, as OpenMetrics when the client accepts that and as
    /// Prometheus text otherwise. `before_scrape` runs first, for at most one second: workers flush what they have
    /// counted locally.
    #[must_use]
    pub fn metrics<F, A>(self, registry: prometheus::Registry, before_scrape: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        self.get("/metrics", move |request| {
            let (registry, flush) = (registry.clone(), before_scrape());
            async move {
                if tokio::time::timeout(FLUSH_TIMEOUT, flush).await.is_err() {
                    tracing::warn!("figures are older than this scrape: flushing them took over a second");
                }
                metrics_reply(&registry, request.headers.get(ACCEPT))
            }
        })
    }

    fn on<F, A>(mut self, method: &'static str, path: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        let handler: Handler = Box::new(move |request| Box::pin(handler(request)));
        self.by_path.entry(path).or_default().insert(method, handler);
        self
    }

    pub(crate) async fn answer(
        &self,
        request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let Some(methods) = self.by_path.get(path) else {
            return self.index(path).into_response();
        };
        // hyper leaves the body of an answer to HEAD away by itself.
        let method = if head.method == Method::HEAD { "GET" } else { head.method.as_str() };
        let Some(handler) = methods.get(method) else {
            return wrong_method(methods.keys().copied().collect());
        };
        match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES).collect()).await {
            Ok(Ok(body)) => {
                let query = head.uri.query().unwrap_or_default().to_owned();
                let request = Request { query, headers: head.headers, body: body.to_bytes() };
                handler(request).await.into_response()
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                Reply::text("the body is over 64 KiB\n").with_status(status).into_response()
            }
            Ok(Err(error)) => {
                let text = format!("the body is broken: {error}\n");
                Reply::text(text).with_status(StatusCode::BAD_REQUEST).into_response()
            }
            Err(_elapsed) => {
                let text = "the body did not arrive within ten seconds\n";
                Reply::text(text).with_status(StatusCode::REQUEST_TIMEOUT).into_response()
            }
        }
    }

    /// The list of views: the answer on `/`, and the help for a path that is not there.
    fn index(&self, path: &str) -> Reply {
        let list = self.by_path.iter().flat_map(|(path, methods)| methods.keys().map(move |m| (m, path)));
        let list: String = list.map(|(method, path)| format!("{method} {path}\n")).collect();
        if path == "/" {
            return Reply::text(list);
        }
        Reply::text(format!("no view {path}; there are:\n{list}")).with_status(StatusCode::NOT_FOUND)
    }
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_path.keys()).finish()
    }
}

fn wrong_method(allowed: Vec<&'static str>) -> http::Response<Full<Bytes>> {
    let allowed = allowed.join(", ");
    let reply = Reply::text(format!("this view answers {allowed}\n"));
    let mut response = reply.with_status(StatusCode::METHOD_NOT_ALLOWED).into_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

fn readiness_reply(readiness: &Readiness) -> Reply {
    let missing = readiness.missing();
    if missing.is_empty() {
        return Reply::text("ready\n");
    }
    let text = format!("not ready: {}\n", missing.join(", "));
    Reply::text(text).with_status(StatusCode::SERVICE_UNAVAILABLE)
}

fn metrics_reply(registry: &prometheus::Registry, accept: Option<&HeaderValue>) -> Reply {
    let exposition = Exposition::accepted(accept);
    match metrics::encode(&registry.gather(), exposition) {
        Ok(text) => Reply { content_type: exposition.content_type(), ..Reply::text(text) },
        Err(error) => Reply::text(format!("cannot encode the metrics: {error}\n"))
            .with_status(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
