//! One field in the form the `http` crate has for it, checked by the rules of HTTP/2 (RFC 9113 §8.2, §8.3). It is made when
//! it comes as bytes and kept in the table so, hence what is sent again is not looked at again. A field that breaks a rule
//! is kept too, with the rule: the table counts it, and messages that have it are refused. Pure.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode};

/// What is wrong with a message, though it could be decoded. It is refused by itself and its connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Upper-case or other characters that no name has.
    #[error("a field's name holds a character it may not hold, such as an upper-case one")]
    FieldName,
    /// NUL, CR, LF, or white space at an end.
    #[error("a field's value holds a character it may not hold there")]
    FieldValue,
    /// Connection and its like.
    #[error("a field is about the connection, which HTTP/2 has no fields for")]
    OfTheConnection,
    /// TE with anything but `trailers`.
    #[error("the TE field says something else than `trailers`")]
    Te,
    /// A pseudo-header field nobody knows, or one of the other kind of message.
    #[error("a pseudo-header field does not belong into this message")]
    UnknownPseudo,
    /// The same one twice.
    #[error("a pseudo-header field comes twice")]
    RepeatedPseudo,
    /// After the others.
    #[error("a pseudo-header field comes after a regular field")]
    LatePseudo,
    /// A message without one it needs.
    #[error("a pseudo-header field is missing")]
    MissingPseudo,
    /// `:method` is none.
    #[error("the :method field is no method")]
    Method,
    /// `:scheme` is none.
    #[error("the :scheme field is no scheme")]
    Scheme,
    /// `:authority` is none.
    #[error("the :authority field is no authority")]
    Authority,
    /// `:path` is none.
    #[error("the :path field is no path")]
    Path,
    /// `:status` is none.
    #[error("the :status field is no status")]
    Status,
    /// Content-Length is no number, or two different ones.
    #[error("the Content-Length field is not one number")]
    ContentLength,
    /// More or less came than Content-Length said.
    #[error("the body is not as long as the Content-Length field says")]
    BodyLength,
    /// Trailers with a pseudo-header field.
    #[error("the trailers hold a pseudo-header field")]
    PseudoInTrailers,
    /// A second head that does not end the stream.
    #[error("a second header section does not end the stream")]
    SecondHead,
    /// Fields beyond our limit, where nobody could answer so.
    #[error("the fields together are larger than we take")]
    TooLarge,
}

/// A field's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:status`
    Status,
    /// A regular one.
    Regular(HeaderName),
    /// One that no message may have.
    Bad(Malformed),
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    /// `:method`
    Method(Method),
    /// `:scheme`
    Scheme(Scheme),
    /// `:authority`
    Authority(Authority),
    /// `:path`
    Path(PathAndQuery),
    /// `:status`
    Status(StatusCode),
    /// A regular one.
    Regular(HeaderName, HeaderValue),
    /// One that no message may have; later fields may still refer to its name.
    Malformed(Name, Malformed),
}

impl Name {
    pub(super) fn parse(name: &[u8]) -> Self {
        if name.first() == Some(&b':') {
            return match name {
                b":method" => Self::Method,
                b":scheme" => Self::Scheme,
                b":authority" => Self::Authority,
                b":path" => Self::Path,
                b":status" => Self::Status,
                _ => Self::Bad(Malformed::UnknownPseudo),
            };
        }
        match HeaderName::from_lowercase(name) {
            Ok(name) if is_of_the_connection(&name) => Self::Bad(Malformed::OfTheConnection),
            Ok(name) => Self::Regular(name),
            Err(_invalid) => Self::Bad(Malformed::FieldName),
        }
    }
}

