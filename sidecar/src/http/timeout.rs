//! How much time a request has left, as it is told from hop to hop. Pure: what enters are header maps and the time; what
//! leaves is a duration, or the fields for the next hop.
//!
//! | field | says | between |
//! | --- | --- | --- |
//! | `grpc-timeout` | what is left (gRPC over HTTP/2, "Requests") | everybody who speaks gRPC |
//! | `outrigger-timeout` | what is left, in milliseconds | an application and its sidecar, a sidecar and the next |
//! | `outrigger-deadline` | until when, in milliseconds of Unix time | a sidecar and the application beside it |
//!
//! Clocks of two machines differ, so that between machines what is left is told; an application that takes its time before it
//! calls the next would pass on more than is left, so that on one machine, which has one clock, the end is told. It need only
//! copy the field to its own calls. Whoever is outside of the mesh says neither: it would shorten what others wait for.

use super::fields::{Field, Fields};
use super::grpc;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is left of a gRPC call.
pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What is left of a request, in milliseconds.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("outrigger-timeout");
/// When a request's time ends, in milliseconds of Unix time.
pub(crate) const DEADLINE: HeaderName = HeaderName::from_static("outrigger-deadline");

/// Most digits of a gRPC timeout.
const GRPC_DIGITS_MAX: usize = 8;

/// How much time a request's head says that it has, the least of what it says; nothing if it says nothing of it that can be
/// read.
pub(crate) fn left(headers: &HeaderMap, fields: Fields, now: SystemTime) -> Option<Duration> {
    if !fields.have(Field::Timeout) {
        return None;
    }
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let grpc = text(&GRPC_TIMEOUT).and_then(read_grpc);
    let told = text(&TIMEOUT).and_then(number).map(Duration::from_millis);
    let until = text(&DEADLINE).and_then(number).map(|until| {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(until).saturating_sub(now)
    });
    [grpc, told, until].into_iter().flatten().min()
}

/// Writes what is left for the next hop: for a sidecar, and for a gRPC call whoever carries it. What was said before is taken
/// out.
pub(crate) fn tell(headers: &mut HeaderMap, left: Option<Duration>, is_meshed: bool) {
    headers.remove(DEADLINE);
    match left {
        Some(left) => {
            if is_meshed {
                headers.insert(TIMEOUT, HeaderValue::from(millis(left)));
            } else {
                headers.remove(TIMEOUT);
            }
            if grpc::is_grpc(headers)
                && let Ok(value) = HeaderValue::try_from(write_grpc(left))
            {
                headers.insert(GRPC_TIMEOUT, value);
            }
        }
        None => {
            headers.remove(TIMEOUT);
        }
    }
}

/// A request has come from a peer's sidecar: the application beside this one is told until when it has time.
pub(crate) fn receive(headers: &mut HeaderMap, now: SystemTime) {
    headers.remove(DEADLINE);
    let told = headers.remove(TIMEOUT);
    let left = told.and_then(|value| number(value.to_str().ok()?));
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Some(until) = left.and_then(|left| now.checked_add(Duration::from_millis(left))) {
        headers.insert(DEADLINE, HeaderValue::from(millis(until)));
    }
}

