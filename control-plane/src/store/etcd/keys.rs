//! Where things are in etcd. Enters: what they are; leaves: keys, and back. Pure.
//!
//! ```text
//! /outrigger/objects/services/shop/web             an object: its kind, namespace (none for a cluster's own) and name
//! /outrigger/objects/                              written with every object: its revision is that of the last write
//! /outrigger/replicas/0f3a…                        a control plane that is alive, for as long as its lease
//! /outrigger/offices/controllers                   who holds an office that one replica has at a time
//! /outrigger/mesh                                  what all replicas must agree on
//! ```

use crate::store::Key;
use crate::store::stored_kind::{kind_name, kind_of};
use bytes::Bytes;

/// The keys under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// Without a slash at its end.
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// The prefix of all objects; as a key, the one written with each of them.
    pub(super) fn objects(&self) -> Bytes {
        format!("{}/objects/", self.prefix).into()
    }

    pub(super) fn object(&self, key: &Key) -> Bytes {
        format!("{}/objects/{}/{}/{}", self.prefix, kind_name(key.kind), key.namespace, key.name).into()
    }

    /// Which object is under a key; nothing for what is none, or of a kind this version does not know.
    pub(super) fn object_of(&self, key: &[u8]) -> Option<Key> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b"/objects/")?;
        let mut parts = std::str::from_utf8(rest).ok()?.splitn(3, '/');
        let (kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Key::new(kind_of(kind)?, namespace, name))
    }

    /// The prefix of all replicas.
    pub(super) fn replicas(&self) -> Bytes {
        format!("{}/replicas/", self.prefix).into()
    }

    pub(super) fn replica(&self, name: &str) -> Bytes {
        format!("{}/replicas/{name}", self.prefix).into()
    }

    pub(super) fn office(&self, office: &str) -> Bytes {
        format!("{}/offices/{office}", self.prefix).into()
    }

    pub(super) fn mesh(&self) -> Bytes {
        format!("{}/mesh", self.prefix).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::Kind;

    #[test]
    fn every_object_has_a_key_of_its_own_that_leads_back_to_it() {
        let keys = Keys::new("/outrigger/");
        for kind in Kind::ALL {
            for (namespace, name) in [("shop", "web"), ("", "web"), ("a", "b.c")] {
                let key = Key::new(kind, namespace, name);
                let stored = keys.object(&key);
                assert!(stored.starts_with(&keys.objects()));
                assert_eq!(keys.object_of(&stored), Some(key));
            }
        }
        let service = keys.object(&Key::new(Kind::Service, "shop", "web"));
        assert_eq!(service, "/outrigger/objects/services/shop/web");
        for other in [keys.objects(), keys.replica("a"), keys.mesh(), "/outrigger/objects/moons//x".into()] {
            assert_eq!(keys.object_of(&other), None, "{other:?}");
        }
    }
}
