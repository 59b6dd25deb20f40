//! A message's first line and fields out of a buffer (RFC 9112 §2 to §5). What enters is what has been read; what leaves
//! is a head, that more is needed, or which rule it breaks. Pure.

use crate::error::BadHead;
use crate::fields::{self, Seen};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, Uri, Version};
use memchr::memchr;
use std::mem::MaybeUninit;

/// Most bytes of a head. nginx allows 32 KiB, Envoy 60; a JWT with many claims fits.
pub const HEAD_MAX: usize = 64 * 1024;

/// Most fields of a head: Envoy's default.
pub const FIELDS_MAX: usize = 100;

/// Empty lines taken before a request; some clients of old send one after a body (RFC 9112 §2.2).
const EMPTY_LINES_MAX: u8 = 4;

/// A request's head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) seen: Seen,
}

/// An answer's head.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) seen: Seen,
}

impl AnswerHead {
    /// As a response.
    pub(crate) fn into_response<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.version_mut() = self.version;
        *response.headers_mut() = self.headers;
        response
    }
}

/// How far a head that is not complete was looked at, so that one that comes in many parts is not read again and again.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Up to here no end was found.
    scanned: usize,
    /// Of a part of this length it is known that it could become a head.
    plausible: usize,
    empty_lines: u8,
}

/// What is read: requests or answers.
pub(crate) trait Kind: Sized {
    /// Reads a complete head.
    fn parse(head: &Bytes) -> Result<Self, BadHead>;

    /// Whether a part of a head could become one.
    fn judge(part: &[u8]) -> Result<(), BadHead>;
}

impl Progress {
    /// The next head in the buffer, if it is complete.
    ///
    /// # Errors
    /// Which rule it breaks, as soon as that is sure.
    pub(crate) fn take<H: Kind>(&mut self, buffer: &mut BytesMut) -> Result<Option<H>, BadHead> {
        while buffer.starts_with(b"\r\n") {
            self.empty_lines += 1;
            if self.empty_lines > EMPTY_LINES_MAX {
                return Err(BadHead::NotHttp);
            }
            buffer.advance(2);
            self.scanned = 0;
        }
        match end(buffer, &mut self.scanned)? {
            Some(end) if end > HEAD_MAX => Err(too_large(buffer)),
            Some(end) => {
                *self = Self::default();
                let head = buffer.split_to(end).freeze();
                H::parse(&head).map(Some)
            }
            None if buffer.len() >= HEAD_MAX => Err(too_large(buffer)),
            None => {
                // As often as it has doubled.
                if buffer.len() > self.plausible.saturating_mul(2) {
                    H::judge(buffer)?;
                    self.plausible = buffer.len();
                }
                Ok(None)
            }
        }
    }
}

/// Where a head, or a section of trailers, ends: behind the first empty line. Every line ends in CR LF.
pub(crate) fn end(buffer: &[u8], scanned: &mut usize) -> Result<Option<usize>, BadHead> {
    loop {
        let rest = buffer.get(*scanned..).unwrap_or_default();
        let Some(place) = memchr(b'\n', rest) else {
            *scanned = buffer.len();
            return Ok(None);
        };
        let line_end = *scanned + place;
        if line_end.checked_sub(1).and_then(|before| buffer.get(before)) != Some(&b'\r') {
            return Err(BadHead::LineEnd);
        }
        match buffer.get(line_end + 1..line_end + 3) {
            Some(b"\r\n") => return Ok(Some(line_end + 3)),
            Some(_) => *scanned = line_end + 1,
            // What follows decides whether this is the last line.
            None if buffer.get(line_end + 1).is_none_or(|next| *next == b'\r') => {
                *scanned = line_end;
                return Ok(None);
            }
            None => *scanned = line_end + 1,
        }
    }
}

fn too_large(buffer: &[u8]) -> BadHead {
    match memchr(b'\n', buffer) {
        Some(line) if line < HEAD_MAX => BadHead::TooLarge,
        _ => BadHead::TargetTooLong,
    }
}

fn named(error: httparse::Error) -> BadHead {
    match error {
        httparse::Error::Version => BadHead::Version,
        httparse::Error::TooManyHeaders => BadHead::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => BadHead::Field,
        httparse::Error::NewLine => BadHead::LineEnd,
        httparse::Error::Status => BadHead::Status,
        httparse::Error::Token => BadHead::NotHttp,
    }
}

