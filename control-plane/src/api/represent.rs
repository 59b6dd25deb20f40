//! Objects as clients see them: the stored object with its revision, a list of them, a Table for `kubectl get`, or the
//! metadata alone. What enters is stored state; what leaves is JSON.

use super::accept::Form;
use super::query::Include;
use super::virtual_kind::VirtualKind;
use crate::store::{Revision, Stored};
use jiff::Timestamp;
use manifests::Kind;
use manifests::kind::columns::Column;
use serde_json::{Map, Value, json};

/// The JSON of a stored object: what is stored, and its revision.
pub(crate) fn object(stored: &Stored) -> Value {
    at_revision(stored.object.read(), stored.revision)
}

/// What is stored, and its revision.
pub(crate) fn at_revision(mut object: Value, revision: Revision) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
    object
}

/// What rows are made of: a kind that is stored, or one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Stored(Kind),
    Virtual(VirtualKind),
}

impl Shape {
    fn api_version(self) -> &'static str {
        match self {
            Self::Stored(kind) => kind.api_version(),
            Self::Virtual(kind) => kind.api_version(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Stored(kind) => kind.name(),
            Self::Virtual(kind) => kind.name(),
        }
    }

    fn columns(self) -> Value {
        let stored = |column: &Column| {
            json!({"name": column.name, "type": column.cell_type, "format": column.format,
                   "description": column.description, "priority": column.priority})
        };
        match self {
            Self::Stored(kind) => kind.columns().iter().map(stored).collect(),
            Self::Virtual(kind) => kind.columns(),
        }
    }

    fn cells(self, object: &Value, now: Timestamp) -> Vec<Value> {
        match self {
            Self::Stored(kind) => kind.cells(object, now),
            Self::Virtual(kind) => kind.cells(object, now),
        }
    }
}

/// How a request wants its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) shape: Shape,
    pub(crate) form: Form,
    pub(crate) include: Include,
    pub(crate) now: Timestamp,
}

/// Where a list was cut, and what its revision is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) revision: Revision,
    pub(crate) resume: Option<String>,
    pub(crate) remaining: Option<usize>,
}

impl View {
    /// One object.
    pub(crate) fn one(&self, object: Value) -> Value {
        match self.form {
            Form::Object => object,
            Form::Metadata => partial(&object, "PartialObjectMetadata"),
            Form::Table => {
                let revision = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                self.table(json!({"resourceVersion": revision}), std::slice::from_ref(&object), true)
            }
        }
    }

    /// The object of one watch event; a Table's first one carries the columns.
    pub(crate) fn event(&self, object: Value, is_first: bool) -> Value {
        match self.form {
            Form::Object | Form::Metadata => self.one(object),
            Form::Table => {
                let revision = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                self.table(json!({"resourceVersion": revision}), std::slice::from_ref(&object), is_first)
            }
        }
    }

    /// The object of a bookmark.
    pub(crate) fn bookmark(&self, revision: Revision, annotations: Option<Value>) -> Value {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if let (Some(metadata), Some(annotations)) = (metadata.as_object_mut(), annotations) {
            metadata.insert("annotations".into(), annotations);
        }
        let object =
            json!({"apiVersion": self.shape.api_version(), "kind": self.shape.name(), "metadata": metadata});
        match self.form {
            Form::Object => object,
            Form::Metadata => partial(&object, "PartialObjectMetadata"),
            Form::Table => json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "Table", "columnDefinitions": null, "rows": [],
                "metadata": {"resourceVersion": revision.to_string()},
            }),
        }
    }

    /// A list.
    pub(crate) fn list(&self, items: Vec<Value>, page: &Page) -> Value {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), page.revision.to_string().into());
        if let Some(resume) = &page.resume {
            metadata.insert("continue".into(), resume.clone().into());
        }
        if let Some(remaining) = page.remaining {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
        let metadata = Value::Object(metadata);
        match self.form {
            Form::Object => json!({
                "apiVersion": self.shape.api_version(), "kind": format!("{}List", self.shape.name()),
                "metadata": metadata, "items": items,
            }),
            Form::Metadata => {
                let items: Vec<_> = items.iter().map(|item| partial(item, "PartialObjectMetadata")).collect();
                json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                       "metadata": metadata, "items": items})
            }
            Form::Table => self.table(metadata, &items, true),
        }
    }

    fn table(&self, metadata: Value, objects: &[Value], has_columns: bool) -> Value {
        let row = |object: &Value| {
            let cells = self.shape.cells(object, self.now);
            let object = match self.include {
                Include::Nothing => Value::Null,
                Include::Metadata => partial(object, "PartialObjectMetadata"),
                Include::Object => object.clone(),
            };
            json!({"cells": cells, "object": object})
        };
        let columns = if has_columns { self.shape.columns() } else { Value::Null };
        let rows: Vec<_> = objects.iter().map(row).collect();
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "Table", "metadata": metadata,
               "columnDefinitions": columns, "rows": rows})
    }
}

fn partial(object: &Value, kind: &str) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": kind, "metadata": object.get("metadata").cloned().unwrap_or_default()})
}
