//! Patches: what enters is an object and a patch; what leaves is the patched object, or what is wrong with the patch.
//! Pure. Names and versions inside `metadata` are protected by `meta`, not here.

pub(crate) mod apply;
mod json;
mod merge;
mod strategic;

pub(crate) use strategic::{MergeKey, merge_key};

use super::status::Failure;
use manifests::Kind;
use serde_json::Value;

/// A patch that is applied to an object there is. (Server-side apply also creates: it has its own room.)
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(Vec<json::Operation>),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' merge patch that knows keyed lists.
    Strategic(Value),
}

impl Patch {
    /// A JSON patch from its document.
    pub(crate) fn json(document: Value) -> Result<Self, Failure> {
        let operations = serde_json::from_value(document);
        operations.map(Self::Json).map_err(|error| Failure::bad_request(format!("not a JSON patch: {error}")))
    }

    /// The object after the patch.
    pub(crate) fn apply(&self, kind: Kind, object: &Value) -> Result<Value, Failure> {
        match self {
            Self::Json(operations) => json::apply(object, operations)
                .map_err(|error| Failure::invalid_field(kind, name(object), "patch", error.to_string())),
            Self::Merge(patch) => Ok(merge::apply(object, patch)),
            Self::Strategic(patch) => strategic::apply(kind, object, patch)
                .map_err(|error| Failure::bad_request(format!("strategic merge patch: {error}"))),
        }
    }
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}
