//! Rules of a TrafficPolicy. Every range is the law's own (`mesh-balance`), so that nothing that is accepted here is
//! refused by a sidecar; and what the chosen policy does not use is an error, so that nothing is accepted and ignored.

use super::value::{self, number, span, within_range};
use super::{attempts, faults, hash_on, health, limits, locality, metadata, outliers};
use crate::diagnostic::{Code, Report};
use crate::kind::Kind;
use crate::kind::traffic_policy::{
    Algorithm, BalancingPolicy, LoadBalancing, LoadBalancingSpec, RingHashSpec, Rules, SlowStart,
    SlowStartSpec, Target, TargetRefSpec, TrafficPolicy, TrafficPolicyManifest, TrafficPolicySpec,
};
use crate::path::FieldPath;
use mesh_names::{Namespace, ServiceName};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// Gateway API: a policy has at most 16 targets.
const TARGETS_MAX: usize = 16;
const CHOICES: RangeInclusive<i64> = 2..=16;
const RING_SIZE: RangeInclusive<i64> = 1..=1_048_576;
/// What the sidecar takes where nothing is said.
const RING_SIZE_DEFAULTS: (u32, u32) = (1_024, 65_536);
const TABLE_SIZE: RangeInclusive<i64> = 2..=5_000_011;
const BOUNDED_LOAD: RangeInclusive<i64> = 101..=1_000;
const PANIC_THRESHOLD: RangeInclusive<i64> = 0..=100;
const AGGRESSION: RangeInclusive<i64> = 10..=1_000;
const MINIMUM_SHARE: RangeInclusive<i64> = 1..=100;
/// A shorter ramp is over before it is seen; in a longer one, deployments overlap.
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

/// Reads a TrafficPolicy.
pub(crate) fn read(given: &TrafficPolicyManifest, report: &mut Report) -> Option<TrafficPolicy> {
    let metadata = metadata::read(Kind::TrafficPolicy, &given.metadata, report);
    let (path, spec) = (FieldPath::of("spec"), &given.spec);
    let namespace = metadata.as_ref().and_then(|metadata| metadata.namespace.clone());
    let targets = targets(&spec.target_refs, namespace.as_ref(), &path.field("targetRefs"), report);
    let rules = rules(spec, &path, report);
    if targets.iter().any(|target| matches!(target, Target::Route { .. })) {
        of_services_alone(spec, &path, report);
    }
    let metadata = metadata?;
    let name = metadata.name.parse().ok()?;
    Some(TrafficPolicy { namespace: namespace?, name, targets, rules: Box::new(rules), metadata })
}

fn targets(
    given: &[TargetRefSpec],
    namespace: Option<&Namespace>,
    path: &FieldPath,
    report: &mut Report,
) -> Vec<Target> {
    value::at_most(TARGETS_MAX, given.len(), path, report);
    if given.is_empty() {
        let mend = "add `- {kind: Service, name: NAME}`";
        report.error(Code::MissingField, path.clone(), "a policy is for something", mend);
    }
    let mut read = Vec::new();
    for (place, given) in given.iter().enumerate() {
        let path = path.index(place);
        let Some(target) = target(given, namespace, &path, report) else { continue };
        if read.contains(&target) {
            report.error(Code::DuplicateEntry, path, "the same target stands there already", "take one away");
        } else {
            read.push(target);
        }
    }
    read
}

fn target(
    given: &TargetRefSpec,
    namespace: Option<&Namespace>,
    path: &FieldPath,
    report: &mut Report,
) -> Option<Target> {
    let group = given.group.as_deref().unwrap_or_default();
    let section = given.section_name.clone().filter(|section| !section.is_empty());
    let name = path.field("name");
    match (group, given.kind.as_str()) {
        ("", "Service") => {
            let service = ServiceName::new(namespace?.clone(), value::name(&given.name, name, report)?);
            Some(Target::Service { service, section })
        }
        (GATEWAY_GROUP, "HTTPRoute") => {
            let (namespace, name) = (namespace?.clone(), value::name(&given.name, name, report)?);
            Some(Target::Route { namespace, name, section })
        }
        ("", "HTTPRoute") => {
            let mend = format!("write `group: {GATEWAY_GROUP}`");
            report.error(Code::BadValue, path.field("group"), "the core group has no HTTPRoute", mend);
            None
        }
        (group, kind) => {
            let dot = if group.is_empty() { "" } else { "." };
            let message =
                format!("a TrafficPolicy is for Services and HTTPRoutes, not for `{kind}{dot}{group}`");
            report.error(Code::Unsupported, path.field("kind"), message, "write `kind: Service`");
            None
        }
    }
}

