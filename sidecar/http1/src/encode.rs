//! A head as bytes (RFC 9112 §3, §4, §5). What enters is a head as its maker wants it; what leaves are its lines, and how
//! the body behind it is delimited. The fields about the connection and the framing are ours: whatever the maker says of
//! them counts only as a wish.

use crate::fields::number;
use crate::framing::{Encoding, for_answer, for_request};
use crate::out::Out;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, Uri, Version, request, response};

/// About how long a line is; a guess that spares the buffer from growing.
const LINE: usize = 48;

/// The connection an answer is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer<'a> {
    /// The request's.
    pub(crate) method: &'a Method,
    /// The request's.
    pub(crate) version: Version,
    /// Whether another request may follow.
    pub(crate) keeps_alive: bool,
}

/// An answer's head. Returned is how its body is delimited, and whether the connection stays.
pub(crate) fn answer(
    out: &mut Out,
    head: &response::Parts,
    known: Option<u64>,
    peer: Peer<'_>,
) -> (Encoding, bool) {
    out.start((head.headers.len() + 4) * LINE);
    let status = head.status;
    status_line(out, peer.version, status);
    // RFC 9110 §8.6: none in answers that have no body of their own.
    let may_have_length = !(status.is_informational()
        || status == StatusCode::NO_CONTENT
        || (*peer.method == Method::CONNECT && status.is_success()));
    let is_switching = status == StatusCode::SWITCHING_PROTOCOLS;
    let given = fields(out, &head.headers, may_have_length, is_switching);
    let encoding = for_answer(peer.method, peer.version, status, given.length, known);
    length(out, encoding, given);
    let stays = peer.keeps_alive && !given.close && encoding != Encoding::UntilClose;
    if !is_switching {
        match (stays, peer.version) {
            (false, _) => out.push(b"connection: close\r\n"),
            (true, Version::HTTP_10) => out.push(b"connection: keep-alive\r\n"),
            (true, _) => {}
        }
    }
    out.push(b"\r\n");
    (encoding, stays)
}

/// The head of an interim answer, in HTTP/1.1: others know of none (RFC 9110 §15.2).
pub(crate) fn interim(out: &mut Out, head: &response::Parts) {
    out.start((head.headers.len() + 2) * LINE);
    status_line(out, Version::HTTP_11, head.status);
    fields(out, &head.headers, false, false);
    out.push(b"\r\n");
}

fn status_line(out: &mut Out, version: Version, status: StatusCode) {
    out.push(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.push(status.as_str().as_bytes());
    out.push(b" ");
    out.push(status.canonical_reason().unwrap_or_default().as_bytes());
    out.push(b"\r\n");
}

/// A request's head, in the form its target has: origin-form unless it names an authority.
pub(crate) fn request(out: &mut Out, head: &request::Parts, known: Option<u64>) -> Encoding {
    out.start((head.headers.len() + 4) * LINE);
    out.push(head.method.as_str().as_bytes());
    out.push(b" ");
    target(out, &head.method, &head.uri);
    out.push(b" HTTP/1.1\r\n");
    let given = fields(out, &head.headers, true, true);
    let encoding = for_request(&head.method, given.length, known);
    length(out, encoding, given);
    out.push(b"\r\n");
    encoding
}

/// Trailers, and the end of the chunks.
pub(crate) fn trailers(out: &mut Out, trailers: Option<&HeaderMap>) {
    out.push(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| crate::fields::may_trail(name)) {
        line(out, name, value);
    }
    out.push(b"\r\n");
}

/// What the maker of a head says of its framing.
#[derive(Debug, Clone, Copy, Default)]
struct Given {
    /// Written already.
    length: Option<u64>,
    close: bool,
}

fn fields(out: &mut Out, headers: &HeaderMap, may_have_length: bool, keeps_connection: bool) -> Given {
    let mut given = Given::default();
    for (name, value) in headers {
        // By its length first, as most names are none of these.
        match name.as_str().len() {
            10 if *name == CONNECTION => {
                let mut tokens = value.as_bytes().split(|byte| *byte == b',');
                given.close |= tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
                if !keeps_connection {
                    continue;
                }
            }
            14 if *name == CONTENT_LENGTH => {
                // Once, and only if it is one.
                if !may_have_length || given.length.is_some() {
                    continue;
                }
                given.length = number(value.as_bytes());
                if given.length.is_none() {
                    continue;
                }
            }
            17 if *name == TRANSFER_ENCODING => continue,
            _ => {}
        }
        line(out, name, value);
    }
    given
}

fn length(out: &mut Out, encoding: Encoding, given: Given) {
    match encoding {
        Encoding::Exact(length) if given.length.is_none() => {
            out.push(b"content-length: ");
            out.push_number::<10>(length);
            out.push(b"\r\n");
        }
        Encoding::Chunked => out.push(b"transfer-encoding: chunked\r\n"),
        Encoding::Nothing | Encoding::Exact(_) | Encoding::UntilClose => {}
    }
}

fn line(out: &mut Out, name: &HeaderName, value: &HeaderValue) {
    out.push(name.as_str().as_bytes());
    out.push(b": ");
    out.push(value.as_bytes());
    out.push(b"\r\n");
}

fn target(out: &mut Out, method: &Method, uri: &Uri) {
    if let Some(authority) = uri.authority() {
        if *method == Method::CONNECT {
            out.push(authority.as_str().as_bytes());
            return;
        }
        out.push(uri.scheme_str().unwrap_or("http").as_bytes());
        out.push(b"://");
        out.push(authority.as_str().as_bytes());
    }
    match uri.path_and_query() {
        Some(target) => out.push(target.as_str().as_bytes()),
        None => out.push(b"/"),
    }
}
