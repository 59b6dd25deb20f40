//! A request as a peer sent it becomes one that means the same to every reader behind us, or is refused: exactly one
//! authority, no transfer coding but chunked, no field of the connection (RFC 9112 §3.2, §6.1, RFC 9113 §8.3.1). What
//! enters is a head, and what one look at its fields has found; it is edited in place. What leaves is the authority
//! and what the request asks for.

use super::authority::{AuthorityError, LastAuthority};
use super::cookie;
use super::fields::{Field, Fields};
use super::hop_by_hop;
use super::settings::HEAD_BYTES_MAX;
use crate::refusal::{Reason, Refusal};
use http::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Version};

/// Longest request target; what reads HTTP/1.1 stops at 64 KiB.
pub(crate) const TARGET_MAX: usize = 16 * 1024;

/// What a request asks for, after it was cleaned.
#[derive(Debug)]
pub(crate) struct Normalised {
    /// The authority as the client wrote it, valid; nothing for HTTP/1.0 without Host.
    pub(crate) authority: Option<HeaderValue>,
    /// The protocol it wants to change to.
    pub(crate) upgrade: Option<HeaderValue>,
}

fn bad(sentence: &'static str) -> Refusal {
    Refusal::because(Reason::BadRequest, sentence)
}

/// Checks a head and takes out what must not travel further. The Host field stays as it is: whoever sends the request
/// on writes the authority in the way its protocol wants.
///
/// # Errors
/// A refusal with `bad_request` or `uri_too_long` and the broken rule.
pub(crate) fn normalise(
    head: &mut Parts,
    fields: Fields,
    last: &LastAuthority,
) -> Result<Normalised, Refusal> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_MAX {
        return Err(Reason::UriTooLong.into());
    }
    // The same count as for HTTP/2, which HTTP/1 becomes on its way.
    let is_cut = head.extensions.get::<mesh_http2::Truncated>().is_some();
    if is_cut || target + fields.list_size() > HEAD_BYTES_MAX {
        return Err(Reason::HeadersTooLarge.into());
    }
    let authority = authority_of(head, fields, last)?;
    if head.method != Method::CONNECT
        && head.version < Version::HTTP_2
        && head.uri.scheme_str().is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http"))
    {
        return Err(bad("only http:// targets can be asked of the sidecar; it adds TLS itself"));
    }
    if fields.have(Field::TransferEncoding) {
        let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
        let coding = codings.next().map(|coding| coding.as_bytes().trim_ascii());
        if !coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) || codings.next().is_some() {
            return Err(bad("no transfer coding but chunked, once, is supported"));
        }
    }
    let upgrade = match fields.have(Field::Upgrade) {
        true => hop_by_hop::upgrade_token(head.version, &head.headers),
        false => None,
    };
    hop_by_hop::strip_request(&mut head.headers, fields);
    if head.version == Version::HTTP_2 && fields.have(Field::Cookies) {
        cookie::join(&mut head.headers);
    }
    Ok(Normalised { authority, upgrade })
}

