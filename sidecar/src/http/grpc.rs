//! The little of gRPC an intermediary needs: is a request gRPC, what status did it end with, and what HTTP status that
//! stands for. Pure.

use super::fields::{Field, Fields};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use std::fmt::Write;

/// The status field, in trailers or, for an answer without messages, in the header.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The message field beside it.
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a message is gRPC by its content type: `application/grpc` and what follows a `+` or `;`.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// The gRPC status in a header or trailer map, if there is a valid one (0 to 16).
pub(crate) fn status(headers: &HeaderMap) -> Option<u8> {
    let text = headers.get(GRPC_STATUS)?.to_str().ok()?;
    text.parse().ok().filter(|code| *code <= 16)
}

/// The same of a head that was looked at.
pub(crate) fn seen_status(headers: &HeaderMap, fields: Fields) -> Option<u8> {
    if fields.have(Field::GrpcStatus) { status(headers) } else { None }
}

/// The HTTP status a gRPC status maps to, by `google/rpc/code.proto`; retries asked for by HTTP code use it.
pub(crate) fn http_status(code: u8) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// The gRPC status that an HTTP status stands for (gRPC's `http-grpc-status-mapping.md`).
pub(crate) fn of_http_status(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// A sentence as `grpc-message` carries it: percent-encoded, printable ASCII only (gRPC over HTTP/2, "Responses").
pub(crate) fn encode_message(sentence: &str) -> String {
    let mut out = String::with_capacity(sentence.len());
    for byte in sentence.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (value, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_grpc(&headers), grpc, "{value}");
        }
    }

    #[test]
    fn a_status_is_a_number_up_to_16() {
        for (value, expected) in [("0", Some(0)), ("14", Some(14)), ("17", None), ("x", None), ("", None)] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_STATUS, HeaderValue::from_static(value));
            assert_eq!(status(&headers), expected, "{value:?}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encode_message("no 100% \u{e9}\n"), "no 100%25 %C3%A9%0A");
    }
}
