//! The fields of a head, as a map whose values are slices of the bytes that were read, and what they say of the
//! connection and of the body's length. Pure.

use crate::error::BadHead;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPECT, HOST,
    HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// What a head says to this end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// Content-Length.
    pub(crate) length: Option<u64>,
    /// There is a Transfer-Encoding.
    pub(crate) is_coded: bool,
    /// It is `chunked`, and nothing else.
    pub(crate) is_chunked: bool,
    /// `Connection: close`.
    pub(crate) close: bool,
    /// `Connection: keep-alive`.
    pub(crate) keep_alive: bool,
    /// `Connection: upgrade` and Upgrade.
    pub(crate) upgrade: bool,
    /// `Expect: 100-continue`.
    pub(crate) expects_continue: bool,
}

/// Reads the fields that httparse has found in `head`.
///
/// # Errors
/// [`BadHead::Field`], [`BadHead::Length`].
pub(crate) fn read(head: &Bytes, found: &[httparse::Header<'_>]) -> Result<(HeaderMap, Seen), BadHead> {
    let mut headers = HeaderMap::with_capacity(found.len());
    let mut seen = Seen::default();
    let (mut lists_upgrade, mut names_protocol) = (false, false);
    for field in found {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadHead::Field)?;
        let value =
            HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| BadHead::Field)?;
        // By its length first, as most names are none of these.
        match field.name.len() {
            6 if name == EXPECT => seen.expects_continue |= is(&value, b"100-continue"),
            7 if name == UPGRADE => names_protocol = true,
            10 if name == CONNECTION => {
                for token in value.as_bytes().split(|byte| *byte == b',') {
                    let token = token.trim_ascii();
                    seen.close |= token.eq_ignore_ascii_case(b"close");
                    seen.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    lists_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            }
            14 if name == CONTENT_LENGTH => {
                let length = Some(number(value.as_bytes()).ok_or(BadHead::Length)?);
                match seen.length {
                    None => seen.length = length,
                    // Said twice, it is passed on once (RFC 9110 §8.6).
                    Some(_) if seen.length == length => continue,
                    Some(_) => return Err(BadHead::Length),
                }
            }
            17 if name == TRANSFER_ENCODING => {
                seen.is_chunked = !seen.is_coded && is(&value, b"chunked");
                seen.is_coded = true;
            }
            _ => {}
        }
        headers.try_append(name, value).map_err(|_| BadHead::TooManyFields)?;
    }
    seen.upgrade = lists_upgrade && names_protocol;
    Ok((headers, seen))
}

fn is(value: &HeaderValue, word: &[u8]) -> bool {
    value.as_bytes().eq_ignore_ascii_case(word)
}

/// A number as the grammar has it: digits, and nothing else.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Whether a field may stand behind a body: not where it says how the message is framed, where it goes, who sends it, or
/// what the body is (RFC 9110 §6.5.1).
pub(crate) fn may_trail(name: &HeaderName) -> bool {
    const NEVER: [HeaderName; 14] = [
        AUTHORIZATION,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        HOST,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    !NEVER.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(fields: &str) -> Result<(Vec<String>, Seen), BadHead> {
        let head = Bytes::from(format!("{fields}\r\n"));
        let mut found = [httparse::EMPTY_HEADER; 8];
        let httparse::Status::Complete((_, found)) = httparse::parse_headers(&head, &mut found).unwrap()
        else {
            panic!("a part");
        };
        let (headers, seen) = read(&head, found)?;
        let fields = headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
        Ok((fields.collect(), seen))
    }

    #[test]
    fn a_length_is_digits_and_the_same_wherever_it_stands() {
        for (fields, expected) in [
            ("Content-Length: 3\r\n", Ok(3)),
            ("Content-Length: 003 \r\n", Ok(3)),
            ("Content-Length: 18446744073709551615\r\n", Ok(u64::MAX)),
            ("Content-Length: 3\r\ncontent-length: 3\r\n", Ok(3)),
            ("Content-Length: 3\r\ncontent-length: 4\r\n", Err(BadHead::Length)),
            ("Content-Length: 3, 3\r\n", Err(BadHead::Length)),
            ("Content-Length: \r\n", Err(BadHead::Length)),
            ("Content-Length: +3\r\n", Err(BadHead::Length)),
            ("Content-Length: -3\r\n", Err(BadHead::Length)),
            ("Content-Length: 0x3\r\n", Err(BadHead::Length)),
            ("Content-Length: 3 0\r\n", Err(BadHead::Length)),
            ("Content-Length: 18446744073709551616\r\n", Err(BadHead::Length)),
        ] {
            let got = seen(fields).map(|(headers, seen)| {
                assert_eq!(headers.len(), 1, "{fields}: said once");
                seen.length.unwrap()
            });
            assert_eq!(got, expected, "{fields}");
        }
    }

    #[test]
    fn a_coding_is_chunked_only_if_it_is_nothing_else() {
        for (fields, expected) in [
            ("Transfer-Encoding: chunked\r\n", (true, true)),
            ("transfer-encoding:  CHUNKED \r\n", (true, true)),
            ("Transfer-Encoding: gzip, chunked\r\n", (true, false)),
            ("Transfer-Encoding: chunked, identity\r\n", (true, false)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", (true, false)),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", (true, false)),
            ("Transfer-Encoding: \"chunked\"\r\n", (true, false)),
            ("Transfer-Encoding: xchunked\r\n", (true, false)),
            ("Transfer-Encoding: \r\n", (true, false)),
            ("Accept: chunked\r\n", (false, false)),
        ] {
            let (_, seen) = seen(fields).unwrap();
            assert_eq!((seen.is_coded, seen.is_chunked), expected, "{fields}");
        }
    }

    #[test]
    fn the_connections_options_are_found_wherever_they_are_listed() {
        let of = |fields| seen(fields).unwrap().1;
        assert!(of("Connection: a, Close\r\n").close);
        assert!(of("Connection: a\r\nConnection: ,close,\r\n").close);
        assert!(of("Connection: Keep-Alive\r\n").keep_alive);
        assert!(!of("Connection: closed\r\n").close);
        assert!(of("Connection: upgrade\r\nUpgrade: websocket\r\n").upgrade);
        assert!(!of("Connection: upgrade\r\n").upgrade);
        assert!(!of("Upgrade: websocket\r\n").upgrade);
        assert!(of("Expect: 100-Continue\r\n").expects_continue);
        assert!(!of("Expect: 200-ok\r\n").expects_continue);
    }

    #[test]
    fn values_are_slices_of_the_head() {
        let head = Bytes::from_static(b"A: one\r\nB: two\r\n\r\n");
        let mut found = [httparse::EMPTY_HEADER; 2];
        let httparse::Status::Complete((_, found)) = httparse::parse_headers(&head, &mut found).unwrap()
        else {
            panic!("a part");
        };
        let (headers, _) = read(&head, found).unwrap();
        let range = head.as_ptr_range();
        for value in headers.values() {
            assert!(range.contains(&value.as_bytes().as_ptr()));
        }
    }
}