fn version(minor: Option<u8>) -> Result<Version, BadHead> {
    match minor {
        Some(1) => Ok(Version::HTTP_11),
        Some(0) => Ok(Version::HTTP_10),
        _ => Err(BadHead::Version),
    }
}

impl Kind for RequestHead {
    fn parse(head: &Bytes) -> Result<Self, BadHead> {
        let mut found = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(head, &mut found).map_err(named)? {
            httparse::Status::Complete(length) if length == head.len() => {}
            // It ends at an empty line before the one that was found.
            httparse::Status::Complete(_) | httparse::Status::Partial => return Err(BadHead::NotHttp),
        }
        let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes());
        let target = head.slice_ref(request.path.unwrap_or_default().as_bytes());
        let (headers, seen) = fields::read(head, request.headers)?;
        Ok(Self {
            method: method.map_err(|_| BadHead::NotHttp)?,
            uri: Uri::from_maybe_shared(target).map_err(|_| BadHead::Target)?,
            version: version(request.version)?,
            headers,
            seen,
        })
    }

    fn judge(part: &[u8]) -> Result<(), BadHead> {
        let mut found = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let judged = httparse::Request::new(&mut []).parse_with_uninit_headers(part, &mut found);
        judged.map(drop).map_err(named)
    }
}

impl Kind for AnswerHead {
    fn parse(head: &Bytes) -> Result<Self, BadHead> {
        let mut found = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut answer = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let parsed = config.parse_response_with_uninit_headers(&mut answer, head, &mut found);
        match parsed.map_err(named)? {
            httparse::Status::Complete(length) if length == head.len() => {}
            httparse::Status::Complete(_) | httparse::Status::Partial => return Err(BadHead::NotHttp),
        }
        let (headers, seen) = fields::read(head, answer.headers)?;
        Ok(Self {
            status: StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(|_| BadHead::Status)?,
            version: version(answer.version)?,
            headers,
            seen,
        })
    }

