//! The rules: what enters is an object of the right shape, or a set of them; what leaves is the object as the control
//! plane reads it, and every rule it breaks. A reader runs all its rules before it gives up on an object.

mod attempts;
pub(crate) mod external_service;
mod faults;
mod hash_on;
mod health;
mod limits;
mod locality;
pub(crate) mod mesh;
pub(crate) mod metadata;
mod outliers;
pub(crate) mod plain;
pub(crate) mod role_binding;
pub(crate) mod route;
pub(crate) mod route_match;
pub(crate) mod service;
pub(crate) mod set;
pub(crate) mod slice;
pub(crate) mod structure;
pub(crate) mod traffic_policy;
pub(crate) mod value;
pub(crate) mod workload;

pub use set::{Completeness, check};
