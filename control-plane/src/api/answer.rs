//! Responses: from JSON, failures and frames to what hyper sends.

use super::status::Failure;
use bytes::Bytes;
use futures_core::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use std::convert::Infallible;

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) const JSON: &str = "application/json";
const WARNING: HeaderName = HeaderName::from_static("warning");

/// Bytes of a type.
pub(crate) fn bytes(
    code: StatusCode,
    content_type: &'static str,
    content: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(content.into()).boxed_unsync());
    *response.status_mut() = code;
    set(response.headers_mut(), CONTENT_TYPE, content_type);
    // Answers depend on who asks and change at any moment.
    set(response.headers_mut(), CACHE_CONTROL, "no-cache, private");
    response
}

/// A JSON document.
pub(crate) fn json(code: StatusCode, document: &Value) -> Response<Body> {
    bytes(code, JSON, document.to_string())
}

/// A JSON document and what `kubectl` prints beside it on stderr.
pub(crate) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        let quoted: String = warning
            .chars()
            .filter(|c| !c.is_control())
            .flat_map(|c| match c {
                '"' | '\\' => vec!['\\', c],
                other => vec![other],
            })
            .collect();
        // RFC 7234 §5.5, code 299: miscellaneous, persistent.
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

/// A refusal.
pub(crate) fn failure(failure: &Failure) -> Response<Body> {
    let mut response = json(failure.code, &failure.to_json());
    if failure.code == StatusCode::TOO_MANY_REQUESTS {
        set(response.headers_mut(), RETRY_AFTER, "5");
    }
    if failure.code == StatusCode::UNAUTHORIZED {
        set(response.headers_mut(), WWW_AUTHENTICATE, "Mutual");
    }
    response
}

/// JSON documents as they come, each with its line end.
pub(crate) fn stream(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    use futures_util::StreamExt;
    let frames = frames.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    set(response.headers_mut(), CONTENT_TYPE, JSON);
    set(response.headers_mut(), CACHE_CONTROL, "no-cache, private");
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
