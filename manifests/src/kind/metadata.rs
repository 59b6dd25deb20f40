//! What every object carries: names, labels, age.

use mesh_names::Namespace;
use std::collections::BTreeMap;

/// The metadata of an object that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Where it lives: `default` if the manifest does not say, none for kinds that live in the mesh as a whole.
    pub namespace: Option<Namespace>,
    /// Its name.
    pub name: String,
    /// What selects it.
    pub labels: BTreeMap<String, String>,
    /// When the control plane first stored it; routes of equal standing go by it.
    pub created: Option<jiff::Timestamp>,
    /// How often its specification has changed; 0 before it is stored.
    pub generation: i64,
}
