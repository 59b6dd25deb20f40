//! What is spoken on a connection, by its first bytes. What enters is a prefix of what a client sent; what leaves is a
//! verdict, or that more is needed. Pure, but for `either` and `http_only`, which read.

mod early;
mod either;
mod hello;
mod host;
mod http_only;
mod learned;

pub(crate) use early::Early;
pub(crate) use either::{FIRST_READ, Look, Seen, Speaks, Spoken, either, see};
#[cfg(test)]
pub(crate) use hello::tests::client_hello;
pub(crate) use hello::{HELLO_MAX, Hello, hello};
pub(crate) use host::{Host, host};
pub(crate) use http_only::{More, http_only, read_more};
pub(crate) use learned::{HELD, Learned, Observed};

/// The client's preface of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes looked at; a longer first line with nothing of HTTP in it is not HTTP.
pub(crate) const LOOK_MAX: usize = 1024;

/// Longest method there is in practice (`UPDATEREDIRECTREF`).
const METHOD_MAX: usize = 17;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Something else.
    Opaque,
    /// It could still be HTTP.
    More,
}

/// Judges the bytes a client has sent so far on a port where anything may be spoken. HTTP/1 is a whole request line:
/// other protocols begin with a word and a space too (`SET key value`), none ends its first line in `HTTP/1.1`. In how many
/// pieces the line comes changes nothing: who sends a request slowly does not make it something else.
pub(crate) fn judge(bytes: &[u8]) -> Verdict {
    let bytes = bytes.get(..LOOK_MAX).unwrap_or(bytes);
    match preface(bytes) {
        Some(true) => return Verdict::Http2,
        Some(false) => return Verdict::More,
        None => {}
    }
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let ended = line.len() < bytes.len();
    let method = line.iter().take_while(|b| b.is_ascii_uppercase() || **b == b'-').count();
    match line.get(method) {
        None if method <= METHOD_MAX && !ended => return Verdict::More,
        Some(b' ') if (1..=METHOD_MAX).contains(&method) => {}
        _ => return Verdict::Opaque,
    }
    if ended {
        let line = line.trim_ascii_end();
        let version = line.len().checked_sub(9).and_then(|start| line.get(start..)).unwrap_or_default();
        let is_http = matches!(version, b" HTTP/1.1" | b" HTTP/1.0");
        return if is_http { Verdict::Http1 } else { Verdict::Opaque };
    }
    if bytes.len() < LOOK_MAX {
        return Verdict::More;
    }
    // A target of a thousand bytes that began like one: nothing else looks so.
    match line.get(method + 1) {
        None | Some(b'/' | b'*' | b'h' | b'H') => Verdict::Http1,
        Some(_) if line.starts_with(b"CONNECT ") => Verdict::Http1,
        Some(_) => Verdict::Opaque,
    }
}

/// Judges on a port where only HTTP is spoken: which one.
pub(crate) fn judge_http(bytes: &[u8]) -> Verdict {
    match preface(bytes) {
        Some(true) => Verdict::Http2,
        Some(false) => Verdict::More,
        None => Verdict::Http1,
    }
}

/// Whether bytes are the whole preface, a part of it, or neither. `PRI` is no method of HTTP/1, so four bytes decide.
fn preface(bytes: &[u8]) -> Option<bool> {
    let start = PREFACE.get(..bytes.len().min(4)).unwrap_or_default();
    bytes.starts_with(start).then_some(bytes.len() >= 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_bytes_tell() {
        for (bytes, verdict) in [
            ("", Verdict::More),
            ("P", Verdict::More),
            ("PRI", Verdict::More),
            ("PRI * HTTP/2.0\r\n", Verdict::Http2),
            ("POST", Verdict::More),
            ("GET / HTTP/1.1\r\n", Verdict::Http1),
            ("GET / HTTP/1.0\n", Verdict::Http1),
            ("GET http://a/ HTTP/1.1\r\nHost: a\r\n", Verdict::Http1),
            ("CONNECT a:80 HTTP/1.1\r\n", Verdict::Http1),
            ("OPTIONS * HTTP/1.1\r\n", Verdict::Http1),
            ("GET /x", Verdict::More),
            ("GET key\r\n", Verdict::Opaque),
            ("GET key", Verdict::More),
            ("GET ~/x HTTP/1.1\r\n", Verdict::Http1),
            ("SET /a b\r\n", Verdict::Opaque),
            ("hello\n", Verdict::Opaque),
            ("PING\r\n", Verdict::Opaque),
            ("PING", Verdict::More),
            ("*1\r\n$4\r\nPING\r\n", Verdict::Opaque),
            ("\u{16}\u{3}\u{1}", Verdict::Opaque),
            ("\n", Verdict::Opaque),
            ("ABCDEFGHIJKLMNOPQRSTUVW", Verdict::Opaque),
        ] {
            assert_eq!(judge(bytes.as_bytes()), verdict, "{bytes:?}");
        }
        let long = format!("GET /{}", "x".repeat(LOOK_MAX));
        assert_eq!(judge(long.as_bytes()), Verdict::Http1);
    }

    #[test]
    fn a_line_means_the_same_in_however_many_pieces_it_comes() {
        let long = |start: &str| format!("{start}{} HTTP/1.1\r\n", "x".repeat(LOOK_MAX));
        for line in
            ["GET ~/x HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "GET key\r\n", &long("GET /"), &long("GET ~")]
        {
            let whole = judge(line.as_bytes());
            for end in 0..line.len() {
                let part = judge(&line.as_bytes()[..end]);
                assert!(
                    part == Verdict::More || part == whole,
                    "{part:?}, then {whole:?}: {end} of {line:?}"
                );
            }
        }
    }

    #[test]
    fn where_only_http_is_spoken_the_preface_decides() {
        for (bytes, verdict) in
            [("", Verdict::More), ("PR", Verdict::More), ("PRI ", Verdict::Http2), ("PUT", Verdict::Http1)]
        {
            assert_eq!(judge_http(bytes.as_bytes()), verdict, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_verdict_stays_when_more_bytes_come(bytes: Vec<u8>, more: Vec<u8>) {
            let first = judge(&bytes);
            if first != Verdict::More {
                prop_assert_eq!(judge(&[bytes, more].concat()), first);
            }
        }

        #[test]
        fn enough_bytes_always_decide(bytes in proptest::collection::vec(any::<u8>(), LOOK_MAX..LOOK_MAX + 10)) {
            prop_assert_ne!(judge(&bytes), Verdict::More);
        }
    }
}
