//! Request bodies: what enters is a stream of bytes from the network; what leaves is JSON within bounds, or a refusal.

use super::protobuf;
use super::status::Failure;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use std::error::Error;
use std::time::Duration;

/// The most a body may have: an object may have 1 MiB, and a patch may quote it twice.
pub(crate) const BODY_BYTES: usize = 3 * 1024 * 1024;
/// From the request's head to the body's last byte: 3 MiB in it is 100 KiB/s, and a stalled client is let go.
const BODY_TIME: Duration = Duration::from_secs(30);

/// What a body is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    JsonPatch,
    MergePatch,
    StrategicPatch,
    ApplyPatch,
    /// Kubernetes' protocol buffers.
    Protobuf,
    Other,
}

/// The type the headers name; JSON when they name none.
pub(crate) fn media(headers: &HeaderMap) -> Media {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Media::Json };
    let text = value.to_str().unwrap_or_default();
    match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Media::Json,
        "application/yaml" | "application/x-yaml" | "text/yaml" => Media::Yaml,
        "application/json-patch+json" => Media::JsonPatch,
        "application/merge-patch+json" => Media::MergePatch,
        "application/strategic-merge-patch+json" => Media::StrategicPatch,
        "application/apply-patch+yaml" => Media::ApplyPatch,
        "application/vnd.kubernetes.protobuf" => Media::Protobuf,
        _ => Media::Other,
    }
}

/// The whole body.
pub(crate) async fn read<B>(headers: &HeaderMap, body: B) -> Result<Bytes, Failure>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let too_large = || Failure::too_large(format!("the request's body has more than {BODY_BYTES} bytes"));
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Failure::unsupported_media("the request's body is compressed: send it as it is"));
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES) {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_TIME, Box::pin(Limited::new(body, BODY_BYTES).collect())).await;
    match collected {
        Err(_elapsed) => Err(Failure::slow_body()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Failure::bad_request(format!("the request's body broke off: {error}"))),
    }
}

/// The object in a body: JSON, YAML or, of some kinds, protocol buffers.
pub(crate) fn object(media: Media, body: &[u8]) -> Result<Value, Failure> {
    match media {
        Media::Json => json(body),
        Media::Yaml => yaml(body),
        Media::Protobuf => protobuf::object(body).map_err(|error| {
            Failure::unsupported_media(format!("the body is not read as protocol buffers: {error}"))
        }),
        Media::JsonPatch | Media::MergePatch | Media::StrategicPatch | Media::ApplyPatch | Media::Other => {
            Err(Failure::unsupported_media(
                "the body must be of type `application/json` or `application/yaml`: set the Content-Type",
            ))
        }
    }
}

/// JSON, with its position when it is not.
pub(crate) fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the body is not JSON: {error}")))
}

/// YAML, of which JSON is a part; within the bounds of a manifest, with all its problems when it is not.
pub(crate) fn yaml(body: &[u8]) -> Result<Value, Failure> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| Failure::bad_request(format!("the body is not UTF-8: {error}")))?;
    manifests::parse(text).map_err(|problems| {
        let problems = problems.iter().map(|problem| match problem.position {
            Some(position) => format!("{position}: {problem}"),
            None => problem.to_string(),
        });
        Failure::bad_request(format!("the body is not YAML: {}", problems.collect::<Vec<_>>().join("; ")))
    })
}

/// An object, or an empty one for no body at all.
pub(crate) fn options(media: Media, body: &[u8]) -> Result<Value, Failure> {
    if body.is_empty() { Ok(Value::Object(serde_json::Map::new())) } else { object(media, body) }
}