/// What a policy with an HTTPRoute among its targets may not say: it would hold for requests of other routes too.
fn of_services_alone(spec: &TrafficPolicySpec, path: &FieldPath, report: &mut Report) {
    let connect = spec.timeouts.as_ref().is_some_and(|it| it.connect.is_some());
    let fields = [
        (path.field("loadBalancing"), spec.load_balancing.is_some()),
        (path.field("locality"), spec.locality.is_some()),
        (path.field("slowStart"), spec.slow_start.is_some()),
        (path.field("panicThreshold"), spec.panic_threshold.is_some()),
        (path.field("outlierDetection"), spec.outlier_detection.is_some()),
        (path.field("healthCheck"), spec.health_check.is_some()),
        (path.field("circuitBreaker"), spec.circuit_breaker.is_some()),
        (path.field("concurrency"), spec.concurrency.is_some()),
        (path.field("rateLimit"), spec.rate_limit.is_some()),
        (path.field("faultInjection"), spec.fault_injection.is_some()),
        (path.field("timeouts").field("connect"), connect),
    ];
    for (path, _) in fields.into_iter().filter(|(_, is_given)| *is_given) {
        let message = "it is about a Service's instances, which requests of every route share, and a target is an HTTPRoute";
        let mend = "say it in a TrafficPolicy whose targets are Services";
        report.error(Code::Unsupported, path, message, mend);
    }
}

fn rules(spec: &TrafficPolicySpec, path: &FieldPath, report: &mut Report) -> Rules {
    let is_empty = *spec == TrafficPolicySpec { target_refs: spec.target_refs.clone(), ..Default::default() };
    if is_empty {
        let message = "it says nothing about requests to its targets";
        report.error(Code::MissingField, path.clone(), message, "add for example `loadBalancing`");
    }
    let load_balancing =
        spec.load_balancing.as_ref().map(|it| load_balancing(it, &path.field("loadBalancing"), report));
    let ramp = path.field("slowStart");
    if spec.slow_start.is_some() && load_balancing.as_ref().is_some_and(|it| it.algorithm.hashes()) {
        let message =
            "a policy that hashes would move the keys of others to spare a new instance: it starts at once";
        report.error(
            Code::BadValue,
            ramp.clone(),
            message,
            "take `slowStart` away, or choose another policy",
        );
    }
    let measures = spec.load_balancing.as_ref().is_none_or(|it| it.policy.measures());
    let panic = spec.panic_threshold.and_then(|it| {
        u32::try_from(within_range(&PANIC_THRESHOLD, it, path.field("panicThreshold"), report)?).ok()
    });
    Rules {
        load_balancing,
        locality: spec
            .locality
            .as_ref()
            .map(|it| locality::read(it, measures, &path.field("locality"), report)),
        slow_start: spec.slow_start.as_ref().and_then(|it| slow_start(it, &ramp, report)),
        panic_threshold: panic,
        outlier_detection: spec
            .outlier_detection
            .as_ref()
            .map(|it| outliers::read(it, &path.field("outlierDetection"), report)),
        health_check: spec
            .health_check
            .as_ref()
            .and_then(|it| health::read(it, &path.field("healthCheck"), report)),
        circuit_breaker: spec
            .circuit_breaker
            .as_ref()
            .map(|it| limits::circuit_breaker(it, &path.field("circuitBreaker"), report)),
        concurrency: spec
            .concurrency
            .as_ref()
            .map(|it| limits::concurrency(it, &path.field("concurrency"), report)),
        rate_limits: spec
            .rate_limit
            .as_ref()
            .map(|it| limits::rate_limits(it, &path.field("rateLimit"), report))
            .unwrap_or_default(),
        fault_rules: spec
            .fault_injection
            .as_ref()
            .map(|it| faults::read(it, &path.field("faultInjection"), report))
            .unwrap_or_default(),
        timeouts: spec.timeouts.as_ref().map(|it| attempts::timeouts(it, &path.field("timeouts"), report)),
        retry: spec.retry.as_ref().map(|it| attempts::retry(it, &path.field("retry"), report)),
        hedging: spec.hedging.as_ref().map(|it| attempts::hedging(it, &path.field("hedging"), report)),
    }
}

