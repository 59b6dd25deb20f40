//! The manifests people write: kinds, validation, defaulting, diagnostics.
//!
//! What enters is JSON from the API ([`Object::from_json`]). What leaves is a checked [`Object`] of which every field is
//! known, decided and valid, or everything that is wrong, each with its field, a stable [`Code`] and a way to mend it.
//! Nothing here does I/O, looks at a clock, or knows what the mesh does with an object.

pub mod diagnostic;
pub mod field;
pub mod kind;
pub mod nearest;
pub mod object;
pub mod path;

mod check;

pub use diagnostic::{Code, Diagnostic, Position, Severity, Subject};
pub use kind::{Kind, Metadata, Scope, route, service, slice, workload};
pub use object::{Object, Reading};
pub use path::FieldPath;
