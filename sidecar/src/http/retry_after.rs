//! When an answer says that a request may be sent again: `Retry-After` (RFC 9110 §10.2.3), and gRPC's pushback (gRFC A6).
//! Pure.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName};
use std::time::{Duration, SystemTime};

/// In milliseconds; what is not a number means not at all.
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What an answer says of another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    /// Nothing.
    Unsaid,
    /// Not before this has passed.
    In(Duration),
    /// Not at all.
    Never,
}

/// Reads what an answer's head says. A `Retry-After` that can't be read says nothing.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> RetryAfter {
    if let Some(pushback) = headers.get(PUSHBACK) {
        let millis = pushback.to_str().ok().and_then(|text| text.parse::<u32>().ok());
        return millis
            .map_or(RetryAfter::Never, |millis| RetryAfter::In(Duration::from_millis(millis.into())));
    }
    let Some(text) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()) else {
        return RetryAfter::Unsaid;
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        // More digits than fit are longer than anybody waits.
        return RetryAfter::In(Duration::from_secs(text.parse().unwrap_or(u32::MAX.into())));
    }
    match httpdate::parse_http_date(text) {
        Ok(date) => RetryAfter::In(date.duration_since(now).unwrap_or_default()),
        Err(_) => RetryAfter::Unsaid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn seconds_dates_and_pushback_are_read() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let secs = |seconds| RetryAfter::In(Duration::from_secs(seconds));
        for (name, value, expected) in [
            ("retry-after", "2", secs(2)),
            ("retry-after", "0", secs(0)),
            ("retry-after", "99999999999999999999999", secs(u64::from(u32::MAX))),
            ("retry-after", "-1", RetryAfter::Unsaid),
            ("retry-after", "soon", RetryAfter::Unsaid),
            ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT", secs(3)),
            ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", secs(0)),
            ("grpc-retry-pushback-ms", "1500", RetryAfter::In(Duration::from_millis(1_500))),
            ("grpc-retry-pushback-ms", "-1", RetryAfter::Never),
            ("grpc-retry-pushback-ms", "x", RetryAfter::Never),
            ("date", "2", RetryAfter::Unsaid),
        ] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expected, "{name}: {value}");
        }
    }
}
