//! Who is connected, and what they have: written by each stream for itself, read when someone asks for `proxies`.

use super::session::{Nack, Session};
use crate::index::Feed;
use crate::store::Revision;
use jiff::Timestamp;
use mesh_names::{SpiffeId, WorkloadName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The connected sidecars. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Directory {
    entries: Arc<Mutex<Entries>>,
    feed: Feed,
}

/// Held to add and remove streams and to list them; entries have locks of their own, so that streams don't wait for
/// each other. Order: this one first.
#[derive(Debug, Default)]
struct Entries {
    next: u64,
    connected: BTreeMap<u64, Arc<Mutex<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    identity: SpiffeId,
    since: Timestamp,
    workload: Option<WorkloadName>,
    agent: String,
    /// When its certificate expires, in seconds since 1970; 0: it did not say.
    certificate_expires: u64,
    applied: Revision,
    pending: usize,
    /// Since when something is pending.
    behind_since: Option<Instant>,
    subscriptions: usize,
    nacks: Vec<Nack>,
    refusal: Option<String>,
}

/// One stream's entry; dropping it takes the entry out.
#[derive(Debug)]
pub(super) struct Presence {
    directory: Directory,
    number: u64,
    entry: Arc<Mutex<Entry>>,
}

impl Directory {
    /// Of the streams that follow `feed`.
    pub fn new(feed: Feed) -> Self {
        Self { entries: Arc::default(), feed }
    }

    pub(super) fn enter(&self, identity: SpiffeId) -> Presence {
        let entry = Arc::new(Mutex::new(Entry {
            identity,
            since: Timestamp::now(),
            workload: None,
            agent: String::new(),
            certificate_expires: 0,
            applied: Revision::default(),
            pending: 0,
            behind_since: None,
            subscriptions: 0,
            nacks: Vec::new(),
            refusal: None,
        }));
        let mut entries = lock(&self.entries);
        entries.next += 1;
        let number = entries.next;
        entries.connected.insert(number, Arc::clone(&entry));
        drop(entries);
        Presence { directory: self.clone(), number, entry }
    }
}

impl Directory {
    /// One object for each connected sidecar, as the API shows it, in the order in which they connected: of a namespace or
    /// of all, of workloads of a name or of all. Of two streams of the same workload, as there are while a sidecar
    /// reconnects, only the newer is shown.
    pub fn connected(&self, namespace: Option<&str>, name: Option<&str>) -> Vec<Value> {
        let news = News::of(&self.feed);
        let entries: Vec<_> = {
            let entries = lock(&self.entries);
            entries.connected.iter().map(|(number, entry)| (*number, Arc::clone(entry))).collect()
        };
        let mut shown = BTreeMap::new();
        for (number, entry) in entries {
            let entry = lock(&entry);
            if namespace.is_some_and(|wanted| wanted != entry.identity.namespace.as_str()) {
                continue;
            }
            let called = match &entry.workload {
                Some(workload) => workload.name.to_string(),
                None => format!("stream-{number}"),
            };
            if name.is_none_or(|wanted| wanted == called) {
                let key = (entry.identity.namespace.clone(), called.clone());
                shown.insert(key, (number, object(&called, &entry, news)));
            }
        }
        let mut shown: Vec<_> = shown.into_values().collect();
        shown.sort_by_key(|(number, _)| *number);
        shown.into_iter().map(|(_, object)| object).collect()
    }
}

/// The connected sidecars, counted.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// By the program that they say they are.
    pub(super) agents: BTreeMap<String, i64>,
    /// Those that have not acknowledged all they were sent.
    pub(super) behind: i64,
    /// For how long the one has not that waits longest.
    pub(super) longest_behind: Duration,
    /// Those that refused something and go on without it.
    pub(super) refusing: i64,
}

impl Directory {
    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        for entry in lock(&self.entries).connected.values() {
            let entry = lock(entry);
            *census.agents.entry(entry.agent.clone()).or_default() += 1;
            census.refusing += i64::from(!entry.nacks.is_empty());
            if let Some(since) = entry.behind_since {
                census.behind += 1;
                census.longest_behind = census.longest_behind.max(since.elapsed());
            }
        }
        census
    }
}

