//! The little of cookies (RFC 6265) that a proxy needs: fields of them become one, and for sessions a cookie is read out of
//! a request and one is made for a response.

use bytes::Bytes;
use http::header::{COOKIE, HeaderMap};
use http::{HeaderValue, header::InvalidHeaderValue};
use std::fmt::Write;
use std::time::Duration;

/// The first value of the cookie with this name, as it stands there.
pub(crate) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    // HTTP/2 may send each cookie in a field of its own (RFC 9113 §8.2.3).
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.into_iter().find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Makes the Cookie fields of a request one. HTTP/2 may have one for each cookie, for better compression; whatever else is
/// spoken further on has one at most (RFC 9113 §8.2.3).
pub(crate) fn join(headers: &mut HeaderMap) {
    let (mut joined, mut is_sensitive) = (Vec::new(), false);
    for field in headers.get_all(COOKIE) {
        is_sensitive |= field.is_sensitive();
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(field.as_bytes());
    }
    // What values are made of is a value.
    if let Ok(mut joined) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
        joined.set_sensitive(is_sensitive);
        headers.insert(COOKIE, joined);
    }
}

/// What gives a client a cookie: for all of `path`, out of reach for scripts, for `ttl`, or until the browser is closed.
///
/// # Errors
/// `name` or `path` has characters that can't stand in a header.
pub(crate) fn set(
    name: &str,
    value: u64,
    ttl: Duration,
    path: &str,
) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut text = format!("{name}={value:016x}; Path={path}; HttpOnly");
    if !ttl.is_zero() {
        // Writing to a string can't fail.
        write!(text, "; Max-Age={}", ttl.as_secs()).ok();
    }
    HeaderValue::try_from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[&'static str]) -> HeaderMap {
        fields.iter().map(|field| (COOKIE, HeaderValue::from_static(field))).collect()
    }

    #[test]
    fn a_cookie_is_found_wherever_it_stands_and_not_by_half_its_name() {
        for (fields, found) in [
            (&["home=a"][..], Some("a")),
            (&["x=1; home=a; y=2"], Some("a")),
            (&["x=1;home=a"], Some("a")),
            (&["x=1", "home=a"], Some("a")),
            (&["home=a; home=b"], Some("a")),
            (&["home=a=b"], Some("a=b")),
            (&["home="], Some("")),
            (&["home"], None),
            (&["homes=a; xhome=a; Home=a"], None),
            (&[], None),
        ] {
            assert_eq!(value(&headers(fields), "home"), found.map(str::as_bytes), "{fields:?}");
        }
    }

    #[test]
    fn fields_of_cookies_become_one_in_their_order() {
        let mut several = headers(&["a=1", "b=2; c=3", "d=4"]);
        several.insert("x", HeaderValue::from_static("y"));
        join(&mut several);
        let joined: Vec<_> = several.get_all(COOKIE).iter().collect();
        assert_eq!(joined, ["a=1; b=2; c=3; d=4"]);
        assert_eq!(several.len(), 2);
    }

    #[test]
    fn a_cookie_that_is_given_says_how_long_and_where() {
        let text = |ttl, path| set("home", 0xab, Duration::from_secs(ttl), path).unwrap();
        assert_eq!(text(60, "/shop"), "home=00000000000000ab; Path=/shop; HttpOnly; Max-Age=60");
        assert_eq!(text(0, "/"), "home=00000000000000ab; Path=/; HttpOnly");
        assert!(set("home", 1, Duration::ZERO, "/\n").is_err());
    }
}
