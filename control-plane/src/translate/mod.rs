//! From objects to resources, pure and incremental: what enters is one object's change; what leaves is the resources
//! that depend on it, as `mesh-protocol` types, and what statuses and EndpointSlices should say. No clock, no I/O, no
//! async. The result never depends on the order of changes: whatever the history, it equals a compilation from nothing
//! (`incremental_results_equal_a_full_compile`).
//!
//! ```text
//! Change ──Index::apply──> Dirty keys ──compile_*──> Service, Endpoints, Workload, Mesh, ExternalHost, RouteStatus, PolicyStatus, DerivedSlice
//!                                 Endpoints ──AddressBook::compile──> Address
//! ```

mod address;
mod attempts;
mod backend;
mod endpoint;
mod endpoints_ready;
mod external;
mod index;
mod limits;
mod mesh;
mod mtls;
mod policy;
mod precedence;
mod route;
mod seniority;
mod service;
mod slice;
mod target_ports;
mod virtual_networks;
mod workload;

pub use address::AddressBook;
pub use endpoint::compile_endpoints;
pub use endpoints_ready::judge_endpoints;
pub use external::{CaSource, Externals, SourceName, compile_external_host, judge_external};
pub use index::{Change, Dirty, Index, PolicyName, RouteName, SliceName, WorkloadEntry};
pub use mesh::compile_mesh;
pub use mtls::judge_peer_authentication;
pub use policy::{Policies, PolicyStatus, TrafficPolicyName, compile_policy_status};
pub use route::{ParentStatus, RouteStatus, Verdict, compile_route_status};
pub use seniority::Seniority;
pub use service::compile_service;
pub use slice::{DerivedSlice, derive_slices};
pub use target_ports::judge_target_ports;
pub(crate) use virtual_networks::{virtual_networks, virtual_pair};
pub use workload::compile_workload;

#[cfg(test)]
mod external_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod mesh_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod property_tests;
