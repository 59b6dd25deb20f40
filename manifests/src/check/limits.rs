//! Rules of limits in a TrafficPolicy. The ranges are the sidecar's, so that nothing that is accepted here is refused
//! there.

use super::value::{self, number, span, within_range};
use super::{route_match, traffic_policy};
use crate::diagnostic::{Code, Report};
use crate::kind::traffic_policy::{
    Adaptive, AdaptiveSpec, CircuitBreaker, CircuitBreakerSpec, Concurrency, ConcurrencySpec, RateLimit,
    RateLimitKey, RateLimitKeySpec, RateLimitKeyType, RateLimitRuleSpec, RateLimitSpec,
};
use crate::path::FieldPath;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Each rule is asked for each request.
const RULES_MAX: usize = 16;
const AT_ONCE: RangeInclusive<i64> = 1..=1_000_000;
const RETRIES: RangeInclusive<i64> = 0..=1_000_000;
const PENDING: RangeInclusive<i64> = 0..=100_000;
const PENDING_AT_THE_DOOR: RangeInclusive<i64> = 0..=10_000;
/// Who waits longer than a minute has gone away.
const PENDING_TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
const TOLERANCE: RangeInclusive<i64> = 100..=1_000;
const WINDOW: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const RATE: RangeInclusive<i64> = 1..=1_000_000;
/// What the sidecar takes where nothing is said.
const ADAPTIVE_DEFAULTS: (u32, u32) = (4, 1_000);

/// Reads a circuit breaker.
pub(super) fn circuit_breaker(
    given: &CircuitBreakerSpec,
    path: &FieldPath,
    report: &mut Report,
) -> CircuitBreaker {
    if *given == CircuitBreakerSpec::default() {
        nothing(path, "maxRequests: 100", "circuitBreaker", report);
    }
    let waits = [
        ("maxPendingRequests", given.max_pending_requests.is_some()),
        ("maxPendingTime", given.max_pending_time.is_some()),
    ];
    for (field, is_given) in waits {
        if is_given && given.max_requests.is_none() {
            let message = "without `maxRequests` no request waits";
            report.error(Code::BadValue, path.field(field), message, "add `maxRequests`, or take it away");
        }
    }
    let mut at_once = |given: Option<i32>, field: &str| number(&AT_ONCE, given?, path.field(field), report);
    let connections = at_once(given.max_connections, "maxConnections");
    let requests = at_once(given.max_requests, "maxRequests");
    let (pending, pending_time) =
        pending(&PENDING, given.max_pending_requests, given.max_pending_time.as_deref(), path, report);
    let retries = count(&RETRIES, given.max_retries, path.field("maxRetries"), report);
    CircuitBreaker { connections, requests, pending, pending_time, retries }
}

/// Reads a limit of requests at once.
pub(super) fn concurrency(given: &ConcurrencySpec, path: &FieldPath, report: &mut Report) -> Concurrency {
    if given.max_requests.is_none() && given.adaptive.is_none() {
        let message = "nothing says how many requests at once";
        report.error(Code::MissingField, path.clone(), message, "add `maxRequests: 100`, or `adaptive: {}`");
    }
    let requests = given.max_requests.and_then(|it| number(&AT_ONCE, it, path.field("maxRequests"), report));
    let (pending, pending_time) = pending(
        &PENDING_AT_THE_DOOR,
        given.max_pending_requests,
        given.max_pending_time.as_deref(),
        path,
        report,
    );
    let adaptive = given.adaptive.as_ref().map(|it| adaptive(it, &path.field("adaptive"), report));
    if let Some(adaptive) = &adaptive {
        let (least, most) = ADAPTIVE_DEFAULTS;
        let least = adaptive.least.map_or(least, std::num::NonZeroU32::get);
        let most = requests.map_or(most, std::num::NonZeroU32::get);
        if most < least {
            let message = format!("a limit that never falls below {least} can't have {most} at most");
            report.error(Code::BadValue, path.field("maxRequests"), message, "change one of both");
        }
    }
    Concurrency { requests, adaptive, pending, pending_time }
}