impl Presence {
    /// Notes what a session has come to.
    pub(super) fn note(&self, session: &Session) {
        let mut entry = lock(&self.entry);
        if entry.workload.as_ref() != session.workload() {
            entry.workload = session.workload().cloned();
        }
        entry.applied = session.applied();
        entry.pending = session.unacknowledged();
        entry.behind_since = (entry.pending > 0).then(|| entry.behind_since.unwrap_or_else(Instant::now));
        entry.subscriptions = session.subscriptions();
        if !entry.nacks.iter().eq(session.nacks()) {
            entry.nacks = session.nacks().cloned().collect();
        }
    }

    /// Notes which program is at the other end.
    pub(super) fn note_agent(&self, agent: String) {
        lock(&self.entry).agent = agent;
    }

    /// Notes when its certificate expires, in seconds since 1970.
    pub(super) fn note_certificate(&self, expires: u64) {
        lock(&self.entry).certificate_expires = expires;
    }

    /// Notes why its workload is not registered; nothing when it is.
    pub(super) fn note_refusal(&self, refusal: Option<String>) {
        lock(&self.entry).refusal = refusal;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        lock(&self.directory.entries).connected.remove(&self.number);
    }
}

/// What there is to have.
#[derive(Debug, Clone, Copy)]
struct News {
    /// When a resource last changed.
    changed: Revision,
    /// Until when none has changed since.
    reflected: Revision,
}

impl News {
    fn of(feed: &Feed) -> Self {
        // In this order: a change in between is later than what it is taken to follow.
        let reflected = *feed.reflected.borrow();
        Self { reflected, changed: *feed.changed.borrow() }
    }

    /// Up to which revision a sidecar has all that concerns it. Streams are not woken by what changes no resource, so that
    /// who has the newest resources has what came after them too.
    fn applied(self, applied: Revision) -> Revision {
        if applied >= self.changed { applied.max(self.reflected) } else { applied }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn object(name: &str, entry: &Entry, news: News) -> Value {
    let rejections = entry.nacks.iter().map(|nack| {
        json!({
            "type": nack.kind.as_str(),
            "resources": nack.resources,
            "message": nack.message,
            "revision": nack.revision.to_string(),
        })
    });
    let mut status = json!({
        "identity": entry.identity.to_string(),
        "connected": true,
        "appliedRevision": news.applied(entry.applied).to_string(),
        "pending": entry.pending,
        "rejected": entry.nacks.iter().map(|nack| nack.count).sum::<usize>(),
        "rejections": rejections.collect::<Vec<_>>(),
        "subscriptions": entry.subscriptions,
        "agent": entry.agent,
    });
    let expires = i64::try_from(entry.certificate_expires).ok().filter(|seconds| *seconds > 0);
    let expires = expires.and_then(|seconds| Timestamp::from_second(seconds).ok());
    if let Some(fields) = status.as_object_mut() {
        if let Some(refusal) = &entry.refusal {
            fields.insert("registrationRefused".to_owned(), refusal.as_str().into());
        }
        if let Some(expires) = expires {
            fields.insert("certificateExpires".to_owned(), crate::controller::stamp::moment(expires).into());
        }
    }
    json!({
        "metadata": {
            "name": name,
            "namespace": entry.identity.namespace.as_str(),
            "creationTimestamp": crate::controller::stamp::moment(entry.since),
        },
        "status": status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_newest_resources_has_all_that_came_after_them() {
        let news = |changed| News { changed: Revision(changed), reflected: Revision(9) };
        for (changed, applied, says) in [(7, 7, 9), (7, 8, 9), (7, 6, 6), (12, 12, 12), (12, 11, 11)] {
            assert_eq!(news(changed).applied(Revision(applied)), Revision(says), "{changed} {applied}");
        }
    }
}
