//! Rules of how instances are asked whether they are well, in a TrafficPolicy.

use super::value::{self, number, span};
use crate::diagnostic::{Code, Report};
use crate::kind::traffic_policy::{Asks, GrpcHealthSpec, HealthCheck, HealthCheckSpec, HttpHealthSpec};
use crate::path::FieldPath;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Asking more often finds out little sooner, and is load.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const THRESHOLD: RangeInclusive<i64> = 1..=100;
const STATUS: RangeInclusive<i64> = 200..=599;
const STATUSES_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 1_024;
const NAME_BYTES_MAX: usize = 256;
/// The sidecar's, where nothing is said.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// Reads a health check.
pub(super) fn read(given: &HealthCheckSpec, path: &FieldPath, report: &mut Report) -> Option<HealthCheck> {
    let asks = asks(given, path, report);
    let mut times = |given: Option<&str>, range, field: &str| {
        given.and_then(|it| span(range, it, path.field(field), report))
    };
    let interval = times(given.interval.as_deref(), &INTERVAL, "interval");
    let timeout = times(given.timeout.as_deref(), &TIMEOUT, "timeout");
    if timeout.unwrap_or(TIMEOUT_DEFAULT) > interval.unwrap_or(INTERVAL_DEFAULT) {
        let message = "a question would begin before the one before has been given up";
        report.error(Code::BadValue, path.field("timeout"), message, "make it no longer than `interval`");
    }
    let mut threshold = |given: Option<i32>, field: &str| {
        given.and_then(|it| number(&THRESHOLD, it, path.field(field), report))
    };
    let healthy_threshold = threshold(given.healthy_threshold, "healthyThreshold");
    let unhealthy_threshold = threshold(given.unhealthy_threshold, "unhealthyThreshold");
    Some(HealthCheck { asks: asks?, interval, timeout, healthy_threshold, unhealthy_threshold })
}

fn asks(given: &HealthCheckSpec, path: &FieldPath, report: &mut Report) -> Option<Asks> {
    let ways = [given.http.is_some(), given.grpc.is_some(), given.tcp.is_some()];
    match ways.into_iter().filter(|is_given| *is_given).count() {
        1 => {}
        0 => {
            let mend = "add for example `http: {path: /healthz}`, or `tcp: {}`";
            report.error(Code::MissingField, path.clone(), "it does not say how to ask", mend);
        }
        _ => {
            let message = "an instance is asked in one way";
            report.error(Code::BadValue, path.clone(), message, "leave one of `http`, `grpc` and `tcp`");
        }
    }
    let http = given.http.as_ref().map(|it| http(it, &path.field("http"), report));
    let grpc = given.grpc.as_ref().map(|it| grpc(it, path.field("grpc").field("service"), report));
    http.or(grpc).or_else(|| given.tcp.as_ref().map(|_| Asks::Tcp))
}

fn http(given: &HttpHealthSpec, path: &FieldPath, report: &mut Report) -> Asks {
    let is_fit = given.path.starts_with('/')
        && given.path.len() <= PATH_BYTES_MAX
        && given.path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !is_fit {
        let message = format!("`{}` is not the path of a request", given.path);
        report.error(Code::BadValue, path.field("path"), message, "write for example `/healthz`");
    }
    let host = given.host.clone().filter(|host| !host.is_empty());
    let is_host = |host: &String| {
        host.len() <= NAME_BYTES_MAX
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
    };
    if host.as_ref().is_some_and(|host| !is_host(host)) {
        let message = "it is not the name of a host";
        report.error(Code::BadValue, path.field("host"), message, "write for example `orders.example.com`");
    }
    let list = path.field("expectedStatuses");
    value::at_most(STATUSES_MAX, given.expected_statuses.len(), &list, report);
    let statuses = given.expected_statuses.iter().enumerate().filter_map(|(place, status)| {
        u16::try_from(number(&STATUS, *status, list.index(place), report)?.get()).ok()
    });
    let statuses = statuses.collect();
    Asks::Http { path: given.path.clone(), host, statuses }
}

fn grpc(given: &GrpcHealthSpec, path: FieldPath, report: &mut Report) -> Asks {
    let service = given.service.clone().unwrap_or_default();
    if service.len() > NAME_BYTES_MAX
        || !service.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
    {
        let message = "it is not the name of a gRPC service";
        report.error(Code::BadName, path, message, "write for example `shop.v1.Orders`, or leave it out");
    }
    Asks::Grpc { service }
}
