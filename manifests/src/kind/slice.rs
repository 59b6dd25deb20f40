//! An EndpointSlice as the control plane reads it.

use super::Metadata;
use mesh_names::{AppProtocol, Namespace, Port, ServiceName, Subdomain};
use std::net::IpAddr;

/// The label that says who writes a slice.
pub const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value on slices that the control plane derives from Workloads.
pub const MANAGED_BY: &str = "endpoints.outrigger.dev";
/// The label that says which Service a slice belongs to.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Some of the instances of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its labels and age.
    pub metadata: Metadata,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
    /// The Service, from the label [`SERVICE_NAME_LABEL`]; without it the slice serves nothing.
    pub service: Option<ServiceName>,
    /// The instances. Empty for `addressType: FQDN`, which the mesh does not do; a warning says so.
    pub endpoints: Vec<SliceEndpoint>,
    /// The ports every instance has.
    pub ports: Vec<SlicePort>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Where it is reached: all addresses lead to the same instance; the first is used.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes new requests. Kubernetes: unknown means yes.
    pub is_ready: bool,
    /// Whether it answers, even if it is terminating.
    pub is_serving: bool,
    /// Whether it is going away.
    pub is_terminating: bool,
    /// The zone it runs in.
    pub zone: Option<String>,
    /// The object it stands for, a Workload if the sidecar speaks for it.
    pub target: Option<TargetRef>,
}

/// The object an endpoint stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRef {
    /// The kind, such as `Workload`.
    pub kind: String,
    /// Its namespace, the slice's own if not given.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
}

/// A port of every instance in a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The Service port's name; empty if that has none.
    pub name: String,
    /// The number.
    pub port: Port,
    /// What is spoken.
    pub app_protocol: AppProtocol,
}
