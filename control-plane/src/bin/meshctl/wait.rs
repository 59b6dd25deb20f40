//! Waiting until what was written has reached the sidecars.
//!
//! Enters: the revision of the last write. Leaves: how many sidecars have applied it, or which have not, and why. Never
//! here: whom a change concerns: a sidecar whom it does not concern is past it as soon as it was looked at.

use crate::client::{Client, Form};
use crate::failure::Failure;
use crate::paths::Resource;
use crate::proxies::{self, Proxy};
use manifests::Kind;
use manifests::kind::workload::is_registered;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// From one look to the next: a change is with a sidecar in milliseconds.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until every connected sidecar has all of `revision`, or has refused part of it.
///
/// # Errors
/// Each sidecar that has not applied it after `patience`, by name and with the reason; those that are not connected too.
pub(crate) async fn until_applied(
    client: &mut Client,
    revision: u64,
    patience: Duration,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    let proxies = loop {
        let (proxies, _newest) = proxies::connected(client, None).await?;
        let is_waiting = |proxy: &Proxy| !proxy.has(revision) && !proxy.has_refused();
        if !proxies.iter().any(is_waiting) || Instant::now() >= deadline {
            break proxies;
        }
        sleep(PAUSE).await;
    };
    let mut behind: Vec<String> =
        proxies.iter().filter_map(|proxy| said_of(proxy, revision, patience)).collect();
    let connected: BTreeSet<_> = proxies.iter().map(|it| (it.namespace.as_str(), it.name.as_str())).collect();
    let workloads = client.get(&Resource::Stored(Kind::Workload).collection(None), Form::Objects).await?;
    behind.extend(away(&workloads, &connected));
    if behind.is_empty() {
        writeln!(out, "applied by all {} connected sidecars", proxies.len())?;
        return Ok(());
    }
    behind.sort();
    behind.push(format!("applied by {} of {} connected sidecars", count(&proxies, revision), proxies.len()));
    Err(Failure::Problems(behind))
}

fn count(proxies: &[Proxy], revision: u64) -> usize {
    proxies.iter().filter(|proxy| proxy.has(revision) && proxy.problem().is_none()).count()
}

/// Why a connected sidecar has not applied the revision; nothing if it has.
fn said_of(proxy: &Proxy, revision: u64, patience: Duration) -> Option<String> {
    let why = match proxy.problem() {
        Some(problem) => problem,
        None if proxy.has(revision) => return None,
        None => format!("has not confirmed revision {revision} within {} s", patience.as_secs()),
    };
    Some(format!("sidecar {}/{} {why}", proxy.namespace, proxy.name))
}

/// The registered workloads whose sidecar is not connected.
fn away(workloads: &Value, connected: &BTreeSet<(&str, &str)>) -> Vec<String> {
    let items = workloads.get("items").and_then(Value::as_array);
    let registered = items.into_iter().flatten().filter(|object| is_registered(object));
    let names = registered.filter_map(|object| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        Some((text("/metadata/namespace")?, text("/metadata/name")?))
    });
    let away = names.filter(|name| !connected.contains(name));
    away.map(|(namespace, name)| {
        format!("sidecar {namespace}/{name} is not connected: it goes by what it had")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whoever_has_not_applied_it_is_named_with_the_reason() {
        let proxy = |status: Value| {
            let metadata = json!({"name": "orders-1", "namespace": "shop"});
            Proxy::from_api(&json!({"metadata": metadata, "status": status}))
        };
        let said = |status| said_of(&proxy(status), 9, Duration::from_secs(30)).unwrap_or_default();
        assert_eq!(said(json!({"appliedRevision": "9"})), "");
        assert_eq!(said(json!({"appliedRevision": "12"})), "");
        let late = "sidecar shop/orders-1 has not confirmed revision 9 within 30 s";
        assert_eq!(said(json!({"appliedRevision": "8"})), late);
        let rejections = json!([{"resources": ["shop/a"], "message": "port 0"}]);
        let refused = json!({"appliedRevision": "9", "rejected": 1, "rejections": rejections});
        assert_eq!(said(refused), "sidecar shop/orders-1 refused 1 resources: shop/a: port 0");
    }

    #[test]
    fn a_registered_workload_without_a_connection_is_away_and_one_that_people_wrote_is_not() {
        let workload = |name: &str, by: &str| json!({"metadata": {"namespace": "shop", "name": name, "annotations": {"outrigger.dev/registered-by": by}}});
        let all =
            json!({"items": [workload("a", "sidecar"), workload("b", "sidecar"), workload("c", "people")]});
        let said = away(&all, &BTreeSet::from([("shop", "a")]));
        assert_eq!(said, ["sidecar shop/b is not connected: it goes by what it had"]);
    }
}
