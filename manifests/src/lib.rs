//! The manifests people write: kinds, validation, defaulting, diagnostics.
//!
//! What enters is files of YAML ([`load`]) or JSON from the API ([`Object::from_json`]). What leaves is a checked [`Object`] of which every field is
//! known, decided and valid, or everything that is wrong, each with its field, a stable [`Code`] and a way to mend it.
//! Nothing here does I/O, looks at a clock, or knows what the mesh does with an object.

pub mod diagnostic;
pub mod envelope;
pub mod field;
pub mod kind;
pub mod nearest;
pub mod object;
pub mod path;

mod check;
mod locate;
mod stream;
mod yaml;

pub use check::{Completeness, check};
pub use diagnostic::{Code, Diagnostic, Position, Severity, Subject};
pub use kind::{
    Kind, Metadata, PERMANENT_NAMESPACES, Scope, external_service, mesh_config, mtls, peer_authentication,
    role_binding, route, service, slice, traffic_policy, workload,
};
pub use locate::Outline;
pub use object::{Object, Reading};
pub use path::FieldPath;
pub use stream::{FILE_BYTES_MAX, Manifest, ManifestSet, load, parse};
