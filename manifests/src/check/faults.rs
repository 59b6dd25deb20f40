//! Rules of failures made on purpose, in a TrafficPolicy.

use super::limits::nothing;
use super::route_match;
use super::value::{self, span, within_range};
use crate::diagnostic::{Code, Report};
use crate::kind::traffic_policy::{
    FaultAbortSpec, FaultAnswer, FaultDelaySpec, FaultInjectionSpec, FaultRule, FaultRuleSpec,
};
use crate::path::FieldPath;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Each rule is asked for each request.
const RULES_MAX: usize = 16;
const PERCENTAGE: RangeInclusive<i64> = 0..=100;
/// Each delayed request is held; longer than this nobody waits.
const DELAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(300);
const HTTP_STATUS: RangeInclusive<i64> = 400..=599;
const GRPC_STATUS: RangeInclusive<i64> = 1..=16;

/// Reads the rules, in their order.
pub(super) fn read(given: &FaultInjectionSpec, path: &FieldPath, report: &mut Report) -> Vec<FaultRule> {
    if given.rules.is_empty() {
        nothing(path, "rules: [{abort: {httpStatus: 503}}]", "faultInjection", report);
    }
    let path = path.field("rules");
    value::at_most(RULES_MAX, given.rules.len(), &path, report);
    given.rules.iter().enumerate().map(|(place, given)| rule(given, &path.index(place), report)).collect()
}

fn rule(given: &FaultRuleSpec, path: &FieldPath, report: &mut Report) -> FaultRule {
    if given.delay.is_none() && given.abort.is_none() {
        let mend = "add `delay: {duration: 2s}` or `abort: {httpStatus: 503}`";
        report.error(Code::MissingField, path.clone(), "nothing happens to the requests it fits", mend);
    }
    FaultRule {
        matches: route_match::read(&given.matches, &path.field("matches"), report),
        delay: given.delay.as_ref().and_then(|it| delay(it, &path.field("delay"), report)),
        abort: given.abort.as_ref().and_then(|it| abort(it, &path.field("abort"), report)),
    }
}

fn delay(given: &FaultDelaySpec, path: &FieldPath, report: &mut Report) -> Option<(Duration, u32)> {
    let duration = span(&DELAY, &given.duration, path.field("duration"), report);
    let percentage = percentage(given.percentage, path, report);
    Some((duration?, percentage?))
}

fn abort(given: &FaultAbortSpec, path: &FieldPath, report: &mut Report) -> Option<(FaultAnswer, u32)> {
    let percentage = percentage(given.percentage, path, report);
    let answer = match (given.http_status, given.grpc_status) {
        (Some(status), None) => {
            let status = within_range(&HTTP_STATUS, status, path.field("httpStatus"), report);
            status.and_then(|status| u16::try_from(status).ok()).map(FaultAnswer::Http)
        }
        (None, Some(status)) => {
            let status = within_range(&GRPC_STATUS, status, path.field("grpcStatus"), report);
            status.and_then(|status| u8::try_from(status).ok()).map(FaultAnswer::Grpc)
        }
        (Some(_), Some(_)) => {
            let message = "a request is answered once: each status stands for one of the other kind";
            report.error(Code::BadValue, path.field("grpcStatus"), message, "keep one of both");
            None
        }
        (None, None) => {
            let mend = "add `httpStatus: 503` or `grpcStatus: 14`";
            report.error(Code::MissingField, path.clone(), "nothing says what the answer is", mend);
            None
        }
    };
    Some((answer?, percentage?))
}

fn percentage(given: Option<i32>, path: &FieldPath, report: &mut Report) -> Option<u32> {
    let Some(given) = given else { return Some(100) };
    u32::try_from(within_range(&PERCENTAGE, given, path.field("percentage"), report)?).ok()
}
