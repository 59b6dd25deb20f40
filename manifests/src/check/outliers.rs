//! Rules of outlier detection in a TrafficPolicy.

use super::value::{self, number, span};
use crate::diagnostic::{Code, Report};
use crate::kind::traffic_policy::{Comparison, OutlierDetection, OutlierDetectionSpec};
use crate::path::FieldPath;
use std::ops::RangeInclusive;
use std::time::Duration;

const IN_A_ROW: RangeInclusive<i64> = 0..=1_000;
const DEVIATIONS: RangeInclusive<i64> = 100..=10_000;
const FAILURE_SHARE: RangeInclusive<i64> = 1..=100;
const SLOWNESS: RangeInclusive<i64> = 110..=10_000;
const HOSTS: RangeInclusive<i64> = 2..=1_000;
const VOLUME: RangeInclusive<i64> = 1..=1_000_000;
const EJECTED: RangeInclusive<i64> = 0..=100;
/// Sidecars look each second whose interval has ended.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const EXCESS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);
/// A shorter ejection ends before a connection is made.
const FIRST: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);
const LONGEST: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3_600);

/// Reads outlier detection.
pub(super) fn read(given: &OutlierDetectionSpec, path: &FieldPath, report: &mut Report) -> OutlierDetection {
    if *given == OutlierDetectionSpec::default() {
        let mend = "add for example `consecutiveGatewayFailures: 5`, or take `outlierDetection` away";
        report.error(Code::MissingField, path.clone(), "it says nothing", mend);
    }
    let mut count = |range, given: Option<i32>, field: &str| {
        let number = value::within_range(range, given?, path.field(field), report)?;
        u32::try_from(number).ok()
    };
    let consecutive_failures = count(&IN_A_ROW, given.consecutive_failures, "consecutiveFailures");
    let gateway = count(&IN_A_ROW, given.consecutive_gateway_failures, "consecutiveGatewayFailures");
    let max_ejection_percent = count(&EJECTED, given.max_ejection_percent, "maxEjectionPercent");
    let (first, longest) = ejection_times(given, path, report);
    let success_rate = given.success_rate.as_ref().map(|it| {
        let threshold = ("standardDeviationFactor", &DEVIATIONS, it.standard_deviation_factor);
        let path = path.field("successRate");
        comparison(threshold, it.minimum_hosts, it.request_volume, &path, report)
    });
    let failure_percentage = given.failure_percentage.as_ref().map(|it| {
        let threshold = ("threshold", &FAILURE_SHARE, it.threshold);
        let path = path.field("failurePercentage");
        comparison(threshold, it.minimum_hosts, it.request_volume, &path, report)
    });
    let latency = given.latency.as_ref().map(|it| {
        let threshold = ("threshold", &SLOWNESS, it.threshold);
        comparison(threshold, it.minimum_hosts, it.request_volume, &path.field("latency"), report)
    });
    let excess = given.latency.as_ref().and_then(|it| it.excess.as_deref());
    OutlierDetection {
        consecutive_failures,
        consecutive_gateway_failures: gateway,
        success_rate,
        failure_percentage,
        latency,
        latency_excess: excess
            .and_then(|text| span(&EXCESS, text, path.field("latency").field("excess"), report)),
        interval: interval(given, path.field("interval"), report),
        base_ejection_time: first,
        max_ejection_time: longest,
        max_ejection_percent,
    }
}

fn comparison(
    (field, range, threshold): (&str, &RangeInclusive<i64>, Option<i32>),
    hosts: Option<i32>,
    volume: Option<i32>,
    path: &FieldPath,
    report: &mut Report,
) -> Comparison {
    Comparison {
        threshold: threshold.and_then(|it| number(range, it, path.field(field), report)),
        minimum_hosts: hosts.and_then(|it| number(&HOSTS, it, path.field("minimumHosts"), report)),
        request_volume: volume.and_then(|it| number(&VOLUME, it, path.field("requestVolume"), report)),
    }
}

fn interval(given: &OutlierDetectionSpec, path: FieldPath, report: &mut Report) -> Option<Duration> {
    let text = given.interval.as_deref()?;
    if given.success_rate.is_none() && given.failure_percentage.is_none() && given.latency.is_none() {
        let message = "nothing is compared: failures in a row are judged with each request";
        let mend = "take it away, or add `successRate`, `failurePercentage` or `latency`";
        report.error(Code::BadValue, path.clone(), message, mend);
    }
    let interval = span(&INTERVAL, text, path.clone(), report)?;
    if interval.subsec_nanos() != 0 {
        let message = format!("{text} is not a number of whole seconds");
        report.error(Code::OutOfRange, path, message, "write for example `5s`");
    }
    Some(interval)
}

fn ejection_times(
    given: &OutlierDetectionSpec,
    path: &FieldPath,
    report: &mut Report,
) -> (Option<Duration>, Option<Duration>) {
    let mut time = |range, text: Option<&String>, field: &str| span(range, text?, path.field(field), report);
    let first = time(&FIRST, given.base_ejection_time.as_ref(), "baseEjectionTime");
    let longest = time(&LONGEST, given.max_ejection_time.as_ref(), "maxEjectionTime");
    if let (Some(first), Some(longest)) = (first, longest)
        && longest < first
    {
        let message = "the longest ejection is shorter than the first one";
        report.error(Code::BadValue, path.field("maxEjectionTime"), message, "change one of both");
    }
    (first, longest)
}