/// The one authority: the target's if it has one (then Host does not count, RFC 9112 §3.2.2), else Host's.
fn authority_of(head: &Parts, fields: Fields, last: &LastAuthority) -> Result<Option<HeaderValue>, Refusal> {
    if fields.have(Field::Hosts) {
        return Err(bad("the request has more than one Host field"));
    }
    let host = fields.have(Field::Host).then(|| head.headers.get(HOST)).flatten();
    if host.is_none() && head.version == Version::HTTP_11 {
        return Err(bad("the request has no Host field"));
    }
    let authority = match (head.uri.authority(), host) {
        (Some(target), host) => {
            if head.version == Version::HTTP_2
                && host.is_some_and(|h| !h.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes()))
            {
                return Err(bad("the :authority and Host fields differ"));
            }
            target.as_str().as_bytes()
        }
        (None, Some(host)) if head.version < Version::HTTP_11 && host.is_empty() => return Ok(None),
        (None, Some(host)) => host.as_bytes(),
        (None, None) => return Ok(None),
    };
    let value = last.value(authority).map_err(|error| match error {
        AuthorityError::EmptyHost => bad("the host is empty"),
        AuthorityError::UserInformation => bad("the host holds user information"),
        AuthorityError::Character => bad("the host holds a character that no host may hold"),
        AuthorityError::Port => bad("the host's port is not a number between 1 and 65535"),
        AuthorityError::TooLong => bad("the host is longer than 255 characters"),
    })?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn judge(version: Version, method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<String, String> {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let fields = Fields::of(&head.headers);
        match normalise(&mut head, fields, &LastAuthority::default()) {
            Ok(n) => Ok(n.authority.map(|a| a.to_str().unwrap().to_owned()).unwrap_or_default()),
            Err(refusal) => Err(refusal.sentence.into_owned()),
        }
    }

    #[test]
    fn a_request_has_exactly_one_valid_authority() {
        let h1 = Version::HTTP_11;
        assert_eq!(judge(h1, "GET", "/", &[("host", "a:80")]).unwrap(), "a:80");
        assert_eq!(judge(h1, "GET", "http://b/x", &[("host", "a")]).unwrap(), "b");
        assert_eq!(judge(Version::HTTP_10, "GET", "/", &[]).unwrap(), "");
        assert_eq!(judge(Version::HTTP_2, "GET", "http://b/", &[]).unwrap(), "b");
        assert_eq!(judge(Version::HTTP_2, "GET", "http://b/", &[("host", "B")]).unwrap(), "b");
        for (version, uri, fields) in [
            (h1, "/", &[] as &[_]),
            (h1, "/", &[("host", "a"), ("host", "a")]),
            (h1, "/", &[("host", "u@a")]),
            (h1, "/", &[("host", "a:x")]),
            (h1, "/", &[("host", "a,b")]),
            (h1, "/", &[("host", "")]),
            (h1, "http://u@a/", &[("host", "a")]),
            (h1, "https://a/", &[("host", "a")]),
            (Version::HTTP_2, "http://b/", &[("host", "a")]),
        ] {
            assert!(judge(version, "GET", uri, fields).is_err(), "{uri} {fields:?}");
        }
    }

    #[test]
    fn no_transfer_coding_but_chunked_is_taken() {
        let ok = judge(Version::HTTP_11, "POST", "/", &[("host", "a"), ("transfer-encoding", "Chunked")]);
        assert!(ok.is_ok());
        for coding in ["gzip, chunked", "identity", "xchunked", ""] {
            let fields = [("host", "a"), ("transfer-encoding", coding)];
            assert!(judge(Version::HTTP_11, "POST", "/", &fields).is_err(), "{coding}");
        }
    }

    #[test]
    fn a_head_may_have_64_kib() {
        // 4 for the name, 32 for the field, 1 for the target `/`.
        let rest = HEAD_BYTES_MAX - 4 - 32 - 1;
        let fits = judge(Version::HTTP_2, "GET", "http://a/", &[("long", &"x".repeat(rest))]);
        assert!(fits.is_ok());
        let long = judge(Version::HTTP_2, "GET", "http://a/", &[("long", &"x".repeat(rest + 1))]);
        assert_eq!(long.unwrap_err(), Reason::HeadersTooLarge.row().sentence);
    }

    #[test]
    fn a_target_may_have_16_kib() {
        let host = [("host", "a")];
        assert!(judge(Version::HTTP_11, "GET", &format!("/{}", "x".repeat(TARGET_MAX - 1)), &host).is_ok());
        let long = judge(Version::HTTP_11, "GET", &format!("/{}", "x".repeat(TARGET_MAX)), &host);
        assert_eq!(long.unwrap_err(), Reason::UriTooLong.row().sentence);
    }
}
