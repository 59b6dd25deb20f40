//! Limits and failures made on purpose, from a TrafficPolicy to resources: what callers go by is in the Service's resource,
//! what is let in at an application's port in the Workload's. A port has no place for two limits of a kind: where several
//! Services lead to it, the oldest policy that sets one is in force.

use super::endpoint::target_of;
use super::index::{Index, WorkloadEntry};
use super::service::compile_match;
use manifests::kind::route::Match;
use manifests::kind::traffic_policy as written;
use mesh_names::Port;
use mesh_protocol::limits as resource;
use mesh_protocol::service::RouteMatch;
use std::collections::BTreeSet;

/// What is let in at the ports of a Workload.
pub(super) fn of_workload(index: &Index, entry: &WorkloadEntry) -> Vec<resource::PortLimits> {
    let ports: BTreeSet<Port> = entry.workload.ports.iter().map(|port| port.port).collect();
    ports.into_iter().filter_map(|port| of_port(index, entry, port)).collect()
}

fn of_port(index: &Index, entry: &WorkloadEntry, port: Port) -> Option<resource::PortLimits> {
    let mut policies = Vec::new();
    for service in index.selecting(entry) {
        let leading = service.ports.iter().filter(|it| target_of(&entry.workload, it) == Some(port));
        policies.extend(leading.filter_map(|it| index.policies.in_force(service, it)));
    }
    policies.sort_by_key(|(rank, _)| rank.clone());
    let concurrency = policies
        .iter()
        .find_map(|((_, name), rules)| Some(concurrency(name.to_string(), rules.concurrency.as_ref()?)));
    let rate_limits = policies.iter().find(|(_, rules)| !rules.rate_limits.is_empty());
    let rate_limits = rate_limits.map(|((_, name), rules)| {
        rules.rate_limits.iter().map(|limit| rate_limit(name.to_string(), limit)).collect()
    });
    let limits = resource::PortLimits { port, concurrency, rate_limits: rate_limits.unwrap_or_default() };
    (limits.concurrency.is_some() || !limits.rate_limits.is_empty()).then_some(limits)
}

pub(super) fn circuit_breaker(it: &written::CircuitBreaker) -> resource::CircuitBreaker {
    resource::CircuitBreaker {
        connections: it.connections,
        requests: it.requests,
        pending: it.pending,
        pending_time: it.pending_time,
        retries: it.retries,
    }
}

pub(super) fn fault_rule(it: &written::FaultRule) -> resource::FaultRule {
    let answer = |answer| match answer {
        written::FaultAnswer::Http(status) => resource::FaultAnswer::Http(status),
        written::FaultAnswer::Grpc(status) => resource::FaultAnswer::Grpc(status),
    };
    resource::FaultRule {
        matches: matches(&it.matches),
        delay: it.delay,
        abort: it.abort.map(|(it, percent)| (answer(it), percent)),
    }
}

fn concurrency(policy: String, it: &written::Concurrency) -> resource::ConcurrencyLimit {
    resource::ConcurrencyLimit {
        policy,
        requests: it.requests,
        adaptive: it.adaptive.map(|it| resource::AdaptiveConcurrency {
            least: it.least,
            initial: it.initial,
            tolerance: it.tolerance,
            window: it.window,
        }),
        pending: it.pending,
        pending_time: it.pending_time,
    }
}

fn rate_limit(policy: String, it: &written::RateLimit) -> resource::RateLimit {
    resource::RateLimit {
        policy,
        matches: matches(&it.matches),
        key: it.key.as_ref().map(|key| match key {
            written::RateLimitKey::ClientIdentity => resource::RateLimitKey::ClientIdentity,
            written::RateLimitKey::Header(name) => resource::RateLimitKey::Header(name.clone()),
        }),
        requests: it.requests,
        unit: match it.unit {
            written::RateUnit::Second => resource::RateUnit::Second,
            written::RateUnit::Minute => resource::RateUnit::Minute,
            written::RateUnit::Hour => resource::RateUnit::Hour,
        },
        burst: it.burst,
    }
}

fn matches(matches: &[Match]) -> Vec<RouteMatch> {
    matches.iter().map(|it| compile_match(0, it)).collect()
}
