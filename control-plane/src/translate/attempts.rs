//! How the requests of a rule, or of a port without rules, are attempted. Several objects have a word on it; the most
//! specific one that says anything of a field counts (GEP-713), the field groups apart from each other:
//!
//! ```text
//! policy for the rule ─> policy for the route ─> the route's own fields ─> policy for the port ─> policy for the Service
//! ```
//!
//! A policy that names a route comes before the route's own fields, since it is there to say something else. The last two are
//! one to this room: what is in force at the port. `retry` and `hedging` count as a whole, each of `timeouts` for itself.

use super::index::RouteName;
use super::policy::Policies;
use manifests::kind::route::{Retry, Rule};
use manifests::kind::service::{Service, ServicePort};
use manifests::kind::traffic_policy as written;
use manifests::kind::traffic_policy::Rules;
use mesh_protocol::attempts as resource;
use std::time::Duration;

/// Further attempts where a policy says something of retries and not how many.
const ATTEMPTS: u32 = 2;

/// How requests are attempted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attempts {
    pub(super) timeouts: resource::Timeouts,
    pub(super) retry: Option<resource::RetryPolicy>,
    pub(super) hedging: Option<resource::Hedging>,
}

/// What holds for the requests of a rule at a port.
pub(super) fn of_rule(
    policies: &Policies,
    (service, port): (&Service, &ServicePort),
    route: &RouteName,
    rule: &Rule,
) -> Attempts {
    let of_rule = rule.name.as_ref().and_then(|name| policies.of_route(route, Some(name)));
    let before = [of_rule, policies.of_route(route, None)];
    let after = policies.of_port(service, port);
    let limit = |own: Option<Duration>, field: fn(&written::Timeouts) -> Option<Duration>| {
        let of = |rules: Option<&Rules>| rules.and_then(|it| field(it.timeouts.as_ref()?));
        let said = before.iter().find_map(|rules| of(*rules)).or(own).or_else(|| of(after));
        // Zero is "no limit" in a manifest; a resource leaves the limit out.
        said.filter(|limit| !limit.is_zero())
    };
    let timeouts = resource::Timeouts {
        request: limit(rule.request_timeout, |it| it.request),
        attempt: limit(rule.backend_request_timeout, |it| it.attempt),
        idle: limit(None, |it| it.idle),
    };
    let said = |rules: Option<&Rules>| rules.and_then(|it| it.retry.as_ref()).map(retry);
    let retry = before.iter().find_map(|rules| said(*rules));
    let retry = retry.or_else(|| rule.retry.as_ref().map(own_retry)).or_else(|| said(after));
    let hedging = before.iter().chain([&after]).find_map(|rules| rules.and_then(|it| it.hedging));
    Attempts { timeouts, retry, hedging: hedging.map(self::hedging) }
}

/// What a policy says.
pub(super) fn of_policy(rules: &Rules) -> Attempts {
    let limit = |field: fn(&written::Timeouts) -> Option<Duration>| {
        field(rules.timeouts.as_ref()?).filter(|limit| !limit.is_zero())
    };
    Attempts {
        timeouts: resource::Timeouts {
            request: limit(|it| it.request),
            attempt: limit(|it| it.attempt),
            idle: limit(|it| it.idle),
        },
        retry: rules.retry.as_ref().map(retry),
        hedging: rules.hedging.map(hedging),
    }
}

/// The Gateway API knows no methods: whoever lists codes there asks for all of them (GEP-1731).
fn own_retry(own: &Retry) -> resource::RetryPolicy {
    resource::RetryPolicy {
        attempts: own.attempts,
        codes: own.codes.clone(),
        methods: resource::RetryMethods::Any,
        backoff: own.backoff,
        ..Default::default()
    }
}

fn retry(it: &written::RetryPolicy) -> resource::RetryPolicy {
    let on = it.failures.as_ref().map(|on| on.iter().map(|it| failure(*it)).collect());
    resource::RetryPolicy {
        attempts: it.attempts.unwrap_or(ATTEMPTS),
        codes: it.statuses.clone(),
        grpc_codes: it.grpc_statuses.iter().map(|status| *status as u8).collect(),
        on: on.unwrap_or_else(|| resource::RetryOn::ALL.to_vec()),
        methods: match it.methods.as_slice() {
            [] => resource::RetryMethods::Idempotent,
            listed => resource::RetryMethods::Listed(listed.to_vec()),
        },
        backoff: it.backoff,
        backoff_most: it.backoff_most,
        retry_after_most: it.retry_after_most,
        budget: budget(it.budget),
    }
}

fn failure(it: written::RetryOn) -> resource::RetryOn {
    match it {
        written::RetryOn::ConnectFailure => resource::RetryOn::ConnectFailure,
        written::RetryOn::RefusedStream => resource::RetryOn::RefusedStream,
        written::RetryOn::Reset => resource::RetryOn::Reset,
        written::RetryOn::Timeout => resource::RetryOn::Timeout,
    }
}

fn hedging(it: written::Hedging) -> resource::Hedging {
    resource::Hedging { percentile: it.percentile, least_delay: it.least_delay, budget: budget(it.budget) }
}

fn budget(it: written::Budget) -> resource::AttemptBudget {
    resource::AttemptBudget { percent: it.percent, least_per_second: it.least_per_second }
}
