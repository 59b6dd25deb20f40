//! What sidecars may be told at one moment: an immutable map from resource type and name to encoded bytes. What enters
//! is the output of `translate`; what leaves, by `tokio::sync::watch`, is a [`Snapshot`] that any number of streams
//! read at their own pace: a slow one skips snapshots, it never queues them. Nothing here knows what a resource means.
//!
//! Two snapshots share what is equal in both, so that a change costs what it touches and [`Snapshot::changed_since`]
//! costs what differs.

mod encoded;
mod nearest;

pub use encoded::{Encoded, Version};
pub use nearest::{NEAREST_MAX, nearest_services};

use crate::store::Revision;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mesh_protocol::resource::ResourceType;
use std::sync::Arc;

/// The name of a resource within its type.
pub type ResourceName = Arc<str>;

/// Everything that may be told, at one store revision. Cloning is cheap: the map is shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    revision: Revision,
    resources: OrdMap<(ResourceType, ResourceName), Arc<Encoded>>,
}

impl Snapshot {
    /// The store revision this reflects.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The same resources, known to reflect `revision` too.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.revision = revision;
        self
    }

    /// Puts `bytes` under a name. Returns whether that changes anything.
    pub fn put(&mut self, kind: ResourceType, name: ResourceName, bytes: Vec<u8>) -> bool {
        let encoded = Encoded::new(bytes);
        if self.get(kind, &name).is_some_and(|held| held.version == encoded.version) {
            return false;
        }
        self.resources.insert((kind, name), Arc::new(encoded));
        true
    }

    /// Takes a name out. Returns whether it was there.
    pub fn remove(&mut self, kind: ResourceType, name: &str) -> bool {
        self.resources.remove(&(kind, name.into())).is_some()
    }

    /// The resource of this name.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Encoded>> {
        self.resources.get(&(kind, name.into()))
    }

    /// A name as the resource that has it is known by, so that there is one copy of it; none: there is no such resource.
    pub fn name(&self, kind: ResourceType, name: &str) -> Option<&ResourceName> {
        self.resources.get_key_value(&(kind, name.into())).map(|((_, name), _)| name)
    }

    /// All resources of a type whose names start with `prefix`, by name.
    pub fn with_prefix<'a>(
        &'a self,
        kind: ResourceType,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a ResourceName, &'a Arc<Encoded>)> {
        self.resources
            .range((kind, ResourceName::from(prefix))..)
            .take_while(move |((k, name), _)| *k == kind && name.starts_with(prefix))
            .map(|((_, name), encoded)| (name, encoded))
    }

    /// The type and name of every resource that was added, changed or removed from `earlier` to this one.
    pub fn changed_since<'a>(
        &'a self,
        earlier: &'a Self,
    ) -> impl Iterator<Item = (ResourceType, &'a ResourceName)> {
        earlier.resources.diff(&self.resources).map(|item| {
            let (kind, name) = match item {
                DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => {
                    key
                }
            };
            (*kind, name)
        })
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(snapshot: &mut Snapshot, name: &str, bytes: &str) -> bool {
        snapshot.put(ResourceType::Service, name.into(), bytes.into())
    }

    fn changes(new: &Snapshot, old: &Snapshot) -> Vec<String> {
        new.changed_since(old).map(|(_, name)| name.to_string()).collect()
    }

    #[test]
    fn putting_equal_bytes_changes_nothing() {
        let mut snapshot = Snapshot::default();
        assert!(put(&mut snapshot, "shop/orders", "a"));
        assert!(!put(&mut snapshot, "shop/orders", "a"));
        assert!(put(&mut snapshot, "shop/orders", "b"));
    }

    #[test]
    fn a_difference_names_what_was_added_changed_and_removed() {
        let mut old = Snapshot::default();
        for (name, bytes) in [("a/a", "1"), ("a/b", "1"), ("a/c", "1")] {
            put(&mut old, name, bytes);
        }
        let mut new = old.clone();
        put(&mut new, "a/b", "2");
        put(&mut new, "a/d", "1");
        new.remove(ResourceType::Service, "a/c");
        assert_eq!(changes(&new, &old), ["a/b", "a/c", "a/d"]);
        assert!(changes(&new, &new.clone().at(Revision(9))).is_empty());
    }

    #[test]
    fn a_prefix_stays_within_its_type() {
        let mut snapshot = Snapshot::default();
        for name in ["shop/a/1", "shop/a/2", "shop/ab/1"] {
            snapshot.put(ResourceType::Endpoint, name.into(), vec![1]);
        }
        snapshot.put(ResourceType::Service, "shop/a/3".into(), vec![1]);
        let names: Vec<_> =
            snapshot.with_prefix(ResourceType::Endpoint, "shop/a/").map(|(n, _)| &**n).collect();
        assert_eq!(names, ["shop/a/1", "shop/a/2"]);
    }

    proptest! {
        #[test]
        fn differences_turn_the_old_snapshot_into_the_new(
            first in proptest::collection::vec((0u8..40, 0u8..3), 0..60),
            then in proptest::collection::vec((0u8..40, proptest::option::of(0u8..3)), 0..60),
        ) {
            let mut old = Snapshot::default();
            for (name, value) in first { old.put(ResourceType::Service, name.to_string().into(), vec![value]); }
            let mut new = old.clone();
            for (name, value) in then {
                match value {
                    Some(value) => { new.put(ResourceType::Service, name.to_string().into(), vec![value]); }
                    None => { new.remove(ResourceType::Service, &name.to_string()); }
                }
            }
            let mut patched = old.clone();
            for (kind, name) in new.changed_since(&old) {
                match new.get(kind, name) {
                    Some(encoded) => { patched.put(kind, name.clone(), encoded.bytes.to_vec()); }
                    None => { patched.remove(kind, name); }
                }
            }
            prop_assert_eq!(patched.changed_since(&new).count(), 0);
        }
    }
}
