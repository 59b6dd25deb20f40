//! The authority of a request: `host` or `host:port` (RFC 3986 §3.2, RFC 9110 §4.2.1). User information, empty hosts,
//! ports that are no number and bytes outside the grammar are errors, since two readers that disagree about them are
//! how requests are smuggled. Pure, but for the last authority of a connection, which is remembered.

use http::HeaderValue;
use std::cell::RefCell;

/// What an authority says, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthorityParts<'a> {
    /// The host; an IPv6 address keeps its brackets.
    pub(crate) host: &'a str,
    /// The port, if one is given.
    pub(crate) port: Option<u16>,
}

/// Which rule an authority breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("the host is empty")]
    EmptyHost,
    #[error("the host holds user information")]
    UserInformation,
    #[error("the host holds a character that no host may hold")]
    Character,
    #[error("the port is not a number between 1 and 65535")]
    Port,
    #[error("the host is longer than 255 characters")]
    TooLong,
}

/// A DNS name has at most 253 characters; the rest is a port's.
const HOST_MAX: usize = 255;

/// Reads an authority.
pub(crate) fn parse(authority: &[u8]) -> Result<AuthorityParts<'_>, AuthorityError> {
    let text = std::str::from_utf8(authority).map_err(|_| AuthorityError::Character)?;
    if text.contains('@') {
        return Err(AuthorityError::UserInformation);
    }
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or(AuthorityError::Character)?;
        let (host, rest) = text.split_at_checked(end + 1).ok_or(AuthorityError::Character)?;
        let inside = host.get(1..end).unwrap_or_default();
        if inside.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(AuthorityError::Character);
        }
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(AuthorityError::Character),
        }
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        if !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')) {
            return Err(AuthorityError::Character);
        }
        (host, port)
    };
    if host.is_empty() {
        return Err(AuthorityError::EmptyHost);
    }
    if host.len() > HOST_MAX {
        return Err(AuthorityError::TooLong);
    }
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or(AuthorityError::Port)?)
        }
        Some(_) => return Err(AuthorityError::Port),
    };
    Ok(AuthorityParts { host, port })
}

/// The authority that the last request of a connection had. Most ask for the same as the one before, so that it is read
/// and copied once.
#[derive(Debug, Default)]
pub(crate) struct LastAuthority(RefCell<Option<HeaderValue>>);

impl LastAuthority {
    /// An authority as a field's value, a copy.
    ///
    /// # Errors
    /// The rule it breaks.
    pub(crate) fn value(&self, authority: &[u8]) -> Result<HeaderValue, AuthorityError> {
        if let Some(last) = &*self.0.borrow()
            && last.as_bytes() == authority
        {
            return Ok(last.clone());
        }
        parse(authority)?;
        let value = HeaderValue::from_bytes(authority).map_err(|_| AuthorityError::Character)?;
        *self.0.borrow_mut() = Some(value.clone());
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_grammar_is_an_authority() {
        for (text, expected) in [
            ("orders", Ok(("orders", None))),
            ("orders:8080", Ok(("orders", Some(8080)))),
            ("orders:", Ok(("orders", None))),
            ("Orders.shop.svc.mesh.internal:80", Ok(("Orders.shop.svc.mesh.internal", Some(80)))),
            ("127.0.0.1:1", Ok(("127.0.0.1", Some(1)))),
            ("[::1]", Ok(("[::1]", None))),
            ("[::1]:80", Ok(("[::1]", Some(80)))),
            ("", Err(AuthorityError::EmptyHost)),
            (":80", Err(AuthorityError::EmptyHost)),
            ("user@orders", Err(AuthorityError::UserInformation)),
            ("orders:80:90", Err(AuthorityError::Port)),
            ("orders:0", Err(AuthorityError::Port)),
            ("orders:65536", Err(AuthorityError::Port)),
            ("orders:+80", Err(AuthorityError::Port)),
            ("orders:8a", Err(AuthorityError::Port)),
            ("orders/x", Err(AuthorityError::Character)),
            ("or ders", Err(AuthorityError::Character)),
            ("or,ders", Err(AuthorityError::Character)),
            ("[::1", Err(AuthorityError::Character)),
            ("[x]", Err(AuthorityError::Character)),
            ("[::1]x", Err(AuthorityError::Character)),
            ("::1", Err(AuthorityError::EmptyHost)),
            ("or\u{e9}", Err(AuthorityError::Character)),
        ] {
            let expected = expected.map(|(host, port)| AuthorityParts { host, port });
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(parse("a".repeat(256).as_bytes()), Err(AuthorityError::TooLong));
    }

    #[test]
    fn a_bad_authority_is_refused_whatever_was_asked_before() {
        let last = LastAuthority::default();
        assert_eq!(last.value(b"orders:80").unwrap(), "orders:80");
        assert_eq!(last.value(b"orders:80").unwrap(), "orders:80");
        assert_eq!(last.value(b"orders:0"), Err(AuthorityError::Port));
        assert_eq!(last.value(b"orders:80").unwrap(), "orders:80");
        assert_eq!(last.value(b"u@orders"), Err(AuthorityError::UserInformation));
        assert_eq!(last.value(b"orders").unwrap(), "orders");
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes: Vec<u8>) { parse(&bytes).ok(); }

        #[test]
        fn what_is_accepted_is_made_of_its_parts(text in "[a-z.]{1,9}(:[0-9]{0,6})?") {
            if let Ok(parts) = parse(text.as_bytes()) {
                prop_assert!(text.starts_with(parts.host));
                if let Some(port) = parts.port { prop_assert!(text.ends_with(&port.to_string())); }
            }
        }
    }
}
