//! What an object says of who owns it, and of its own end.

use crate::store::{Document, Key};
use manifests::Kind;
use serde::Deserialize;

/// On an object whose deletion waits until what it owns is gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// On an object whose deletion waits until nothing names it as its owner any more.
pub(crate) const ORPHAN: &str = "orphan";

/// An entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    api_version: String,
    kind: String,
    name: String,
    pub(super) uid: String,
    block_owner_deletion: Option<bool>,
}

/// What the deletion of an object waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// What it owns is to go first.
    Foreground,
    /// What it owns is to forget it first.
    Orphan,
}

/// All of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ties {
    /// Empty where an object has neither owners nor an end.
    pub(super) uid: String,
    pub(super) owners: Vec<Owner>,
    pub(super) is_terminating: bool,
    pub(super) end: Option<End>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    uid: String,
    owner_references: Option<Vec<Owner>>,
    finalizers: Option<Vec<String>>,
    deletion_timestamp: Option<String>,
}

impl Owner {
    /// Where it would be, seen from an object of a namespace (empty: of none). Nothing for what can't be here: of a kind that
    /// is not kept here, or in a namespace though what it owns is in none.
    pub(super) fn key(&self, namespace: &str) -> Option<Key> {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = Kind::ALL.into_iter().find(|it| it.group() == group && it.name() == self.kind)?;
        match (kind.is_namespaced(), namespace) {
            (true, "") => None,
            (true, namespace) => Some(Key::new(kind, namespace, self.name.as_str())),
            (false, _) => Some(Key::new(kind, "", self.name.as_str())),
        }
    }

    /// Whether what it owns holds up its end.
    pub(super) fn is_blocked(&self) -> bool {
        self.block_owner_deletion == Some(true)
    }
}

impl Ties {
    /// Those of an object. Most have none: then it is only searched, not read.
    pub(super) fn of(object: &Document) -> Self {
        if !["\"ownerReferences\"", "\"deletionTimestamp\""].iter().any(|field| object.mentions(field)) {
            return Self::default();
        }
        let Some(Object { metadata }) = object.part() else { return Self::default() };
        let finalizers = metadata.finalizers.unwrap_or_default();
        let has = |name: &str| finalizers.iter().any(|it| it == name);
        let is_terminating = metadata.deletion_timestamp.is_some();
        let end = match is_terminating {
            true if has(ORPHAN) => Some(End::Orphan),
            true if has(FOREGROUND) => Some(End::Foreground),
            true | false => None,
        };
        let owners = metadata.owner_references.unwrap_or_default();
        Self { uid: metadata.uid, owners, is_terminating, end }
    }
}

/// An object's identity.
pub(super) fn uid(object: &Document) -> String {
    object.part::<Object>().map(|it| it.metadata.uid).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn owners_are_found_where_they_can_be() {
        let owner = |api_version: &str, kind: &str| Owner {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: "a".to_owned(),
            uid: "u".to_owned(),
            block_owner_deletion: None,
        };
        for (api_version, kind, namespace, found) in [
            ("v1", "Service", "shop", Some(Key::new(Kind::Service, "shop", "a"))),
            ("v1", "Service", "", None),
            ("v1", "Namespace", "shop", Some(Key::new(Kind::Namespace, "", "a"))),
            ("apps/v1", "Deployment", "shop", None),
            ("apps/v1", "Service", "shop", None),
            (
                "gateway.networking.k8s.io/v1beta1",
                "HTTPRoute",
                "shop",
                Some(Key::new(Kind::HttpRoute, "shop", "a")),
            ),
        ] {
            assert_eq!(owner(api_version, kind).key(namespace), found, "{api_version} {kind}");
        }
    }

    #[test]
    fn what_an_object_says_is_read_and_what_it_does_not_say_is_not() {
        let of = |metadata: serde_json::Value| Ties::of(&Document::of(&json!({"metadata": metadata})));
        assert_eq!(of(json!({"uid": "u", "finalizers": ["orphan"]})), Ties::default());
        assert_eq!(of(json!({"ownerReferences": null, "deletionTimestamp": null})), Ties::default());
        let ending =
            json!({"uid": "u", "deletionTimestamp": "now", "finalizers": ["a.b/c", "foregroundDeletion"]});
        let ties = of(ending);
        assert_eq!((ties.uid.as_str(), ties.end, ties.is_terminating), ("u", Some(End::Foreground), true));
        let owned = of(json!({"ownerReferences": [
            {"apiVersion": "v1", "kind": "Service", "name": "a", "uid": "1", "blockOwnerDeletion": true, "controller": true},
            {"apiVersion": "v1", "kind": "Service", "name": "b", "uid": "2"},
        ]}));
        assert_eq!(owned.owners.iter().map(Owner::is_blocked).collect::<Vec<_>>(), [true, false]);
        assert_eq!(uid(&Document::of(&json!({"metadata": {"uid": "u"}}))), "u");
    }
}
