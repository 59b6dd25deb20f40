//! Requests and their fields: RFC 9113 §8.

use super::Fate::{Answered, Malformed, NoTunnel, Stream};
use super::code::*;
use super::{Case, GET, POST, Site, block, get_with};
use std::io;
use tests::frames::{Peer, flag, frame, kind, literal};

/// A request of exactly these fields.
fn exactly(peer: &mut Peer, fields: &[(&str, &str)]) -> io::Result<()> {
    peer.send(&frame(kind::HEADERS, flag::WHOLE, 1, &block(fields)))
}

/// `GET http://web/`, and these fields.
fn with(peer: &mut Peer, fields: &[(&str, &str)]) -> io::Result<()> {
    peer.send(&get_with(fields))
}

/// `POST http://web/` with these fields, then DATA frames, the last of which ends it.
fn body(peer: &mut Peer, fields: &[(&str, &str)], parts: &[&[u8]]) -> io::Result<()> {
    let mut bytes = frame(kind::HEADERS, flag::END_HEADERS, 1, &[POST, &block(fields)].concat());
    for (n, part) in parts.iter().enumerate() {
        let flags = if n + 1 == parts.len() { flag::END_STREAM } else { 0 };
        bytes.extend(frame(kind::DATA, flags, 1, part));
    }
    peer.send(&bytes)
}

/// `POST http://web/` with a body of one byte, then these trailers.
fn trailers(peer: &mut Peer, flags: u8, fields: &[(&str, &str)]) -> io::Result<()> {
    peer.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, POST))?;
    peer.send(&frame(kind::DATA, 0, 1, b"x"))?;
    peer.send(&frame(kind::HEADERS, flags, 1, &block(fields)))
}

const PROTOCOL: super::Fate = Stream(&[PROTOCOL_ERROR]);