fn load_balancing(given: &LoadBalancingSpec, path: &FieldPath, report: &mut Report) -> LoadBalancing {
    let parts = [
        ("leastRequest", given.least_request.is_some(), BalancingPolicy::LeastRequest),
        ("ringHash", given.ring_hash.is_some(), BalancingPolicy::RingHash),
        ("maglev", given.maglev.is_some(), BalancingPolicy::Maglev),
    ];
    for (field, is_given, policy) in parts {
        if is_given && policy != given.policy {
            not_used(path.field(field), given.policy, &format!("`policy: {}`", policy.as_str()), report);
        }
    }
    let algorithm = match given.policy {
        BalancingPolicy::PeakEwma => Algorithm::PeakEwma,
        BalancingPolicy::LeastRequest => {
            let choices = given.least_request.as_ref().and_then(|it| it.choices);
            let path = path.field("leastRequest").field("choices");
            Algorithm::LeastRequest { choices: choices.and_then(|it| number(&CHOICES, it, path, report)) }
        }
        BalancingPolicy::RoundRobin => Algorithm::RoundRobin,
        BalancingPolicy::Random => Algorithm::Random,
        BalancingPolicy::RingHash => {
            ring(&given.ring_hash.clone().unwrap_or_default(), &path.field("ringHash"), report)
        }
        BalancingPolicy::Maglev => {
            let size = given.maglev.as_ref().and_then(|it| it.table_size);
            let path = path.field("maglev").field("tableSize");
            Algorithm::Maglev { table_size: size.and_then(|it| prime(it, path, report)) }
        }
    };
    let hash_on = hash_on::read(given, algorithm, &path.field("hashOn"), report);
    let bound = path.field("boundedLoad");
    if given.bounded_load.is_some() && !algorithm.hashes() {
        not_used(bound.clone(), given.policy, "`policy: RingHash` or `policy: Maglev`", report);
    }
    let bounded_load = given.bounded_load.and_then(|it| number(&BOUNDED_LOAD, it, bound, report));
    LoadBalancing { algorithm, hash_on, bounded_load }
}

/// Whether a header may have this name (RFC 9110 §5.1).
pub(super) fn is_header_name(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=256).contains(&name.len()) && name.bytes().all(is_token)
}

pub(super) fn not_used(path: FieldPath, policy: BalancingPolicy, other: &str, report: &mut Report) {
    let message = format!("`{}` has no use for it", policy.as_str());
    report.error(Code::BadValue, path, message, format!("take it away, or write {other}"));
}

fn ring(given: &RingHashSpec, path: &FieldPath, report: &mut Report) -> Algorithm {
    let mut size = |given: Option<i32>, field: &str| {
        given.and_then(|it| number(&RING_SIZE, it, path.field(field), report))
    };
    let minimum = size(given.minimum_ring_size, "minimumRingSize");
    let maximum = size(given.maximum_ring_size, "maximumRingSize");
    let least = minimum.map_or(RING_SIZE_DEFAULTS.0, NonZeroU32::get);
    let most = maximum.map_or(RING_SIZE_DEFAULTS.1, NonZeroU32::get);
    if most < least {
        let field = if maximum.is_some() { "maximumRingSize" } else { "minimumRingSize" };
        let message = format!("a ring of at least {least} points can't have {most} at most");
        report.error(Code::BadValue, path.field(field), message, "change one of both");
    }
    Algorithm::RingHash { minimum, maximum }
}

fn slow_start(given: &SlowStartSpec, path: &FieldPath, report: &mut Report) -> Option<SlowStart> {
    let window = span(&WINDOW, &given.window, path.field("window"), report);
    let aggression =
        given.aggression.and_then(|it| number(&AGGRESSION, it, path.field("aggression"), report));
    let minimum = given.minimum.and_then(|it| number(&MINIMUM_SHARE, it, path.field("minimum"), report));
    Some(SlowStart { window: window?, aggression, minimum })
}

fn prime(given: i32, path: FieldPath, report: &mut Report) -> Option<NonZeroU32> {
    let number = number(&TABLE_SIZE, given, path.clone(), report)?;
    let next = (number.get()..=5_000_011).find(|it| is_prime(*it)).unwrap_or(5_000_011);
    if next == number.get() {
        return Some(number);
    }
    let message = format!("{number} is not a prime number, and a table needs one");
    report.error(Code::BadValue, path, message, format!("the next one is {next}"));
    None
}

fn is_prime(number: u32) -> bool {
    let mut divisors = (2_u32..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && divisors.all(|divisor| !number.is_multiple_of(divisor))
}
