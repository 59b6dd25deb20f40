//! The fields every connection knows from the beginning (RFC 7541 Appendix A), by index from 1. Pure.

use super::decoder::Entry;
use super::field::{Field, Name};
use http::header::HeaderName;
use std::sync::LazyLock;

/// How many there are; the dynamic table's newest entry has the next index.
pub(super) const STATIC_COUNT: usize = 61;

const ENTRIES: [(&str, &str); STATIC_COUNT] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The same in the form they are decoded to.
static DECODED: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let decoded = ENTRIES.iter().map(|(name, value)| Entry {
        field: Field::new(Name::parse(name.as_bytes()), value.as_bytes()),
        name_bytes: name.len(),
        size: name.len() + value.len() + super::OVERHEAD,
    });
    decoded.collect()
});

/// The field at `index`.
pub(super) fn field(index: usize) -> Option<&'static Entry> {
    DECODED.get(index.checked_sub(1)?)
}

/// The index of this name with this value.
pub(super) fn index_of(name: &str, value: &[u8]) -> Option<usize> {
    ENTRIES.iter().position(|(n, v)| *n == name && v.as_bytes() == value).map(|place| place + 1)
}

/// The index of the first entry with this name.
pub(super) fn index_of_name(name: &str) -> Option<usize> {
    ENTRIES.iter().position(|(n, _)| *n == name).map(|place| place + 1)
}

/// Whether a field holds a secret, which never enters a table (RFC 7541 §7.1.3): nobody should find out by guessing whether
/// it was sent before.
pub(crate) fn is_secret(name: &HeaderName, value_bytes: usize) -> bool {
    /// A cookie shorter than that could be guessed.
    const GUESSABLE: usize = 20;
    match name.as_str() {
        "authorization" | "proxy-authorization" => true,
        "cookie" | "set-cookie" => value_bytes < GUESSABLE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_those_of_the_appendix() {
        for (index, name, value) in [
            (1, ":authority", ""),
            (8, ":status", "200"),
            (16, "accept-encoding", "gzip, deflate"),
            (28, "content-length", ""),
            (61, "www-authenticate", ""),
        ] {
            assert_eq!(index_of(name, value.as_bytes()), Some(index));
        }
        assert_eq!(index_of_name(":path"), Some(4));
        assert!(field(0).is_none() && field(62).is_none() && field(61).is_some());
    }

    #[test]
    fn secrets_are_known_by_name() {
        assert!(is_secret(&http::header::AUTHORIZATION, 500));
        assert!(is_secret(&http::header::COOKIE, 19) && !is_secret(&http::header::COOKIE, 20));
        assert!(!is_secret(&http::header::ACCEPT, 3));
    }
}