const FIELDS: &[Case] = &[
    Case("8.2.1", "a name in capitals", 1, |p| with(p, &[("X-Name", "y")]), Malformed),
    Case("8.2.1", "a name with a blank", 1, |p| with(p, &[("x name", "y")]), Malformed),
    Case("8.2.1", "a name with a colon inside", 1, |p| with(p, &[("x:name", "y")]), Malformed),
    Case("8.2.1", "a name of nothing", 1, |p| with(p, &[("", "y")]), Malformed),
    Case("8.2.1", "a name with a control character", 1, |p| with(p, &[("x\x7f", "y")]), Malformed),
    Case("8.2.1", "a name outside of ASCII", 1, |p| with(p, &[("\u{e9}", "y")]), Malformed),
    Case("8.2.1", "a value with a zero byte", 1, |p| with(p, &[("x", "a\0b")]), Malformed),
    Case("8.2.1", "a value with a line's end", 1, |p| with(p, &[("x", "a\nb: c")]), Malformed),
    Case("8.2.1", "a value with a carriage return", 1, |p| with(p, &[("x", "a\rb")]), Malformed),
    Case(
        "8.2.1",
        "a value that ends a head",
        1,
        |p| with(p, &[("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: web")]),
        Malformed,
    ),
    Case("8.2.2", "connection", 1, |p| with(p, &[("connection", "x")]), Malformed),
    Case("8.2.2", "keep-alive", 1, |p| with(p, &[("keep-alive", "5")]), Malformed),
    Case("8.2.2", "proxy-connection", 1, |p| with(p, &[("proxy-connection", "close")]), Malformed),
    Case("8.2.2", "transfer-encoding", 1, |p| with(p, &[("transfer-encoding", "chunked")]), Malformed),
    Case("8.2.2", "upgrade", 1, |p| with(p, &[("upgrade", "websocket")]), Malformed),
    Case("8.2.2", "te of anything but trailers", 1, |p| with(p, &[("te", "gzip")]), Malformed),
    Case("8.2.2", "te of trailers", 1, |p| with(p, &[("te", "trailers")]), Answered),
    Case("8.3", "a pseudo-header that nobody knows", 1, |p| with(p, &[(":what", "x")]), Malformed),
    Case("8.3", "a response's pseudo-header", 1, |p| with(p, &[(":status", "200")]), Malformed),
    Case(
        "8.3",
        "a pseudo-header behind a field",
        1,
        |p| {
            exactly(
                p,
                &[(":method", "GET"), (":scheme", "http"), (":authority", "web"), ("x", "y"), (":path", "/")],
            )
        },
        Malformed,
    ),
    Case("8.3.1", "two methods", 1, |p| with(p, &[(":method", "GET")]), Malformed),
    Case("8.3.1", "two paths", 1, |p| with(p, &[(":path", "/")]), Malformed),
    Case("8.3.1", "two schemes", 1, |p| with(p, &[(":scheme", "http")]), Malformed),
    Case("8.3.1", "two authorities", 1, |p| with(p, &[(":authority", "web")]), Malformed),
    Case(
        "8.3.1",
        "no method",
        1,
        |p| exactly(p, &[(":scheme", "http"), (":authority", "web"), (":path", "/")]),
        Malformed,
    ),
    Case(
        "8.3.1",
        "no path",
        1,
        |p| exactly(p, &[(":method", "GET"), (":scheme", "http"), (":authority", "web")]),
        Malformed,
    ),
    Case(
        "8.3.1",
        "no scheme",
        1,
        |p| exactly(p, &[(":method", "GET"), (":path", "/"), (":authority", "web")]),
        Malformed,
    ),
    Case(
        "8.3.1",
        "an empty path",
        1,
        |p| exactly(p, &[(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", "")]),
        Malformed,
    ),
    Case(
        "8.3.1",
        "a path without a slash",
        1,
        |p| exactly(p, &[(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", "x")]),
        Malformed,
    ),
    Case(
        "8.3.1",
        "a path with a blank",
        1,
        |p| {
            exactly(
                p,
                &[(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", "/ HTTP/1.1")],
            )
        },
        Malformed,
    ),
    Case(
        "8.3.1",
        "a method with a blank",
        1,
        |p| {
            exactly(
                p,
                &[(":method", "GET / HTTP/1.1"), (":scheme", "http"), (":authority", "web"), (":path", "/")],
            )
        },
        Malformed,
    ),
    Case(
        "8.3.1",
        "an authority with user information",
        1,
        |p| {
            exactly(
                p,
                &[(":method", "GET"), (":scheme", "http"), (":authority", "admin@web"), (":path", "/")],
            )
        },
        Malformed,
    ),
    Case(
        "8.3.1",
        "an authority with a line's end",
        1,
        |p| {
            exactly(
                p,
                &[(":method", "GET"), (":scheme", "http"), (":authority", "web\r\nx: y"), (":path", "/")],
            )
        },
        Malformed,
    ),
    Case("8.3.1", "an authority and a Host that differs", 1, |p| with(p, &[("host", "other")]), Malformed),
    Case("8.3.1", "an authority and the same Host", 1, |p| with(p, &[("host", "web")]), Answered),
    Case(
        "8.3.1",
        "a Host in place of the authority",
        1,
        |p| exactly(p, &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "web")]),
        Answered,
    ),
    Case(
        "8.3.1",
        "OPTIONS of the server itself",
        1,
        |p| exactly(p, &[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "web"), (":path", "*")]),
        Answered,
    ),
    Case(
        "8.5",
        "CONNECT with a path",
        1,
        |p| exactly(p, &[(":method", "CONNECT"), (":scheme", "http"), (":authority", "web"), (":path", "/")]),
        Malformed,
    ),
    Case(
        "8.5",
        "CONNECT to the application's own sidecar or to nowhere",
        1,
        |p| exactly(p, &[(":method", "CONNECT"), (":authority", "nowhere.example:1")]),
        NoTunnel,
    ),
    Case("8.5", "CONNECT without an authority", 1, |p| exactly(p, &[(":method", "CONNECT")]), NoTunnel),
];

#[test]
fn a_request_whose_fields_break_a_rule_never_reaches_the_application() {
    Site::new().judge(FIELDS);
}

const BODIES: &[Case] = &[
    Case("8.1", "a body in parts, one of them empty", 1, |p| body(p, &[], &[b"ab", b"", b"c"]), Answered),
    Case("8.1", "trailers", 1, |p| trailers(p, flag::WHOLE, &[("x-sum", "1")]), Answered),
    Case(
        "8.1",
        "trailers that end nothing",
        1,
        |p| trailers(p, flag::END_HEADERS, &[("x-sum", "1")]),
        PROTOCOL,
    ),
    Case(
        "8.1",
        "a name in capitals in trailers",
        1,
        |p| trailers(p, flag::WHOLE, &[("X-Sum", "1")]),
        PROTOCOL,
    ),
    Case(
        "8.1.1",
        "the length that was said",
        1,
        |p| body(p, &[("content-length", "3")], &[b"abc"]),
        Answered,
    ),
    Case(
        "8.1.1",
        "more than the length that was said",
        1,
        |p| body(p, &[("content-length", "3")], &[b"abc", b"d"]),
        PROTOCOL,
    ),
    Case(
        "8.1.1",
        "less than the length that was said",
        1,
        |p| body(p, &[("content-length", "4")], &[b"abc"]),
        PROTOCOL,
    ),
    Case("8.1.1", "a length and nothing at all", 1, |p| with(p, &[("content-length", "3")]), Malformed),
    Case("8.1.1", "a length that is no number", 1, |p| with(p, &[("content-length", "-1")]), Malformed),
    Case(
        "8.1.1",
        "two lengths",
        1,
        |p| body(p, &[("content-length", "3"), ("content-length", "4")], &[b"abc"]),
        Malformed,
    ),
    Case("8.1.1", "nothing, and a length that says so", 1, |p| with(p, &[("content-length", "0")]), Answered),
    Case(
        "10.5.1",
        "a head that is too large",
        1,
        |p| {
            let field = literal(b"x", &[b'y'; 120]);
            let block = [GET, &field.repeat(600)].concat();
            let mut parts = block.chunks(16_000).peekable();
            let first = parts.next().unwrap_or_default();
            let mut bytes = frame(kind::HEADERS, flag::END_STREAM, 1, first);
            while let Some(part) = parts.next() {
                let flags = if parts.peek().is_none() { flag::END_HEADERS } else { 0 };
                bytes.extend(frame(kind::CONTINUATION, flags, 1, part));
            }
            p.send(&bytes)
        },
        Malformed,
    ),
];

#[test]
fn a_body_is_as_long_as_was_said_and_ends_as_rfc_9113_says() {
    Site::new().judge(BODIES);
}

#[test]
fn cookies_that_came_apart_reach_an_http_1_application_as_one_field() {
    let site = Site::new();
    for (port, address) in &site.ports {
        let mut peer = Peer::open(address).unwrap();
        peer.send(&get_with(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")])).unwrap();
        assert_eq!(peer.until_over(1).unwrap().statuses, [200], "{port}");
        let seen = site.recorder.take();
        let cookies: Vec<_> = seen.iter().flat_map(|request| request.values("cookie")).collect();
        // RFC 9113 §8.2.3: before they are passed into anything but HTTP/2, with this between them.
        assert_eq!(cookies, ["a=1; b=2; c=3"], "{port}");
    }
}

#[test]
fn a_pseudo_header_in_trailers_reaches_nobody() {
    let site = Site::new();
    for (port, address) in &site.ports {
        let mut peer = Peer::open(address).unwrap();
        trailers(&mut peer, flag::WHOLE, &[(":path", "/other"), ("x-sum", "1")]).unwrap();
        // An error of the stream, by §8.1; taking the field out is as good.
        let over = peer.until_over(1).unwrap();
        assert!(over.reset.is_some() || over.statuses == [200] || peer.seen.closed, "{port}: {over:?}");
        for request in site.recorder.take() {
            assert_eq!(request.line, "POST / HTTP/1.1", "{port}");
            assert!(!request.trailers.iter().any(|line| line.contains("/other")), "{port}: {request:?}");
        }
    }
}
