//! Fields that belong to one connection and must not cross it (RFC 9110 §7.6.1). What enters is a message's header
//! map, and what one look at it has found; it is edited in place. Fields the Connection field lists go too, save those
//! without which the message would mean something else.

use super::fields::{Field, Fields};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Version};

/// Never about the message, only about the connection it came on.
pub(crate) static OF_THE_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Takes them out of a request. `TE: trailers` stays, as itself alone: gRPC needs it and HTTP/2 allows it.
pub(crate) fn strip_request(headers: &mut HeaderMap, fields: Fields) {
    if !fields.have(Field::OfTheConnection) && is_trailers_alone(headers, fields) {
        // As every gRPC client sends it.
        return;
    }
    let trailers = fields.have(Field::Te) && lists(headers, &TE, "trailers");
    strip(headers, fields);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes them out of a response.
pub(crate) fn strip_response(headers: &mut HeaderMap, fields: Fields) {
    strip(headers, fields);
}

/// The protocol a request asks to change to, if it does so properly: HTTP/1.1 with `Connection: upgrade` and `Upgrade`.
pub(crate) fn upgrade_token(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let token = headers.get(UPGRADE)?;
    // An offer of cleartext HTTP/2 is optional for the server, obsolete (RFC 9113 §3.1), and ours to ignore.
    if token.as_bytes().eq_ignore_ascii_case(b"h2c") {
        return None;
    }
    (version == Version::HTTP_11 && lists(headers, &CONNECTION, "upgrade")).then(|| token.clone())
}

/// Puts the fields of an upgrade back after they were taken out.
pub(crate) fn restore_upgrade(headers: &mut HeaderMap, token: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, token);
}

/// Whether the comma-separated field `name` lists `item`; a parameter after `;` does not matter.
fn lists(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.as_bytes().split(|b| *b == b',').any(|listed| {
            let listed = listed.split(|b| *b == b';').next().unwrap_or_default();
            listed.trim_ascii().eq_ignore_ascii_case(item.as_bytes())
        })
    })
}

fn is_trailers_alone(headers: &HeaderMap, fields: Fields) -> bool {
    let mut values = fields.have(Field::Te).then(|| headers.get_all(TE).iter()).into_iter().flatten();
    values.next().is_some_and(|te| te == "trailers") && values.next().is_none()
}

fn strip(headers: &mut HeaderMap, fields: Fields) {
    if !fields.have(Field::OfTheConnection) && !fields.have(Field::Te) {
        return;
    }
    strip_listed(headers);
    for name in &OF_THE_CONNECTION {
        headers.remove(name);
    }
}

fn strip_listed(headers: &mut HeaderMap) {
    let mut listed: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for item in value.as_bytes().split(|b| *b == b',') {
            let item = item.trim_ascii();
            if item.eq_ignore_ascii_case(b"keep-alive") || item.eq_ignore_ascii_case(b"close") {
                continue;
            }
            listed.extend(HeaderName::from_bytes(item).ok());
        }
    }
    for name in listed {
        // Whoever lists these wants us to break the message's framing or its address.
        if name != HOST && name != CONTENT_LENGTH && !name.as_str().starts_with("x-forwarded-") {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_belongs_to_the_connection_does_not_cross_it() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Hop"),
            ("connection", "x-other , host, content-length"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("x-end", "1"),
            ("host", "a"),
            ("content-length", "3"),
        ]);
        let fields = Fields::of(&headers);
        strip_request(&mut headers, fields);
        assert_eq!(names(&headers), ["content-length", "host", "x-end"]);
    }

    #[test]
    fn te_trailers_stays_alone() {
        let mut headers = map(&[("te", "gzip;q=0.5, trailers"), ("connection", "te")]);
        let fields = Fields::of(&headers);
        strip_request(&mut headers, fields);
        assert_eq!(headers.get(TE).unwrap(), "trailers");
        let (trailers, gzip) = (("te", "trailers"), ("te", "gzip"));
        for listed in [&[trailers] as &[_], &[gzip, trailers], &[trailers, gzip]] {
            let mut headers = map(listed);
            let fields = Fields::of(&headers);
            strip_request(&mut headers, fields);
            assert_eq!(headers.get_all(TE).iter().collect::<Vec<_>>(), ["trailers"]);
        }
        let mut headers = map(&[("te", "gzip")]);
        let fields = Fields::of(&headers);
        strip_request(&mut headers, fields);
        assert!(headers.is_empty());
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_http_1_1() {
        let both = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade_token(Version::HTTP_11, &both).unwrap(), "websocket");
        assert!(upgrade_token(Version::HTTP_10, &both).is_none());
        assert!(upgrade_token(Version::HTTP_11, &map(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade_token(Version::HTTP_11, &map(&[("connection", "upgrade")])).is_none());
        let h2c = map(&[("connection", "upgrade, http2-settings"), ("upgrade", "h2c")]);
        assert!(upgrade_token(Version::HTTP_11, &h2c).is_none());
    }

    proptest! {
        #[test]
        fn no_connection_field_survives(listed in "[a-z, -]{0,30}") {
            let mut headers = map(&[("connection", &listed), ("host", "a"), ("te", "x")]);
            let fields = Fields::of(&headers);
            strip_response(&mut headers, fields);
            prop_assert_eq!(names(&headers), ["host"]);
        }
    }
}