    fn judge(part: &[u8]) -> Result<(), BadHead> {
        let mut found = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut answer = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        config.parse_response_with_uninit_headers(&mut answer, part, &mut found).map(drop).map_err(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(bytes: &[u8]) -> Result<Option<RequestHead>, BadHead> {
        Progress::default().take(&mut BytesMut::from(bytes))
    }

    /// RFC 9112 §2.2, §3, §5.
    #[test]
    fn a_head_that_two_readers_could_read_differently_is_refused() {
        for (text, expected) in [
            ("GET / HTTP/1.1\n\n", BadHead::LineEnd),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", BadHead::LineEnd),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", BadHead::LineEnd),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", BadHead::LineEnd),
            ("\nGET / HTTP/1.1\r\n\r\n", BadHead::LineEnd),
            ("GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", BadHead::Field),
            ("GET / HTTP/1.1\r\rA: b\r\n\r\n", BadHead::LineEnd),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", BadHead::Field),
            ("GET / HTTP/1.1\r\n A: b\r\n\r\n", BadHead::Field),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", BadHead::Field),
            ("GET / HTTP/1.1\r\nA: b\0\r\n\r\n", BadHead::Field),
            ("GET / HTTP/1.1\r\nA: \x0bb\r\n\r\n", BadHead::Field),
            ("GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", BadHead::Field),
            ("GET / HTTP/1.1\r\nA\r\n\r\n", BadHead::Field),
            ("GET / HTTP/1.1\r\n: b\r\n\r\n", BadHead::Field),
            ("GET / HTTP/1.1\r\nA(: b\r\n\r\n", BadHead::Field),
            ("GET / HTTP/2.0\r\n\r\n", BadHead::Version),
            ("GET / HTTP/1.2\r\n\r\n", BadHead::Version),
            ("GET / HTTP/1.1 \r\n\r\n", BadHead::LineEnd),
            ("GET /\r\n\r\n", BadHead::NotHttp),
            ("GET  / HTTP/1.1\r\n\r\n", BadHead::NotHttp),
            ("GET /  HTTP/1.1\r\n\r\n", BadHead::Version),
            ("G(T / HTTP/1.1\r\n\r\n", BadHead::NotHttp),
            ("GET /\x01 HTTP/1.1\r\n\r\n", BadHead::NotHttp),
            ("GET a b HTTP/1.1\r\n\r\n", BadHead::Version),
            ("GET a:b:c HTTP/1.1\r\n\r\n", BadHead::Target),
            ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", BadHead::NotHttp),
            // As soon as it is sure, not only at its end.
            ("\x16\x03\x01\x02\x00", BadHead::NotHttp),
        ] {
            assert_eq!(request(text.as_bytes()).map(|_| ()).unwrap_err(), expected, "{text:?}");
        }
    }

    #[test]
    fn every_form_of_target_is_taken() {
        for (text, method, uri, version) in [
            ("GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a?b", Version::HTTP_11),
            ("\r\n\r\nGET / HTTP/1.0\r\n\r\n", "GET", "/", Version::HTTP_10),
            ("OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS", "*", Version::HTTP_11),
            ("CONNECT a:80 HTTP/1.1\r\n\r\n", "CONNECT", "a:80", Version::HTTP_11),
            ("GET http://a:8/b HTTP/1.1\r\n\r\n", "GET", "http://a:8/b", Version::HTTP_11),
            ("QUERY / HTTP/1.1\r\n\r\n", "QUERY", "/", Version::HTTP_11),
        ] {
            let head = request(text.as_bytes()).unwrap().unwrap();
            let got = (head.method.as_str(), head.uri.to_string(), head.version);
            assert_eq!(got, (method, uri.to_owned(), version));
        }
    }

    /// RFC 9112 §4.
    #[test]
    fn a_status_line_is_three_digits_and_maybe_a_reason() {
        let answer = |text: &str| Progress::default().take::<AnswerHead>(&mut BytesMut::from(text));
        for text in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 \r\n\r\n", "HTTP/1.1 200\r\n\r\n"] {
            assert_eq!(answer(text).unwrap().unwrap().status, 200, "{text:?}");
        }
        for (text, expected) in [
            ("HTTP/1.1 1000 OK\r\n\r\n", BadHead::Status),
            ("HTTP/1.1 abc OK\r\n\r\n", BadHead::Status),
            ("HTTP/1.1 099 OK\r\n\r\n", BadHead::Status),
            ("HTTP/1.1 200 OK\n\n", BadHead::LineEnd),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", BadHead::Field),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", BadHead::Field),
            ("HTTP/2.0 200 OK\r\n\r\n", BadHead::Version),
            ("-ERR unknown command\r\n", BadHead::Version),
        ] {
            assert_eq!(answer(text).map(|_| ()).unwrap_err(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_head_may_have_64_kib_and_100_fields() {
        let head = |field: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(field));
        let fits = HEAD_MAX - head(0).len();
        assert!(request(head(fits).as_bytes()).unwrap().is_some());
        assert_eq!(request(head(fits + 1).as_bytes()).unwrap_err(), BadHead::TooLarge);
        let endless = |length: usize| format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(length));
        assert!(request(endless(HEAD_MAX - 20).as_bytes()).unwrap().is_none());
        assert_eq!(request(endless(HEAD_MAX).as_bytes()).unwrap_err(), BadHead::TooLarge);
        let target = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD_MAX));
        assert_eq!(request(target.as_bytes()).unwrap_err(), BadHead::TargetTooLong);
        let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert_eq!(request(fields(100).as_bytes()).unwrap().unwrap().headers.len(), 100);
        assert_eq!(request(fields(101).as_bytes()).unwrap_err(), BadHead::TooManyFields);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_head_a_part_or_an_error(bytes: Vec<u8>, after in "[ -~\r\n]{0,200}") {
            drop(request(&bytes));
            drop(request(format!("GET / HTTP/1.1\r\n{after}").as_bytes()));
            drop(Progress::default().take::<AnswerHead>(&mut BytesMut::from(&*bytes)));
        }

        #[test]
        fn it_does_not_matter_in_which_parts_a_head_comes(
            fields in proptest::collection::vec(("[a-z]{1,9}", "[!-~]{1,20}"), 0..9),
            cuts in proptest::collection::vec(0_usize..300, 0..6),
        ) {
            let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let text = format!("GET /x HTTP/1.1\r\n{fields}\r\nrest");
            let whole = request(text.as_bytes());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut progress, mut buffer, mut last) = (Progress::default(), BytesMut::new(), Ok(None));
            for part in cuts.windows(2) {
                buffer.extend_from_slice(&text.as_bytes()[part[0]..part[1]]);
                if matches!(last, Ok(None)) {
                    last = progress.take::<RequestHead>(&mut buffer);
                }
            }
            prop_assert_eq!(format!("{last:?}"), format!("{whole:?}"));
            if let Ok(Some(_)) = last {
                prop_assert_eq!(&buffer[..], b"rest");
            }
        }
    }
}