fn adaptive(given: &AdaptiveSpec, path: &FieldPath, report: &mut Report) -> Adaptive {
    let mut at_once = |given: Option<i32>, field: &str| number(&AT_ONCE, given?, path.field(field), report);
    let least = at_once(given.min_requests, "minRequests");
    let initial = at_once(given.initial_requests, "initialRequests");
    let tolerance = given.tolerance.and_then(|it| number(&TOLERANCE, it, path.field("tolerance"), report));
    let window = given.window.as_deref().and_then(|it| span(&WINDOW, it, path.field("window"), report));
    Adaptive { least, initial, tolerance, window }
}

fn pending(
    range: &RangeInclusive<i64>,
    most: Option<i32>,
    time: Option<&str>,
    path: &FieldPath,
    report: &mut Report,
) -> (Option<u32>, Option<Duration>) {
    if most == Some(0) && time.is_some() {
        let message = "none waits, by `maxPendingRequests: 0`";
        report.error(Code::BadValue, path.field("maxPendingTime"), message, "take one of both away");
    }
    let most = count(range, most, path.field("maxPendingRequests"), report);
    let time = time.and_then(|it| span(&PENDING_TIME, it, path.field("maxPendingTime"), report));
    (most, time)
}

fn count(
    range: &RangeInclusive<i64>,
    given: Option<i32>,
    path: FieldPath,
    report: &mut Report,
) -> Option<u32> {
    u32::try_from(within_range(range, given?, path, report)?).ok()
}

/// Reads limits of a rate.
pub(super) fn rate_limits(given: &RateLimitSpec, path: &FieldPath, report: &mut Report) -> Vec<RateLimit> {
    if given.rules.is_empty() {
        nothing(path, "rules: [{requests: 100}]", "rateLimit", report);
    }
    let path = path.field("rules");
    value::at_most(RULES_MAX, given.rules.len(), &path, report);
    let rules = given.rules.iter().enumerate();
    rules.filter_map(|(place, rule)| rate_limit(rule, &path.index(place), report)).collect()
}

fn rate_limit(given: &RateLimitRuleSpec, path: &FieldPath, report: &mut Report) -> Option<RateLimit> {
    let matches = route_match::read(&given.matches, &path.field("matches"), report);
    let key = given.key.as_ref().map(|it| key(it, &path.field("key"), report));
    let requests = number(&RATE, given.requests, path.field("requests"), report);
    let burst = given.burst.and_then(|it| number(&RATE, it, path.field("burst"), report));
    let key = match key {
        None => None,
        Some(key) => Some(key?),
    };
    Some(RateLimit { matches, key, requests: requests?, unit: given.unit.unwrap_or_default(), burst })
}

fn key(given: &RateLimitKeySpec, path: &FieldPath, report: &mut Report) -> Option<RateLimitKey> {
    let name = given.name.as_deref();
    let path = path.field("name");
    match (given.kind, name) {
        (RateLimitKeyType::ClientIdentity, None) => Some(RateLimitKey::ClientIdentity),
        (RateLimitKeyType::ClientIdentity, Some(_)) => {
            let mend = "take it away, or write `type: Header`";
            report.error(Code::BadValue, path, "it is for headers alone", mend);
            None
        }
        (RateLimitKeyType::Header, None) => {
            report.error(Code::MissingField, path, "it is required", "add it: the name of a header");
            None
        }
        (RateLimitKeyType::Header, Some(name)) => {
            let is_fit = traffic_policy::is_header_name(name);
            if !is_fit {
                let message = format!("`{name}` is not the name of a header");
                report.error(Code::BadName, path, message, "use letters, digits and `-`");
            }
            is_fit.then(|| RateLimitKey::Header(name.to_ascii_lowercase()))
        }
    }
}

pub(super) fn nothing(path: &FieldPath, example: &str, field: &str, report: &mut Report) {
    let mend = format!("add for example `{example}`, or take `{field}` away");
    report.error(Code::MissingField, path.clone(), "it says nothing", mend);
}
