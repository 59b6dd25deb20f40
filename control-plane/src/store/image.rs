//! The store in memory, as a value: every object, and the last changes for watches. What enters is a change with its
//! expectation; what leaves is the decision. Pure: disk and threads are elsewhere. Clones share their contents.

use super::{Document, Event, Expect, Key, List, Revision, StoreError, Stored};
use imbl::{OrdMap, Vector};
use manifests::Kind;
use std::collections::BTreeMap;

/// How many changes a watch may lag behind before it must list again. At 1,000 changes a second that is 16 seconds,
/// and at 2 KiB an object the history holds at most 32 MiB beyond the objects themselves.
pub(crate) const HISTORY_EVENTS: usize = 16_384;

/// What a write wants to do.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Put(Document),
    Delete,
}

impl Change {
    /// Bytes of JSON that are to be kept.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Put(object) => object.len(),
            Self::Delete => 0,
        }
    }
}

/// Everything at one revision.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    revision: Revision,
    /// The history holds every change after this one.
    floor: Revision,
    objects: OrdMap<Key, Stored>,
    history: Vector<Event>,
}

impl Image {
    /// The image of what was read at once: no history, so watches start from now.
    pub(crate) fn new(revision: Revision, objects: impl IntoIterator<Item = Stored>) -> Self {
        let objects = objects.into_iter().map(|stored| (stored.key.clone(), stored)).collect();
        Self { revision, floor: revision, objects, history: Vector::new() }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Stored> {
        self.objects.get(key)
    }

    pub(crate) fn list(&self, kind: Option<Kind>, namespace: Option<&str>) -> List {
        let in_namespace = |stored: &Stored| namespace.is_none_or(|n| n == stored.key.namespace);
        let items = match kind {
            None => self.objects.values().filter(|s| in_namespace(s)).cloned().collect(),
            Some(kind) => self
                .objects
                .range(Key::new(kind, namespace.unwrap_or_default(), "")..)
                .map(|(_, stored)| stored)
                .take_while(|stored| stored.key.kind == kind && in_namespace(stored))
                .cloned()
                .collect(),
        };
        List { items, revision: self.revision }
    }

    /// The objects of a kind as they were at an earlier revision: those of now, with every change since taken back.
    pub(crate) fn list_at(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        at: Revision,
    ) -> Result<List, StoreError> {
        let since: Vec<&Event> = self.after(at)?.collect();
        let items = self.list(Some(kind), namespace).items;
        let mut then: BTreeMap<Key, Stored> = items.into_iter().map(|it| (it.key.clone(), it)).collect();
        let concerns = |key: &Key| key.kind == kind && namespace.is_none_or(|it| it == key.namespace);
        for event in since.into_iter().rev().filter(|event| concerns(&event.stored().key)) {
            let before = match event {
                Event::Put { previous, .. } => previous.clone(),
                Event::Deleted { stored, written } => Some(Stored { revision: *written, ..stored.clone() }),
            };
            match before {
                Some(before) => drop(then.insert(before.key.clone(), before)),
                None => drop(then.remove(&event.stored().key)),
            }
        }
        Ok(List { items: then.into_values().collect(), revision: at })
    }

    /// What the change would do, or why it may not.
    pub(crate) fn decide(&self, key: Key, change: Change, expect: Expect) -> Result<Event, StoreError> {
        let previous = self.objects.get(&key);
        match (expect, previous) {
            (Expect::Any, _) | (Expect::Absent, None) => {}
            (Expect::Absent, Some(_)) => return Err(StoreError::AlreadyExists { key }),
            (Expect::At(_), None) => return Err(StoreError::NotFound { key }),
            (Expect::At(expected), Some(there)) if there.revision == expected => {}
            (Expect::At(expected), Some(there)) => {
                return Err(StoreError::Conflict { key, expected, found: there.revision });
            }
        }
        let revision = Revision(self.revision.0 + 1);
        match (change, previous) {
            (Change::Put(object), previous) => {
                Ok(Event::Put { stored: Stored { key, revision, object }, previous: previous.cloned() })
            }
            (Change::Delete, Some(there)) => {
                let stored = Stored { key, revision, object: there.object.clone() };
                Ok(Event::Deleted { stored, written: there.revision })
            }
            (Change::Delete, None) => Err(StoreError::NotFound { key }),
        }
    }

    /// Takes over a decided change.
    pub(crate) fn apply(&mut self, event: Event) {
        self.revision = event.revision();
        match &event {
            Event::Put { stored, .. } => {
                self.objects.insert(stored.key.clone(), stored.clone());
            }
            Event::Deleted { stored, .. } => {
                self.objects.remove(&stored.key);
            }
        }
        self.history.push_back(event);
        while self.history.len() > HISTORY_EVENTS {
            if let Some(forgotten) = self.history.pop_front() {
                self.floor = forgotten.revision();
            }
        }
    }

    /// Takes note that up to `revision` nothing else has changed.
    pub(crate) fn advance(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Whether a watch can start after `from`.
    pub(crate) fn reaches(&self, from: Revision) -> Result<(), StoreError> {
        if (self.floor..=self.revision).contains(&from) {
            return Ok(());
        }
        Err(StoreError::Compacted { asked: from, oldest: self.floor, newest: self.revision })
    }

    /// The changes after `from`, oldest first.
    pub(crate) fn after(&self, from: Revision) -> Result<impl Iterator<Item = &Event>, StoreError> {
        self.reaches(from)?;
        // Revisions only rise, with gaps where the store has other things to count.
        let skip = match self.history.binary_search_by_key(&from, Event::revision) {
            Ok(place) => place + 1,
            Err(place) => place,
        };
        Ok((skip..self.history.len()).filter_map(|place| self.history.get(place)))
    }
}
