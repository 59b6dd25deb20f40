//! How requests are attempted, as `/config` says it: what is in force, defaults included. Pure.

use crate::retry::{AttemptPolicy, STANDARD};
use crate::snapshot::CompiledPort;
use serde_json::{Value, json};
use std::time::Duration;

/// What is in force at a port, for requests that no rule is for.
pub(super) fn of_port(port: &CompiledPort) -> Value {
    attempts(port.policy.as_ref().map_or(&STANDARD, |policy| &policy.attempts))
}

/// What is in force for each rule at a port.
pub(super) fn of_rules(port: &CompiledPort) -> Value {
    let rules = port.routes.rules().iter().map(
        |rule| json!({ "route": &*rule.route, "index": rule.index, "attempts": attempts(&rule.attempts) }),
    );
    rules.collect()
}

fn attempts(policy: &AttemptPolicy) -> Value {
    let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
    let allowed = policy.retry.allowed;
    let hedging = policy.hedge.map(|hedge| {
        json!({
            "percentile": hedge.percentile(),
            "budgetPercent": hedge.allowed.percent(),
            "budgetPerSecond": hedge.allowed.least_per_second(),
        })
    });
    json!({
        "requestSeconds": seconds(policy.timeouts.request),
        "backendRequestSeconds": seconds(policy.timeouts.attempt),
        "idleSeconds": seconds(policy.timeouts.idle),
        "retries": policy.retry.attempts(),
        "retryBudgetPercent": allowed.percent(),
        "retryBudgetPerSecond": allowed.least_per_second(),
        "hedging": hedging,
    })
}
