//! Limits and failures made on purpose, as the admin views show them: what is in force and how much of it is used.

use crate::limit::{InboundLimits, InboundLimitsByPort, Level};
use crate::snapshot::TrafficPolicy;
use mesh_protocol::limits::RateLimitKey;
use serde_json::{Map, Value, json};

/// What a policy limits for callers; null where it limits nothing.
pub(super) fn circuit_breaker(policy: &TrafficPolicy) -> Value {
    policy.breaker.as_ref().map_or(Value::Null, |breaker| Value::Object(levels(breaker.levels())))
}

/// How many rules of failures there are.
pub(super) fn fault_rules(policy: &TrafficPolicy) -> usize {
    policy.faults.as_ref().map_or(0, |faults| faults.rules())
}

/// What is let in at the application's ports, by port.
pub(super) fn inbound(limits: &InboundLimitsByPort) -> Value {
    let ports = limits.iter().map(|(port, limits)| (port.to_string(), of_port(limits)));
    Value::Object(ports.collect())
}

fn of_port(limits: &InboundLimits) -> Value {
    let concurrency = limits.concurrency.as_ref().map(|limit| {
        let mut said = levels(limit.levels());
        said.insert("trafficPolicy".to_owned(), json!(limit.policy()));
        said
    });
    let rates = limits.rates.iter().map(|limit| {
        let told = limit.told();
        let key = match &told.key {
            None => "none".to_owned(),
            Some(RateLimitKey::ClientIdentity) => "client identity".to_owned(),
            Some(RateLimitKey::Header(name)) => format!("header {name}"),
        };
        json!({
            "trafficPolicy": told.policy,
            "matches": told.matches.len(),
            "key": key,
            "requests": told.requests,
            "per": limit.unit(),
            "burst": told.burst.unwrap_or(told.requests),
            "clients": limit.clients(),
        })
    });
    json!({ "concurrency": concurrency, "rateLimits": rates.collect::<Vec<_>>() })
}

fn levels(levels: impl IntoIterator<Item = Level>) -> Map<String, Value> {
    let limited = levels.into_iter().filter_map(|level| {
        let limit = level.limit?;
        Some((level.name.to_owned(), json!({ "limit": limit, "used": level.used })))
    });
    limited.collect()
}
