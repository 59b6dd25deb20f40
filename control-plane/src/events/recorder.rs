//! The task that follows the store and records what is notable, and takes away what is an hour old.

use super::ledger::Ledger;
use super::notable::{Notice, notices};
use crate::controller::stamp::{self, moment};
use crate::controller::writer::update;
use crate::store::{Expect, Key, Store, StoreError, Watch};
use jiff::Timestamp;
use manifests::Kind;
use serde_json::{Value, json};
use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an Event stays, as in Kubernetes.
const KEPT: Duration = Duration::from_secs(3_600);
/// How often old ones are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// Events that are kept; the oldest go first.
const EVENTS_MAX: usize = 5_000;
/// From a failure of the store to the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Where Events about what lies in no namespace are, as in Kubernetes.
const DEFAULT_NAMESPACE: &str = "default";
/// Who says so.
const COMPONENT: &str = "outrigger-control-plane";

/// Records until the task is dropped or the store is closed.
pub async fn run(store: Arc<dyn Store>) {
    loop {
        let followed = follow(&*store).await;
        match followed {
            Err(StoreError::Closed) => return,
            // A reader that was too slow, or a store that could not be read: what happened meanwhile is not told.
            Err(error) => tracing::debug!(%error, "events start again from now"),
            Ok(never) => match never {},
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn follow(store: &dyn Store) -> Result<std::convert::Infallible, StoreError> {
    let now = store.revision().await?;
    let mut watch: Watch = store.watch(None, now).await?;
    let mut ledger = Ledger::default();
    let mut sweep = Instant::now();
    loop {
        let wake = ledger.next().map_or(sweep, |due| due.min(sweep));
        let told = tokio::select! {
            change = watch.next() => {
                let now = Instant::now();
                notices(&change?).into_iter().filter_map(|notice| ledger.tell(notice, now)).collect()
            }
            () = tokio::time::sleep_until(wake) => ledger.due(Instant::now()),
        };
        for (notice, times) in told {
            match write(store, &notice, times, Timestamp::now()).await {
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => {
                    tracing::debug!(%error, object = %notice.about, "an event could not be written")
                }
                Ok(()) => {}
            }
        }
        let left_out = ledger.take_left_out();
        if left_out > 0 {
            tracing::warn!(left_out, "more happened than events may say");
        }
        if Instant::now() >= sweep {
            sweep = Instant::now() + SWEEP;
            take_away(store, Timestamp::now()).await?;
        }
    }
}

async fn write(store: &dyn Store, notice: &Notice, times: u32, now: Timestamp) -> Result<(), StoreError> {
    let about = &notice.about;
    let namespace = if about.namespace.is_empty() { DEFAULT_NAMESPACE } else { &about.namespace };
    // What happens to objects while their namespace is deleted would outlive it.
    let place = store.get(&Key::new(Kind::Namespace, "", namespace)).await?;
    if place.is_none_or(|stored| stored.object.read().pointer("/metadata/deletionTimestamp").is_some()) {
        return Ok(());
    }
    let mut hash = SipHasher13::new();
    (&notice.uid, &notice.reason, &notice.message).hash(&mut hash);
    let name = format!("{}.{:016x}", about.name, hash.finish());
    let fresh = |count: u64, first: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about.kind.api_version(), "kind": about.kind.name(), "name": about.name,
                "namespace": about.namespace, "uid": notice.uid,
            },
            "type": if notice.is_warning { "Warning" } else { "Normal" },
            "reason": notice.reason, "message": notice.message,
            "source": {"component": COMPONENT}, "reportingComponent": COMPONENT, "reportingInstance": "",
            "count": count, "firstTimestamp": first, "lastTimestamp": moment(now),
        })
    };
    let change = |before: Option<&Value>| {
        let count = before.and_then(|before| before.get("count")?.as_u64()).unwrap_or(0) + u64::from(times);
        let first = before.and_then(|before| before.get("firstTimestamp")?.as_str());
        let mut object = fresh(count, first.unwrap_or(&moment(now)));
        match before {
            None => stamp::born(&mut object, now),
            Some(before) => stamp::succeed(&mut object, before),
        }
        Some(object)
    };
    update(store, &Key::new(Kind::Event, namespace, name.as_str()), change).await.map(|_| ())
}

/// Deletes what is older than it may be, and the oldest of what is too much.
async fn take_away(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let mut kept: Vec<(Option<Timestamp>, Key)> = Vec::new();
    for stored in store.list(Some(Kind::Event), None).await?.items {
        let object = stored.object.read();
        let last = ["lastTimestamp", "eventTime"]
            .iter()
            .find_map(|field| object.get(field)?.as_str()?.parse::<Timestamp>().ok());
        let created = object.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
        kept.push((last.or_else(|| created?.parse().ok()), stored.key));
    }
    kept.sort_by_key(|(last, _)| *last);
    let excess = kept.len().saturating_sub(EVENTS_MAX);
    let is_old =
        |last: &Option<Timestamp>| last.is_none_or(|last| now.duration_since(last).unsigned_abs() > KEPT);
    for (place, (last, key)) in kept.into_iter().enumerate() {
        if place < excess || is_old(&last) {
            match store.delete(key, Expect::Any).await {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::EmbeddedStore;
    use prometheus::Registry;

    fn notice() -> Notice {
        Notice {
            about: Key::new(Kind::HttpRoute, "shop", "web"),
            uid: "u".to_owned(),
            is_warning: true,
            reason: "NoSuchPort".to_owned(),
            message: "not Accepted (web): web has no port 81".to_owned(),
        }
    }

    #[tokio::test]
    async fn an_event_is_written_counted_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&folder.path().join("store"), &Registry::new()).unwrap();
        let namespace = Key::new(Kind::Namespace, "", "shop");
        let active = json!({"metadata": {"name": "shop"}});
        store.put(namespace.clone(), active, Expect::Absent).await.unwrap();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        write(&store, &notice(), 1, start).await.unwrap();
        write(&store, &notice(), 4, start + Duration::from_secs(10)).await.unwrap();
        let list = store.list(Some(Kind::Event), Some("shop")).await.unwrap();
        assert_eq!(list.items.len(), 1, "one for what happens again");
        let event = list.items[0].object.read();
        let read = manifests::Object::from_json(Kind::Event, event.clone());
        assert!(read.is_ok(), "{read:?}");
        assert_eq!((&event["count"], &event["type"]), (&json!(5), &json!("Warning")));
        assert_eq!(event["firstTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(event["lastTimestamp"], "2026-01-01T00:00:10Z");
        assert_eq!(event["involvedObject"]["uid"], "u");
        take_away(&store, start + KEPT).await.unwrap();
        assert_eq!(store.list(Some(Kind::Event), None).await.unwrap().items.len(), 1);
        take_away(&store, start + KEPT + Duration::from_secs(11)).await.unwrap();
        assert!(store.list(Some(Kind::Event), None).await.unwrap().items.is_empty());
        let terminating = json!({"metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        store.put(namespace, terminating, Expect::Any).await.unwrap();
        write(&store, &notice(), 1, start).await.unwrap();
        let left = store.list(Some(Kind::Event), None).await.unwrap().items;
        assert!(left.is_empty(), "nothing is told of what goes with its namespace: {left:?}");
    }
}
