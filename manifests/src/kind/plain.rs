//! Kinds the mesh stores and hands out as they are.

use super::Metadata;
use std::collections::BTreeMap;

/// A Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name and labels.
    pub metadata: Metadata,
}

/// An Event: what happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name and labels.
    pub metadata: Metadata,
}

/// A ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMap {
    /// Its name and labels.
    pub metadata: Metadata,
    /// Its texts; `binaryData` is stored and not read here.
    pub data: BTreeMap<String, String>,
}

/// A Secret. Its contents never appear in `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name and labels.
    pub metadata: Metadata,
    /// `Opaque`, `kubernetes.io/tls`, …
    pub kind: String,
    /// Its contents, decoded; `stringData` is merged in.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.data.keys().collect();
        let mut shown = f.debug_struct("Secret");
        shown.field("metadata", &self.metadata).field("kind", &self.kind).field("keys", &keys);
        shown.finish_non_exhaustive()
    }
}
