//! One resource type on one stream: what is subscribed to, what the client holds, and what it should hear next. Pure.
//!
//! A name is *pending* when what the client holds may differ from the snapshot; a response is made from the newest
//! snapshot at the moment it can be sent, so changes in between coalesce.
//!
//! ```text
//! subscribe ──> pending ──draft──> in flight ──ACK or NACK──> settled ──changed in a snapshot──> pending
//! ```

use super::absence::{Code, not_found, resource_error};
use crate::snapshot::{Encoded, ResourceName, Snapshot, Version};
use mesh_protocol::resource::ResourceType;
use mesh_protocol::wire::{Any, discovery as wire};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Size at which a response is closed and the rest left for the next.
pub(super) const RESPONSE_BYTES: usize = 1 << 20;
/// What the first answer to a collection may reach so that it is complete; below gRPC's usual 4 MiB for a message.
/// Members beyond it come in the following responses.
pub(super) const COLLECTION_BYTES: usize = (4 << 20) - (64 << 10);
/// Most refusals that wait for one type; further ones are dropped, since only a broken client makes so many.
const REFUSALS_MAX: usize = 1_000;
/// What a resource adds to a response besides its bytes and name: version, type URL, field tags.
const ENTRY_BYTES: usize = 128;

/// What the client holds under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// This version, sent by us or held since an earlier stream.
    Version(Version),
    /// Something that it has asked to hear again, or of which it knows a version that is none of ours.
    Again,
    /// Nothing, and it knows why.
    Absent,
}

/// Whether a collection's first answer has been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collection {
    Unanswered,
    Empty,
    Filled,
}

/// The response that waits for its ACK.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: u64,
    /// The resources it brought.
    pub(super) names: Vec<ResourceName>,
}

/// The contents of a response in the making.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) resources: Vec<wire::Resource>,
    pub(super) removed: Vec<String>,
    pub(super) errors: Vec<wire::ResourceError>,
    pub(super) bytes: usize,
}

/// One type's subscriptions on one stream.
#[derive(Debug)]
pub(super) struct Subscriptions {
    kind: ResourceType,
    names: BTreeSet<ResourceName>,
    /// By `namespace/service`, without the `/*`.
    collections: BTreeMap<ResourceName, Collection>,
    told: BTreeMap<ResourceName, Told>,
    pending: BTreeSet<ResourceName>,
    refusals: Vec<wire::ResourceError>,
    /// A client that came back is told that it is up to date, even when that is all there is to say.
    greet: bool,
    pub(super) started: bool,
    pub(super) in_flight: Option<InFlight>,
}

