//! Rules about single values that several kinds share: ports, addresses, durations, lists.

use crate::diagnostic::{Code, Report};
use crate::field::{format_duration, parse_duration};
use crate::nearest::nearest;
use crate::path::FieldPath;
use mesh_names::{AppProtocol, NameError, Port};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A value that must parse as a name.
pub(crate) fn name<T: std::str::FromStr<Err = NameError>>(
    text: &str,
    path: FieldPath,
    report: &mut Report,
) -> Option<T> {
    match text.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            let mend = match mended(text) {
                Some(mended) if mended.parse::<T>().is_ok() => format!("for example `{mended}`"),
                Some(_) | None => "choose another".to_owned(),
            };
            report.error(Code::BadName, path, error.to_string(), mend);
            None
        }
    }
}

/// The name someone meant who wrote capitals or underscores.
fn mended(text: &str) -> Option<String> {
    let plain: String =
        text.to_lowercase().chars().map(|c| if c == '_' || c == ' ' { '-' } else { c }).collect();
    let plain = plain.trim_matches('-');
    (!plain.is_empty() && plain != text).then(|| plain.to_owned())
}

/// A port number.
pub(crate) fn port(number: i32, path: FieldPath, report: &mut Report) -> Option<Port> {
    let port = u16::try_from(number).ok().and_then(Port::new);
    if port.is_none() {
        report.error(Code::BadPort, path, format!("{number} is not a port"), "choose one from 1 to 65535");
    }
    port
}

/// A port's name as Kubernetes wants it on instances: an IANA service name (RFC 6335 §5.1).
pub(crate) fn port_name(text: &str, path: FieldPath, report: &mut Report) -> Option<String> {
    let allowed = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let has_letter = text.bytes().any(|b| b.is_ascii_lowercase());
    let hyphens = text.starts_with('-') || text.ends_with('-') || text.contains("--");
    if allowed && has_letter && !hyphens && text.len() <= 15 {
        return Some(text.to_owned());
    }
    let message = format!("`{text}` is not the name of a port");
    let mend = "use at most 15 lower-case letters, digits and single hyphens inside, and at least one letter";
    report.error(Code::BadPort, path, message, mend);
    None
}

/// An IP address something can be reached at.
pub(crate) fn address(text: &str, path: FieldPath, report: &mut Report) -> Option<IpAddr> {
    let mend = match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() || address.is_multicast() => {
            "nothing can be reached at this address: write the one it listens on"
        }
        Ok(address) => return Some(address),
        Err(_) if text.contains('/') => "write one address, not a network",
        Err(_) if text.parse::<std::net::SocketAddr>().is_ok() => "leave the port out",
        Err(_) => "write an IPv4 or IPv6 address; host names are not resolved here",
    };
    report.error(
        Code::BadAddress,
        path,
        format!("`{text}` is not an IP address to reach something at"),
        mend,
    );
    None
}

/// A duration in the Gateway API's format.
pub(crate) fn duration(text: &str, path: FieldPath, report: &mut Report) -> Option<Duration> {
    match parse_duration(text) {
        Ok(duration) => Some(duration),
        Err(error) => {
            let message = format!("`{text}` is not a duration: {error}");
            report.error(Code::BadDuration, path, message, "write for example `500ms`, `10s` or `1h30m`");
            None
        }
    }
}

/// What is spoken on a port. Unknown names are taken, as Kubernetes asks; one near to a known name is warned of.
pub(crate) fn app_protocol(text: Option<&str>, path: FieldPath, report: &mut Report) -> AppProtocol {
    let Some(text) = text else { return AppProtocol::Detect };
    let protocol = AppProtocol::from_service_port(text);
    if protocol == AppProtocol::Detect && text != "detect" {
        let known = ["http", "h2c", "grpc", "tcp", "kubernetes.io/h2c", "kubernetes.io/ws"];
        let mend = match nearest(text, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write one of http, h2c, grpc and tcp to be certain".to_owned(),
        };
        let message = format!("the mesh does not know `{text}`: the first bytes of either side will decide");
        report.warning(Code::BadValue, path, message, mend);
    }
    protocol
}

/// A list that may have only so many entries.
pub(crate) fn at_most(most: usize, length: usize, path: &FieldPath, report: &mut Report) {
    if length > most {
        let message = format!("it has {length} entries, more than {most}");
        report.error(Code::OutOfRange, path.clone(), message, format!("keep at most {most}"));
    }
}

/// A number that must be within bounds.
pub(crate) fn within(
    least: i64,
    most: i64,
    number: i64,
    path: FieldPath,
    report: &mut Report,
) -> Option<i64> {
    if (least..=most).contains(&number) {
        return Some(number);
    }
    let message = format!("{number} is out of bounds");
    report.error(Code::OutOfRange, path, message, format!("choose one from {least} to {most}"));
    None
}

/// The same, with the bounds as a range.
pub(crate) fn within_range(
    range: &RangeInclusive<i64>,
    given: i32,
    path: FieldPath,
    report: &mut Report,
) -> Option<i64> {
    within(*range.start(), *range.end(), given.into(), path, report)
}

/// A number above zero that must be within bounds.
pub(crate) fn number(
    range: &RangeInclusive<i64>,
    given: i32,
    path: FieldPath,
    report: &mut Report,
) -> Option<NonZeroU32> {
    let number = within_range(range, given, path, report)?;
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

/// A duration that must be within bounds.
pub(crate) fn span(
    range: &RangeInclusive<Duration>,
    text: &str,
    path: FieldPath,
    report: &mut Report,
) -> Option<Duration> {
    let duration = duration(text, path.clone(), report)?;
    if range.contains(&duration) {
        return Some(duration);
    }
    let [least, most] = [range.start(), range.end()].map(|it| format_duration(*it));
    let message = format!("{text} is out of bounds");
    report.error(Code::OutOfRange, path, message, format!("choose one from {least} to {most}"));
    None
}