fn is_of_the_connection(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

impl Field {
    /// A field of this name; what it must not be becomes [`Field::Malformed`].
    pub(super) fn new(name: Name, value: &[u8]) -> Self {
        let made = match &name {
            Name::Method => Method::from_bytes(value).map(Self::Method).map_err(|_| Malformed::Method),
            Name::Scheme if value.is_empty() => Err(Malformed::Scheme),
            Name::Scheme => Scheme::try_from(value).map(Self::Scheme).map_err(|_| Malformed::Scheme),
            Name::Authority => Authority::from_maybe_shared(Bytes::copy_from_slice(value))
                .map(Self::Authority)
                .map_err(|_| Malformed::Authority),
            Name::Path => path(value).map(Self::Path),
            Name::Status => StatusCode::from_bytes(value).map(Self::Status).map_err(|_| Malformed::Status),
            Name::Regular(name) => regular(name, value),
            Name::Bad(why) => Err(*why),
        };
        made.unwrap_or_else(|why| Self::Malformed(name, why))
    }

    /// Its name.
    pub(super) fn name(&self) -> Name {
        match self {
            Self::Method(_) => Name::Method,
            Self::Scheme(_) => Name::Scheme,
            Self::Authority(_) => Name::Authority,
            Self::Path(_) => Name::Path,
            Self::Status(_) => Name::Status,
            Self::Regular(name, _) => Name::Regular(name.clone()),
            Self::Malformed(name, _) => name.clone(),
        }
    }
}

/// The path of a URI that is not the URI itself (RFC 9113 §8.3.1).
fn path(value: &[u8]) -> Result<PathAndQuery, Malformed> {
    if value.first() != Some(&b'/') && value != b"*" {
        return Err(Malformed::Path);
    }
    PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(value)).map_err(|_| Malformed::Path)
}

fn regular(name: &HeaderName, value: &[u8]) -> Result<Field, Malformed> {
    if *name == header::TE && !value.eq_ignore_ascii_case(b"trailers") {
        return Err(Malformed::Te);
    }
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) {
        return Err(Malformed::FieldValue);
    }
    let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value));
    value.map(|value| Field::Regular(name.clone(), value)).map_err(|_| Malformed::FieldValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, value: &[u8]) -> Result<Field, Malformed> {
        let field = Field::new(Name::parse(name.as_bytes()), value);
        if let Field::Malformed(_, why) = field { Err(why) } else { Ok(field) }
    }

    #[test]
    fn every_rule_is_told_by_its_name() {
        for (name, value, why) in [
            ("Accept", "x", Malformed::FieldName),
            ("a b", "x", Malformed::FieldName),
            ("", "x", Malformed::FieldName),
            ("a:", "x", Malformed::FieldName),
            (":Path", "/", Malformed::UnknownPseudo),
            (":protocol", "websocket", Malformed::UnknownPseudo),
            ("connection", "x", Malformed::OfTheConnection),
            ("keep-alive", "x", Malformed::OfTheConnection),
            ("proxy-connection", "x", Malformed::OfTheConnection),
            ("transfer-encoding", "chunked", Malformed::OfTheConnection),
            ("upgrade", "x", Malformed::OfTheConnection),
            ("te", "gzip", Malformed::Te),
            ("accept", " x", Malformed::FieldValue),
            ("accept", "x\t", Malformed::FieldValue),
            ("accept", "a\nb", Malformed::FieldValue),
            ("accept", "a\rb", Malformed::FieldValue),
            ("accept", "a\0b", Malformed::FieldValue),
            (":method", "", Malformed::Method),
            (":method", "G T", Malformed::Method),
            (":scheme", "", Malformed::Scheme),
            (":authority", "", Malformed::Authority),
            (":authority", "a/b", Malformed::Authority),
            (":path", "", Malformed::Path),
            (":path", "x", Malformed::Path),
            (":path", "http://a/", Malformed::Path),
            (":path", "/a b", Malformed::Path),
            (":status", "20", Malformed::Status),
        ] {
            assert_eq!(made(name, value.as_bytes()), Err(why), "{name}: {value:?}");
        }
    }

    #[test]
    fn what_is_allowed_is_made() {
        for (name, value) in [
            ("accept", ""),
            ("te", "trailers"),
            ("x-\u{7e}", "a\tb \u{e9}"),
            (":path", "*"),
            (":path", "/a?b=c"),
            (":scheme", "https"),
            (":method", "PURGE"),
            (":authority", "a.b:80"),
            (":status", "599"),
        ] {
            assert!(made(name, value.as_bytes()).is_ok(), "{name}: {value:?}");
        }
    }
}
