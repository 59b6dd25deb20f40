//! Owners, and what becomes of what they own: as in Kubernetes, by `metadata.ownerReferences`. A task of its own, of the replica
//! that leads. Whatever interrupts it, it takes up again: all it needs is in the store.
//!
//! | an owner | what it owns |
//! | --- | --- |
//! | is gone | is deleted, or forgets it if it has another that is there |
//! | is deleted with `Foreground` | is deleted first; what says `blockOwnerDeletion` is waited for |
//! | is deleted with `Orphan` | forgets it first |
//! | is of a kind that is not kept here | is left alone |

mod graph;
mod queue;
mod ties;

pub(crate) use ties::{FOREGROUND, ORPHAN};

use super::Api;
use super::delete::{self, Deletion, Outcome, Propagation};
use super::query::Run;
use super::status::Failure;
use crate::controller::writer::update;
use crate::store::{Event, Expect, Key, Store, StoreError, Stored};
use graph::Graph;
use http::StatusCode;
use queue::Queue;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use ties::{End, Owner, Ties};
use tokio::time::Instant;

/// From a failed try to the next.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Follows the store and deletes what nobody owns any more, until the store is closed.
pub(crate) async fn collect(api: Arc<Api>) {
    loop {
        match Collector::default().follow(&api).await {
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::info!(%error, "what is owned is read anew");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Ok(never) => match never {},
        }
    }
}

/// How an owner stands.
enum Standing {
    There,
    /// It waits for what it owns to go.
    Ends,
    Gone,
    /// It is not there, which counts from then on.
    Missing(Instant),
}

#[derive(Default)]
struct Collector {
    graph: Graph,
    queue: Queue,
}

impl Collector {
    async fn follow(mut self, api: &Api) -> Result<Infallible, StoreError> {
        let list = api.store.list(None, None).await?;
        let mut watch = api.store.watch(None, list.revision).await?;
        list.items.iter().for_each(|stored| self.put(stored));
        drop(list);
        loop {
            tokio::select! {
                event = watch.next() => match event? {
                    Event::Put { stored, .. } => self.put(&stored),
                    Event::Deleted { stored, .. } => self.gone(&stored),
                },
                () = until(self.queue.next()) => {
                    let now = Instant::now();
                    let Some(key) = self.queue.pop(now) else { continue };
                    if let Err(failure) = self.settle(api, &key, now).await {
                        tracing::debug!(object = %key, reason = failure.message(), "left for a moment");
                        self.queue.push(key, now + RETRY_AFTER);
                    }
                }
            }
        }
    }

    fn put(&mut self, stored: &Stored) {
        let (key, now) = (&stored.key, Instant::now());
        let ties = Ties::of(&stored.object);
        if ties.end.is_some() || !ties.owners.is_empty() {
            self.queue.push(key.clone(), now);
        }
        let left = self.graph.note(key, ties.owners, now);
        self.look_at(&left, &key.namespace);
    }

    fn gone(&mut self, stored: &Stored) {
        if self.graph.is_empty() {
            return;
        }
        let had = self.graph.forget(&stored.key);
        self.look_at(&had, &stored.key.namespace);
        for key in self.graph.end(&ties::uid(&stored.object)) {
            self.queue.push(key, Instant::now());
        }
    }

    /// Owners that may have waited for the object that is not theirs any more.
    fn look_at(&mut self, owners: &[Owner], namespace: &str) {
        for key in owners.iter().filter_map(|owner| owner.key(namespace)) {
            self.queue.push(key, Instant::now());
        }
    }

