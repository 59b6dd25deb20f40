//! Rules of what a request's key is made of, in a TrafficPolicy.

use super::traffic_policy::not_used;
use super::value;
use crate::diagnostic::{Code, Report};
use crate::kind::traffic_policy::{Algorithm, HashOn, HashOnSpec, HashOnType, LoadBalancingSpec, Session};
use crate::path::FieldPath;
use std::ops::RangeInclusive;
use std::time::Duration;

/// More sources of a key than anybody has needed; each is looked for in every request.
const SOURCES_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 256;
const PATH_BYTES_MAX: usize = 1_024;
/// Browsers keep no cookie much longer than a year.
const TTL: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(8_760 * 3_600);

/// Reads the sources, in their order.
pub(super) fn read(
    given: &LoadBalancingSpec,
    algorithm: Algorithm,
    path: &FieldPath,
    report: &mut Report,
) -> Vec<HashOn> {
    value::at_most(SOURCES_MAX, given.hash_on.len(), path, report);
    match (algorithm.hashes(), given.hash_on.is_empty()) {
        (true, true) => {
            let message = format!("nothing says what `{}` hashes", given.policy.as_str());
            let mend = "add for example `- {type: Header, name: x-user}`";
            report.error(Code::MissingField, path.clone(), message, mend);
        }
        (false, false) => {
            not_used(path.clone(), given.policy, "`policy: RingHash` or `policy: Maglev`", report);
        }
        (true, false) | (false, true) => {}
    }
    let mut read = Vec::new();
    for (place, given) in given.hash_on.iter().enumerate() {
        let path = path.index(place);
        if let Some((message, mend)) = read.last().and_then(always_there) {
            report.error(Code::BadValue, path.clone(), message, mend);
        }
        let Some(source) = source(given, &path, report) else { continue };
        if read.contains(&source) {
            report.error(Code::DuplicateEntry, path, "it stands there already", "take one away");
        } else {
            read.push(source);
        }
    }
    read
}

/// Why nothing after this source is ever looked at, and how to mend that.
fn always_there(source: &HashOn) -> Option<(String, &'static str)> {
    let because = |why: String| format!("it is never looked at: {why}");
    match source {
        HashOn::Header(_) | HashOn::QueryParameter(_) | HashOn::Cookie { session: None, .. } => None,
        HashOn::Cookie { name, session: Some(_) } => Some((
            because(format!("every request has the cookie `{name}`, or is given it")),
            "put the cookie last, or take its `ttl` away",
        )),
        HashOn::SourceIdentity => {
            Some((because("every request has a source".to_owned()), "put `SourceIdentity` last"))
        }
        HashOn::SourceAddress => {
            Some((because("every request has a source".to_owned()), "put `SourceAddress` last"))
        }
    }
}

fn source(given: &HashOnSpec, path: &FieldPath, report: &mut Report) -> Option<HashOn> {
    let session = session(given, path, report);
    let path = path.field("name");
    match given.kind {
        HashOnType::Header => named(given, "header", is_token, path, report)
            .map(|name| HashOn::Header(name.to_ascii_lowercase())),
        HashOnType::Cookie => {
            named(given, "cookie", is_token, path, report).map(|name| HashOn::Cookie { name, session })
        }
        HashOnType::QueryParameter => {
            let is_fit = |name: &str| !name.contains(['&', '=', '#']);
            named(given, "query parameter", is_fit, path, report).map(HashOn::QueryParameter)
        }
        HashOnType::SourceIdentity => {
            nameless(given, path, report);
            Some(HashOn::SourceIdentity)
        }
        HashOnType::SourceAddress => {
            nameless(given, path, report);
            Some(HashOn::SourceAddress)
        }
    }
}

fn is_token(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn named(
    given: &HashOnSpec,
    what: &str,
    is_fit: impl Fn(&str) -> bool,
    path: FieldPath,
    report: &mut Report,
) -> Option<String> {
    let Some(name) = given.name.as_deref().filter(|name| !name.is_empty()) else {
        report.error(Code::MissingField, path, "it is required", "add it: a text");
        return None;
    };
    if !is_fit(name) || name.len() > NAME_BYTES_MAX {
        let message = format!("`{name}` is not the name of a {what}");
        let mend = format!("write a name of at most {NAME_BYTES_MAX} characters, without separators");
        report.error(Code::BadName, path, message, mend);
        return None;
    }
    Some(name.to_owned())
}

fn nameless(given: &HashOnSpec, path: FieldPath, report: &mut Report) {
    if given.name.is_some() {
        let message = "a request has one source, which needs no name";
        report.error(Code::BadValue, path, message, "take it away");
    }
}

fn session(given: &HashOnSpec, path: &FieldPath, report: &mut Report) -> Option<Session> {
    let is_cookie = given.kind == HashOnType::Cookie;
    for (field, is_given) in [("ttl", given.ttl.is_some()), ("path", given.path.is_some())] {
        if is_given && !is_cookie {
            let mend = "take it away, or write `type: Cookie`";
            report.error(Code::BadValue, path.field(field), "it is for cookies alone", mend);
        }
    }
    if is_cookie && given.path.is_some() && given.ttl.is_none() {
        let message = "without `ttl` the sidecar gives no cookie, so it has no path";
        report.error(Code::BadValue, path.field("path"), message, "take it away, or add `ttl`");
    }
    let ttl = value::span(&TTL, given.ttl.as_deref()?, path.field("ttl"), report)?;
    if ttl.subsec_nanos() != 0 {
        let message = "cookies live for whole seconds";
        report.error(Code::OutOfRange, path.field("ttl"), message, "write for example `1h`");
    }
    let at = given.path.as_deref().unwrap_or("/");
    let is_fit = at.starts_with('/') && at.bytes().all(|b| b.is_ascii_graphic() && b != b';');
    if !is_fit || at.len() > PATH_BYTES_MAX {
        let message = format!("`{at}` is not the path of a cookie");
        report.error(Code::BadValue, path.field("path"), message, "write for example `/shop`");
    }
    is_cookie.then(|| Session { ttl, path: at.to_owned() })
}
