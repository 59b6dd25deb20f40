//! The manifests people write: kinds, validation, defaulting, diagnostics.