impl Subscriptions {
    pub(super) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            names: BTreeSet::new(),
            collections: BTreeMap::new(),
            told: BTreeMap::new(),
            pending: BTreeSet::new(),
            refusals: Vec::new(),
            greet: false,
            started: false,
            in_flight: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len() + self.collections.len()
    }

    /// Whether the client has, and has acknowledged, all there is to say.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight.is_none()
            && self.pending.is_empty()
            && self.refusals.is_empty()
            && !self.greet
            && !self.collections.values().any(|state| *state == Collection::Unanswered)
    }

    pub(super) fn is_subscribed(&self, name: &str) -> bool {
        match self.collection(name) {
            Some(service) => self.collections.contains_key(service),
            None => self.names.contains(name),
        }
    }

    /// Subscribes to a well-formed name, or, when it is there already, asks for it again.
    pub(super) fn subscribe(&mut self, name: &str) {
        if let Some(service) = self.collection(name) {
            self.collections.insert(service.into(), Collection::Unanswered);
            let prefix = format!("{service}/");
            for (_, told) in members_mut(&mut self.told, &prefix) {
                *told = Told::Again;
            }
            // Unsubscribed and subscribed again while a response travels: the client will hold what that brings.
            let travelling = self.in_flight.iter().flat_map(|sent| &sent.names);
            for name in travelling.filter(|name| name.starts_with(&*prefix)) {
                self.told.insert(name.clone(), Told::Again);
            }
            return;
        }
        let name = ResourceName::from(name);
        let travels = self.in_flight.as_ref().is_some_and(|sent| sent.names.contains(&name));
        let is_known = !self.names.insert(name.clone()) && self.told.contains_key(&name);
        if travels || is_known {
            self.told.insert(name.clone(), Told::Again);
        }
        self.pending.insert(name);
    }

    /// Forgets a name.
    pub(super) fn unsubscribe(&mut self, name: &str) {
        if let Some(service) = self.collection(name) {
            self.collections.remove(service);
            let prefix = format!("{service}/");
            let names = &self.names;
            self.told.retain(|member, _| !member.starts_with(&*prefix) || names.contains(member));
            self.pending.retain(|member| !member.starts_with(&*prefix) || names.contains(member));
        } else if self.names.remove(name) && !self.is_covered(name) {
            self.told.remove(name);
            self.pending.remove(name);
        }
    }

    /// Takes a client's word on what it holds since an earlier stream. What it does not subscribe to is ignored.
    pub(super) fn resume(&mut self, held: impl IntoIterator<Item = (String, String)>, snapshot: &Snapshot) {
        for (name, version) in held {
            if self.is_covered(&name) {
                let told = Version::of_client(&version).map_or(Told::Again, Told::Version);
                let known = snapshot.name(self.kind, &name).cloned();
                self.told.insert(known.unwrap_or_else(|| name.into()), told);
                self.greet = true;
            }
        }
    }

    /// Queues one answer that is not about a resource in the snapshot.
    pub(super) fn refuse(&mut self, name: &str, code: Code, message: String) {
        let same = |e: &&mut wire::ResourceError| e.resource_name.as_ref().is_some_and(|n| n.name == name);
        let error = resource_error(name, code, message);
        if let Some(waiting) = self.refusals.iter_mut().find(same) {
            *waiting = error;
        } else if self.refusals.len() < REFUSALS_MAX {
            self.refusals.push(error);
        }
    }

    /// Notes that a resource differs between two snapshots.
    pub(super) fn changed(&mut self, name: &ResourceName) {
        if self.is_covered(name) {
            self.pending.insert(name.clone());
        }
    }

    /// What to send next, from this snapshot; nothing while a response is in flight or when there is nothing to say.
    pub(super) fn draft(&mut self, snapshot: &Snapshot) -> Option<Draft> {
        if self.in_flight.is_some() {
            return None;
        }
        let mut draft = Draft { errors: std::mem::take(&mut self.refusals), ..Draft::default() };
        if self.draft_collections(snapshot, &mut draft) {
            self.draft_pending(snapshot, &mut draft);
        }
        let greet = std::mem::take(&mut self.greet);
        (greet || !draft.is_empty()).then_some(draft)
    }

    /// Answers collections for the first time. Returns whether all of them are answered.
    fn draft_collections(&mut self, snapshot: &Snapshot, draft: &mut Draft) -> bool {
        let unanswered = |(_, state): &(&ResourceName, &Collection)| **state == Collection::Unanswered;
        let waiting: Vec<_> =
            self.collections.iter().filter(unanswered).map(|(service, _)| service.clone()).collect();
        for service in waiting {
            let prefix = format!("{service}/");
            let is_empty = snapshot.with_prefix(self.kind, &prefix).next().is_none();
            let state = if is_empty { Collection::Empty } else { Collection::Filled };
            let news = |(name, encoded): &(&ResourceName, &Arc<Encoded>)| !self.holds(name, encoded);
            let news: Vec<_> = snapshot.with_prefix(self.kind, &prefix).filter(news).collect();
            let size = news.iter().map(|(name, encoded)| size_of(name, encoded)).sum::<usize>();
            if !draft.is_empty() && draft.bytes + size > RESPONSE_BYTES {
                return false;
            }
            for (name, encoded) in news {
                if draft.bytes + size_of(name, encoded) > COLLECTION_BYTES {
                    self.pending.insert(name.clone());
                } else {
                    self.tell(name, encoded, draft);
                }
            }
            let gone = |name: &&ResourceName| snapshot.get(self.kind, name).is_none();
            let gone: Vec<_> = members_of(&self.told, &prefix).filter(gone).cloned().collect();
            for name in gone {
                self.told.remove(&name);
                draft.remove(&name);
            }
            if state == Collection::Empty {
                draft.remove(&format!("{service}/*"));
            }
            self.collections.insert(service, state);
        }
        true
    }

    fn draft_pending(&mut self, snapshot: &Snapshot, draft: &mut Draft) {
        let mut shrunk = BTreeSet::new();
        while let Some(name) = self.pending.pop_first() {
            match (snapshot.get(self.kind, &name), self.told.get(&name)) {
                (Some(encoded), _) if self.holds(&name, encoded) => {}
                (Some(encoded), _) => {
                    if !draft.is_empty() && draft.bytes + size_of(&name, encoded) > RESPONSE_BYTES {
                        self.pending.insert(name);
                        break;
                    }
                    self.tell(&name, encoded, draft);
                    self.mark(&name, Collection::Filled);
                }
                (None, Some(Told::Absent)) => {}
                // A workload is subscribed to as it is announced, before it is stored: silence, then the resource.
                (None, None) if self.kind == ResourceType::Workload => {}
                (None, told) => {
                    let known = told.is_some();
                    if self.names.contains(&name) {
                        let sentence = not_found(snapshot, self.kind, &name);
                        draft.bytes += sentence.len();
                        draft.errors.push(resource_error(&name, Code::NotFound, sentence));
                        draft.remove(&name);
                        self.told.insert(name.clone(), Told::Absent);
                    } else if known {
                        draft.remove(&name);
                        self.told.remove(&name);
                    }
                    if let Some(service) = self.service_of(&name) {
                        shrunk.insert(ResourceName::from(service));
                    }
                    if draft.bytes > RESPONSE_BYTES {
                        break;
                    }
                }
            }
        }
        for service in shrunk {
            let emptied = self.collections.get(&service) == Some(&Collection::Filled)
                && snapshot.with_prefix(self.kind, &format!("{service}/")).next().is_none();
            if emptied {
                draft.remove(&format!("{service}/*"));
                self.collections.insert(service, Collection::Empty);
            }
        }
    }

    fn tell(&mut self, name: &ResourceName, encoded: &Encoded, draft: &mut Draft) {
        draft.bytes += size_of(name, encoded);
        draft.resources.push(wire::Resource {
            version: encoded.version.to_string(),
            resource: Some(Any { type_url: self.kind.type_url().to_owned(), value: encoded.bytes.to_vec() }),
            name: name.to_string(),
            aliases: Vec::new(),
        });
        self.told.insert(name.clone(), Told::Version(encoded.version));
    }

    fn holds(&self, name: &str, encoded: &Encoded) -> bool {
        matches!(self.told.get(name), Some(Told::Version(held)) if *held == encoded.version)
    }

    fn mark(&mut self, member: &str, state: Collection) {
        if let Some(service) = self.service_of(member)
            && let Some(collection) = self.collections.get_mut(service)
        {
            *collection = state;
        }
    }

    /// The `namespace/service` that `namespace/service/*` stands for.
    fn collection<'a>(&self, name: &'a str) -> Option<&'a str> {
        (self.kind == ResourceType::Endpoint).then(|| name.strip_suffix("/*")).flatten()
    }

    /// The `namespace/service` of an endpoint or of a collection; nothing for other types.
    fn service_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        (self.kind == ResourceType::Endpoint)
            .then(|| name.rsplit_once('/').map(|(service, _)| service))
            .flatten()
    }

    fn is_covered(&self, name: &str) -> bool {
        self.names.contains(name) || self.service_of(name).is_some_and(|s| self.collections.contains_key(s))
    }
}

impl Draft {
    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty() && self.errors.is_empty()
    }

    fn remove(&mut self, name: &str) {
        self.bytes += name.len();
        self.removed.push(name.to_owned());
    }
}

fn size_of(name: &str, encoded: &Encoded) -> usize {
    encoded.bytes.len() + name.len() + ENTRY_BYTES
}

fn members_of<'a>(
    told: &'a BTreeMap<ResourceName, Told>,
    prefix: &'a str,
) -> impl Iterator<Item = &'a ResourceName> {
    told.range(ResourceName::from(prefix)..).map(|(name, _)| name).take_while(move |n| n.starts_with(prefix))
}

fn members_mut<'a>(
    told: &'a mut BTreeMap<ResourceName, Told>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a ResourceName, &'a mut Told)> {
    told.range_mut(ResourceName::from(prefix)..).take_while(move |(n, _)| n.starts_with(prefix))
}
