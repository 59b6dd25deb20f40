//! Where a message's body ends (RFC 9112 §6.3). What enters is what its head says; what leaves is one way to find the
//! end. Pure.

use crate::error::BadHead;
use crate::fields::Seen;
use http::{Method, StatusCode, Version};

/// How a body that comes is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none, or so many bytes.
    Exact(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection: answers only.
    UntilClose,
}

/// How a body that is sent is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// There is none, whatever the fields say: the answer to HEAD, 1xx, 204, 304.
    Nothing,
    /// So many bytes.
    Exact(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection, for a client that knows no chunks.
    UntilClose,
}

/// The body of a request.
///
/// # Errors
/// [`BadHead::LengthAndCoding`], [`BadHead::Coding`].
pub(crate) fn of_request(method: &Method, version: Version, seen: &Seen) -> Result<Length, BadHead> {
    match explicit(version, seen)? {
        // What follows a CONNECT is the tunnel's (RFC 9110 §9.3.6).
        Some(Length::Chunked) if *method == Method::CONNECT => Err(BadHead::Coding),
        Some(Length::Exact(1..)) if *method == Method::CONNECT => Err(BadHead::Length),
        Some(length) => Ok(length),
        None => Ok(Length::Exact(0)),
    }
}

/// The body of the answer to a request with `method`.
///
/// # Errors
/// [`BadHead::LengthAndCoding`], [`BadHead::Coding`].
pub(crate) fn of_answer(
    method: &Method,
    status: StatusCode,
    version: Version,
    seen: &Seen,
) -> Result<Length, BadHead> {
    if *method == Method::HEAD || has_no_body(status) {
        return Ok(Length::Exact(0));
    }
    Ok(explicit(version, seen)?.unwrap_or(Length::UntilClose))
}

fn explicit(version: Version, seen: &Seen) -> Result<Option<Length>, BadHead> {
    match (seen.is_coded, seen.length) {
        (false, length) => Ok(length.map(Length::Exact)),
        (true, Some(_)) => Err(BadHead::LengthAndCoding),
        // RFC 9112 §6.1: a coding in HTTP/1.0 is a fault of the framing.
        (true, None) if seen.is_chunked && version == Version::HTTP_11 => Ok(Some(Length::Chunked)),
        (true, None) => Err(BadHead::Coding),
    }
}

/// How an answer's body is sent. `length` is what its head says, `known` what its body says.
pub(crate) fn for_answer(
    method: &Method,
    version: Version,
    status: StatusCode,
    length: Option<u64>,
    known: Option<u64>,
) -> Encoding {
    if *method == Method::HEAD || has_no_body(status) || (*method == Method::CONNECT && status.is_success()) {
        return Encoding::Nothing;
    }
    match length.or(known) {
        Some(length) => Encoding::Exact(length),
        None if version == Version::HTTP_11 => Encoding::Chunked,
        None => Encoding::UntilClose,
    }
}

/// How a request's body is sent. A method that usually has one says so where there is none (RFC 9110 §8.6).
pub(crate) fn for_request(method: &Method, length: Option<u64>, known: Option<u64>) -> Encoding {
    match length.or(known) {
        Some(0) if length.is_none() && !has_usually_a_body(method) => Encoding::Nothing,
        Some(length) => Encoding::Exact(length),
        None => Encoding::Chunked,
    }
}

fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn has_usually_a_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(length: Option<u64>, coding: Option<bool>) -> Seen {
        Seen { length, is_coded: coding.is_some(), is_chunked: coding == Some(true), ..Seen::default() }
    }

    /// RFC 9112 §6.3 for requests.
    #[test]
    fn a_request_has_the_length_it_says_or_none() {
        let (h10, h11) = (Version::HTTP_10, Version::HTTP_11);
        for (version, method, length, coding, expected) in [
            (h11, Method::GET, None, None, Ok(Length::Exact(0))),
            (h11, Method::POST, Some(3), None, Ok(Length::Exact(3))),
            (h11, Method::POST, None, Some(true), Ok(Length::Chunked)),
            (h11, Method::POST, None, Some(false), Err(BadHead::Coding)),
            (h11, Method::POST, Some(3), Some(true), Err(BadHead::LengthAndCoding)),
            (h11, Method::POST, Some(3), Some(false), Err(BadHead::LengthAndCoding)),
            (h10, Method::POST, None, Some(true), Err(BadHead::Coding)),
            (h10, Method::POST, Some(3), None, Ok(Length::Exact(3))),
            (h11, Method::CONNECT, None, None, Ok(Length::Exact(0))),
            (h11, Method::CONNECT, Some(0), None, Ok(Length::Exact(0))),
            (h11, Method::CONNECT, Some(1), None, Err(BadHead::Length)),
            (h11, Method::CONNECT, None, Some(true), Err(BadHead::Coding)),
        ] {
            let seen = seen(length, coding);
            assert_eq!(of_request(&method, version, &seen), expected, "{method} {version:?} {seen:?}");
        }
    }

    /// RFC 9112 §6.3 for answers.
    #[test]
    fn an_answer_ends_as_its_request_and_status_say() {
        let h11 = Version::HTTP_11;
        for (method, status, length, coding, expected) in [
            (Method::GET, 200, None, None, Ok(Length::UntilClose)),
            (Method::GET, 200, Some(3), None, Ok(Length::Exact(3))),
            (Method::GET, 200, None, Some(true), Ok(Length::Chunked)),
            (Method::GET, 200, None, Some(false), Err(BadHead::Coding)),
            (Method::GET, 200, Some(3), Some(true), Err(BadHead::LengthAndCoding)),
            (Method::HEAD, 200, Some(3), None, Ok(Length::Exact(0))),
            (Method::HEAD, 200, None, Some(true), Ok(Length::Exact(0))),
            (Method::GET, 204, Some(3), None, Ok(Length::Exact(0))),
            (Method::GET, 304, Some(3), None, Ok(Length::Exact(0))),
            (Method::GET, 101, None, None, Ok(Length::Exact(0))),
            (Method::GET, 205, None, None, Ok(Length::UntilClose)),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let seen = seen(length, coding);
            assert_eq!(of_answer(&method, status, h11, &seen), expected, "{method} {status} {seen:?}");
        }
    }

    #[test]
    fn what_is_sent_is_delimited_as_its_reader_understands() {
        let (h10, h11) = (Version::HTTP_10, Version::HTTP_11);
        for (method, version, status, length, known, expected) in [
            (Method::GET, h11, 200, Some(3), None, Encoding::Exact(3)),
            (Method::GET, h11, 200, None, Some(0), Encoding::Exact(0)),
            (Method::GET, h11, 200, None, None, Encoding::Chunked),
            (Method::GET, h10, 200, None, None, Encoding::UntilClose),
            (Method::HEAD, h11, 200, Some(3), None, Encoding::Nothing),
            (Method::GET, h11, 204, Some(3), None, Encoding::Nothing),
            (Method::GET, h11, 304, Some(3), None, Encoding::Nothing),
            (Method::GET, h11, 101, None, None, Encoding::Nothing),
            (Method::CONNECT, h11, 200, None, None, Encoding::Nothing),
            (Method::CONNECT, h11, 502, None, Some(4), Encoding::Exact(4)),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(for_answer(&method, version, status, length, known), expected, "{method} {status}");
        }
        for (method, length, known, expected) in [
            (Method::GET, None, Some(0), Encoding::Nothing),
            (Method::POST, None, Some(0), Encoding::Exact(0)),
            (Method::GET, Some(0), Some(0), Encoding::Exact(0)),
            (Method::POST, Some(3), None, Encoding::Exact(3)),
            (Method::GET, None, None, Encoding::Chunked),
        ] {
            assert_eq!(for_request(&method, length, known), expected, "{method} {length:?}");
        }
    }
}