    /// Does what is to be done about one object.
    async fn settle(&mut self, api: &Api, key: &Key, now: Instant) -> Result<(), Failure> {
        let Some(stored) = api.store.get(key).await? else { return Ok(()) };
        let ties = Ties::of(&stored.object);
        if let Some(end) = ties.end {
            return self.end(api, key, &ties.uid, end, now).await;
        }
        if ties.is_terminating {
            return Ok(());
        }
        let (mut is_owned, mut ending, mut gone, mut missing) = (false, Vec::new(), Vec::new(), None);
        for owner in &ties.owners {
            match self.standing(&*api.store, key, owner, now).await? {
                Standing::There => is_owned = true,
                Standing::Ends => ending.push(owner),
                Standing::Gone => gone.push(owner),
                Standing::Missing(from) => missing = Some(missing.map_or(from, |it: Instant| it.min(from))),
            }
        }
        if let Some(from) = missing {
            self.queue.push(key.clone(), from);
            // It may still have an owner.
            is_owned = true;
        }
        if ending.is_empty() && gone.is_empty() {
            return Ok(());
        }
        if is_owned {
            let uids: Vec<_> = ending.iter().chain(&gone).map(|owner| owner.uid.as_str()).collect();
            return disown(&*api.store, key, &uids).await;
        }
        let owned: Vec<&Key> = self.graph.owned_by(&ties.uid).collect();
        // Two that own each other would wait for each other.
        let is_circle =
            ending.iter().filter_map(|owner| owner.key(&key.namespace)).any(|it| owned.contains(&&it));
        let is_foreground = !ending.is_empty() && !owned.is_empty() && !is_circle;
        let propagation = if is_foreground { Propagation::Foreground } else { Propagation::Background };
        let deletion = Deletion::of(ties.uid, stored.revision, propagation);
        match delete::delete(api, key, &deletion, Run::Real).await {
            Ok(Outcome::Gone(_)) => tracing::info!(object = %key, "deleted, as what owned it is gone"),
            Ok(Outcome::Waiting(_)) => {}
            Err(failure) if failure.code == StatusCode::NOT_FOUND => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    async fn standing(
        &self,
        store: &dyn Store,
        key: &Key,
        owner: &Owner,
        now: Instant,
    ) -> Result<Standing, StoreError> {
        let Some(place) = owner.key(&key.namespace) else { return Ok(Standing::There) };
        if let Some(there) = store.get(&place).await?
            && ties::uid(&there.object) == owner.uid
        {
            let is_ending = Ties::of(&there.object).end == Some(End::Foreground);
            return Ok(if is_ending { Standing::Ends } else { Standing::There });
        }
        let from = self.graph.gone_from(key, &owner.uid, now);
        Ok(if from <= now { Standing::Gone } else { Standing::Missing(from) })
    }

    /// Goes on with the end of an object.
    async fn end(&mut self, api: &Api, key: &Key, uid: &str, end: End, now: Instant) -> Result<(), Failure> {
        let owned: Vec<Key> = self.graph.owned_by(uid).cloned().collect();
        match end {
            End::Orphan => {
                for owned in &owned {
                    disown(&*api.store, owned, &[uid]).await?;
                }
                release(&*api.store, key, ORPHAN).await
            }
            End::Foreground => {
                owned.into_iter().for_each(|owned| self.queue.push(owned, now));
                if self.graph.is_blocked(uid) {
                    return Ok(());
                }
                release(&*api.store, key, FOREGROUND).await
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Takes owners out of an object.
async fn disown(store: &dyn Store, key: &Key, uids: &[&str]) -> Result<(), Failure> {
    let is_theirs =
        |owner: &Value| owner.get("uid").and_then(Value::as_str).is_some_and(|it| uids.contains(&it));
    let change = |before: Option<&Value>| without(before?, "ownerReferences", is_theirs);
    Ok(update(store, key, change).await.map(|_| ())?)
}

/// Takes a finalizer out of an object that is being deleted; the last one takes the object along.
async fn release(store: &dyn Store, key: &Key, finalizer: &str) -> Result<(), Failure> {
    let Some(stored) = store.get(key).await? else { return Ok(()) };
    let Some(object) = without(&stored.object.read(), "finalizers", |it| it == finalizer) else {
        return Ok(());
    };
    let expect = Expect::At(stored.revision);
    if super::meta::has_finalizers(&object) {
        store.put(key.clone(), object, expect).await?;
    } else {
        store.delete(key.clone(), expect).await?;
    }
    Ok(())
}

/// The object without some entries of a list of `metadata`; nothing if none is there.
fn without(object: &Value, field: &str, is_out: impl Fn(&Value) -> bool) -> Option<Value> {
    let list = object.get("metadata")?.get(field)?.as_array()?;
    let kept: Vec<Value> = list.iter().filter(|it| !is_out(it)).cloned().collect();
    if kept.len() == list.len() {
        return None;
    }
    let mut object = object.clone();
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    match kept.is_empty() {
        true => drop(metadata.remove(field)),
        false => drop(metadata.insert(field.to_owned(), kept.into())),
    }
    Some(object)
}