/// Takes out what only sidecars and the application beside them may say.
pub(crate) fn strip(headers: &mut HeaderMap) {
    headers.remove(TIMEOUT);
    headers.remove(DEADLINE);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Up to 15 digits: thirty thousand years.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn read_grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count = number(digits).filter(|_| digits.len() <= GRPC_DIGITS_MAX)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// In the finest unit of milliseconds, seconds and hours that has room; rounded down, as what is left only shrinks.
fn write_grpc(left: Duration) -> String {
    let most = 10_u128.pow(8);
    match left.as_millis() {
        millis if millis < most => format!("{millis}m"),
        millis if millis / 1_000 < most => format!("{}S", millis / 1_000),
        millis => format!("{}H", (millis / 3_600_000).min(most - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_700_000_000_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(NOW)
    }

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn left_of(fields: &[(&'static str, &str)]) -> Option<u64> {
        let headers = map(fields);
        left(&headers, Fields::of(&headers), now()).map(millis)
    }

    #[test]
    fn what_is_left_is_the_least_of_what_is_said() {
        let deadline = (NOW + 700).to_string();
        for (fields, expected) in [
            (&[] as &[_], None),
            (&[("grpc-timeout", "2S")], Some(2_000)),
            (&[("grpc-timeout", "100m")], Some(100)),
            (&[("grpc-timeout", "1H")], Some(3_600_000)),
            (&[("grpc-timeout", "99999999n")], Some(99)),
            (&[("grpc-timeout", "999999999m")], None),
            (&[("grpc-timeout", "S")], None),
            (&[("grpc-timeout", "-1S")], None),
            (&[("grpc-timeout", "1\u{e9}")], None),
            (&[("outrigger-timeout", "1500")], Some(1_500)),
            (&[("outrigger-timeout", "1.5")], None),
            (&[("outrigger-timeout", "+1")], None),
            (&[("outrigger-deadline", &deadline)], Some(700)),
            (&[("outrigger-deadline", "1000")], Some(0)),
            (
                &[("outrigger-timeout", "1500"), ("outrigger-deadline", &deadline), ("grpc-timeout", "1S")],
                Some(700),
            ),
        ] {
            assert_eq!(left_of(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn the_next_hop_is_told_what_is_left_and_nobody_what_was_said_before() {
        let before = [("outrigger-timeout", "9"), ("outrigger-deadline", "9"), ("grpc-timeout", "9S")];
        let http = map(&before);
        let grpc = map(&[&before[..], &[("content-type", "application/grpc")]].concat());
        let told = |mut headers: HeaderMap, left: Option<u64>, is_meshed| {
            tell(&mut headers, left.map(Duration::from_millis), is_meshed);
            let text = |name| headers.get(name).map(|it: &HeaderValue| it.to_str().unwrap().to_owned());
            assert_eq!(text("outrigger-deadline"), None);
            (text("outrigger-timeout").unwrap_or_default(), text("grpc-timeout").unwrap_or_default())
        };
        let pair = |timeout: &str, grpc: &str| (timeout.to_owned(), grpc.to_owned());
        assert_eq!(told(http.clone(), Some(1_500), true), pair("1500", "9S"));
        assert_eq!(told(http.clone(), Some(1_500), false), pair("", "9S"));
        assert_eq!(told(http, None, true), pair("", "9S"));
        assert_eq!(told(grpc.clone(), Some(1_500), true), pair("1500", "1500m"));
        assert_eq!(told(grpc.clone(), Some(1_500), false), pair("", "1500m"));
        assert_eq!(told(grpc, Some(3_600_000_000), false), pair("", "3600000S"));
    }

    #[test]
    fn an_application_is_told_until_when_by_its_own_machines_clock() {
        let mut headers = map(&[("outrigger-timeout", "1500"), ("outrigger-deadline", "1")]);
        receive(&mut headers, now());
        assert_eq!(headers, map(&[("outrigger-deadline", &(NOW + 1_500).to_string())]));
        for told in ["x", "", "99999999999999999999"] {
            let mut headers = map(&[("outrigger-timeout", told), ("outrigger-deadline", "1")]);
            receive(&mut headers, now());
            assert!(headers.is_empty(), "{told}");
        }
        let mut headers =
            map(&[("outrigger-timeout", "1"), ("outrigger-deadline", "1"), ("grpc-timeout", "1S")]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("grpc-timeout", "1S")]));
    }

    proptest! {
        #[test]
        fn a_grpc_timeout_that_is_written_is_read_and_never_longer(nanos: u64) {
            let left = Duration::from_nanos(nanos);
            let read = read_grpc(&write_grpc(left)).unwrap();
            prop_assert!(read <= left);
        }

        #[test]
        fn any_text_is_read_or_passed_over(text in ".{0,12}") {
            read_grpc(&text);
            number(&text);
        }
    }
}
