//! Rules of how requests are attempted, in a TrafficPolicy: timeouts, retries, hedging.

use super::value::{self, number, span};
use crate::diagnostic::{Code, Report};
use crate::kind::traffic_policy::{
    Budget, BudgetSpec, Hedging, HedgingSpec, RetryPolicy, RetrySpec, Timeouts, TimeoutsSpec,
};
use crate::path::FieldPath;
use std::ops::RangeInclusive;
use std::time::Duration;

/// As for an HTTPRoute: more is a storm, whatever the budget.
const ATTEMPTS: RangeInclusive<i64> = 0..=100;
const STATUS: RangeInclusive<i64> = 400..=599;
const PERCENT: RangeInclusive<i64> = 0..=100;
const PER_SECOND: RangeInclusive<i64> = 0..=1_000;
const PERCENTILE: RangeInclusive<i64> = 50..=99;
const METHODS_MAX: usize = 16;
const METHOD_CHARACTERS_MAX: usize = 32;
/// Zero is no limit.
const TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3_600);
/// What the sidecar's own limits for a connection and its handshake add up to.
const CONNECT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(15);
const BACKOFF: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
const BACKOFF_MOST: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(600);
const RETRY_AFTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(300);
const DELAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
/// What the sidecar takes where nothing is said.
const BACKOFF_DEFAULT: Duration = Duration::from_millis(25);

/// Reads timeouts.
pub(super) fn timeouts(given: &TimeoutsSpec, path: &FieldPath, report: &mut Report) -> Timeouts {
    if *given == TimeoutsSpec::default() {
        says_nothing(path, "`request: 10s`", "timeouts", report);
    }
    let mut limit = |range, text: Option<&String>, field: &str| span(range, text?, path.field(field), report);
    let request = limit(&TIMEOUT, given.request.as_ref(), "request");
    let attempt = limit(&TIMEOUT, given.backend_request.as_ref(), "backendRequest");
    let idle = limit(&TIMEOUT, given.idle.as_ref(), "idle");
    let connect = limit(&CONNECT, given.connect.as_ref(), "connect");
    if let (Some(request), Some(attempt)) = (request, attempt)
        && !request.is_zero()
        && (attempt > request || attempt.is_zero())
    {
        let message = "one attempt may not take longer than the request as a whole";
        let mend = "make `backendRequest` at most `request`";
        report.error(Code::OutOfRange, path.field("backendRequest"), message, mend);
    }
    Timeouts { request, attempt, idle, connect }
}

/// Reads retries.
pub(super) fn retry(given: &RetrySpec, path: &FieldPath, report: &mut Report) -> RetryPolicy {
    if *given == RetrySpec::default() {
        says_nothing(path, "`attempts: 2`", "retry", report);
    }
    let attempts = given.attempts.and_then(|it| {
        u32::try_from(value::within_range(&ATTEMPTS, it, path.field("attempts"), report)?).ok()
    });
    let statuses = given.statuses.iter().enumerate().filter_map(|(place, status)| {
        let path = path.field("statuses").index(place);
        u16::try_from(value::within_range(&STATUS, *status, path, report)?).ok()
    });
    let statuses: Vec<u16> = statuses.collect();
    each_once(&given.statuses, &path.field("statuses"), report);
    each_once(&given.grpc_statuses, &path.field("grpcStatuses"), report);
    each_once(given.failures.as_deref().unwrap_or_default(), &path.field("failures"), report);
    let (backoff, backoff_most) = backoff(given, &path.field("backoff"), report);
    let after = given.max_retry_after.as_ref();
    RetryPolicy {
        attempts,
        failures: given.failures.clone(),
        statuses,
        grpc_statuses: given.grpc_statuses.clone(),
        methods: methods(&given.methods, &path.field("methods"), report),
        backoff,
        backoff_most,
        retry_after_most: after
            .and_then(|text| span(&RETRY_AFTER, text, path.field("maxRetryAfter"), report)),
        budget: budget(given.budget.as_ref(), &path.field("budget"), report),
    }
}

/// Reads hedging. Empty, it asks for the defaults.
pub(super) fn hedging(given: &HedgingSpec, path: &FieldPath, report: &mut Report) -> Hedging {
    let percentile =
        given.percentile.and_then(|it| number(&PERCENTILE, it, path.field("percentile"), report));
    let delay = given.min_delay.as_ref();
    Hedging {
        percentile,
        least_delay: delay.and_then(|text| span(&DELAY, text, path.field("minDelay"), report)),
        budget: budget(given.budget.as_ref(), &path.field("budget"), report),
    }
}

fn says_nothing(path: &FieldPath, example: &str, field: &str, report: &mut Report) {
    let mend = format!("add for example {example}, or take `{field}` away");
    report.error(Code::MissingField, path.clone(), "it says nothing", mend);
}

fn each_once<T: PartialEq>(given: &[T], path: &FieldPath, report: &mut Report) {
    for (place, it) in given.iter().enumerate() {
        if given.iter().take(place).any(|earlier| earlier == it) {
            report.error(Code::DuplicateEntry, path.index(place), "it stands there already", "take one away");
        }
    }
}

/// Methods are told apart by case (RFC 9110 §9.1), and those there are are in capitals.
fn methods(given: &[String], path: &FieldPath, report: &mut Report) -> Vec<String> {
    value::at_most(METHODS_MAX, given.len(), path, report);
    each_once(given, path, report);
    for (place, method) in given.iter().enumerate() {
        let is_method = method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        if method.is_empty() || !is_method || method.len() > METHOD_CHARACTERS_MAX {
            let message = format!("`{method}` is not a method");
            report.error(Code::BadValue, path.index(place), message, "write it in capitals, as `GET`");
        } else if method == "CONNECT" {
            let mend = "take it away: a tunnel is opened elsewhere whenever it could not be opened";
            report.error(Code::BadValue, path.index(place), "a tunnel can't be sent twice", mend);
        }
    }
    given.to_vec()
}

fn backoff(given: &RetrySpec, path: &FieldPath, report: &mut Report) -> (Option<Duration>, Option<Duration>) {
    let Some(given) = &given.backoff else { return (None, None) };
    let base = given.base.as_ref().and_then(|text| span(&BACKOFF, text, path.field("base"), report));
    let most = given.max.as_ref().and_then(|text| span(&BACKOFF_MOST, text, path.field("max"), report));
    if most.is_some_and(|most| most < base.unwrap_or(BACKOFF_DEFAULT)) {
        let message = "the longest pause is shorter than the first one";
        report.error(Code::BadValue, path.field("max"), message, "change one of both");
    }
    (base, most)
}

fn budget(given: Option<&BudgetSpec>, path: &FieldPath, report: &mut Report) -> Budget {
    let Some(given) = given else { return Budget::default() };
    let mut count = |range, given: Option<i32>, field: &str| {
        u32::try_from(value::within_range(range, given?, path.field(field), report)?).ok()
    };
    let percent = count(&PERCENT, given.percent, "percent");
    let least_per_second = count(&PER_SECOND, given.min_per_second, "minPerSecond");
    if *given == BudgetSpec::default() {
        says_nothing(path, "`percent: 10`", "budget", report);
    }
    Budget { percent, least_per_second }
}
