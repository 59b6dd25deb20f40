//! Our own kind Workload, `outrigger.dev/v1alpha1`: one running instance, what a Pod is to Kubernetes. The control plane
//! writes it when a sidecar registers; people write it for instances without a sidecar.
//!
//! The serde types here are the kind as written; [`Workload`] is the kind as read.

use super::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use mesh_names::{AppProtocol, Port, ServiceAccount, WorkloadName};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::num::NonZeroU16;

/// The type of the condition that says whether a workload takes traffic.
pub const READY: &str = "Ready";

/// A Workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its labels, by which Services select it, and its age.
    pub metadata: Metadata,
    /// Its namespace and name.
    pub name: WorkloadName,
    /// Where it is reached.
    pub address: IpAddr,
    /// The sidecar's inbound mutual-TLS port; none: there is no sidecar, it is reached in plain text.
    pub inbound_port: Option<Port>,
    /// What it is; `default` if not given.
    pub service_account: ServiceAccount,
    /// The region it runs in.
    pub region: Option<String>,
    /// The zone it runs in.
    pub zone: Option<String>,
    /// The part of the zone it runs in.
    pub subzone: Option<String>,
    /// Its share among the instances of a Service, 1 to 65535; 1 if not given.
    pub weight: NonZeroU16,
    /// The application's ports, each number once.
    pub ports: Vec<WorkloadPort>,
    /// Whether it takes traffic: its `Ready` condition. Without one, an instance without a sidecar is taken to be
    /// ready, and one with a sidecar is not: it has yet to register.
    pub is_ready: bool,
}

/// A port the application listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadPort {
    /// The number.
    pub port: Port,
    /// Its name, for Services whose `targetPort` is one.
    pub name: Option<String>,
    /// What is spoken there.
    pub app_protocol: AppProtocol,
}

/// The kind as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkloadManifest {
    /// `outrigger.dev/v1alpha1`
    #[serde(default)]
    pub api_version: String,
    /// `Workload`
    #[serde(default)]
    pub kind: String,
    /// Name, namespace, and the labels by which Services select it.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the instance is and where it is reached.
    pub spec: WorkloadSpec,
    /// What the control plane knows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<WorkloadStatus>,
}

/// What the instance is and where it is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSpec {
    /// The IP address other sidecars reach the instance at.
    pub address: String,
    /// The sidecar's inbound mutual-TLS port at that address. Leave it out for an instance without a sidecar: it is
    /// then reached in plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound_port: Option<i32>,
    /// The service account the instance runs as, the last part of its SPIFFE ID. Default: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The region the instance runs in, as a cloud's. What is said of a zone holds within its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The zone the instance runs in: callers in the same zone prefer it, where a TrafficPolicy asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The part of the zone it runs in, as a rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subzone: Option<String>,
    /// The instance's share of requests, relative to the others', 1 to 65535. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// The ports the application listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<WorkloadPortSpec>,
}

/// A port the application listens on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkloadPortSpec {
    /// The number, 1 to 65535.
    pub port: i32,
    /// A name for it, unique in the Workload: Services may give it as `targetPort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is spoken: `http`, `h2c`, `grpc` or `tcp`. Default: the first bytes of either side decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// What the control plane knows of an instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// `Ready`: the instance takes traffic. `ConfigurationApplied`: its sidecar has applied what it was sent; only there
    /// once it has refused something, or been silent about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The control plane its sidecar is connected to, or was last; absent where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<String>,
    /// What its sidecar says now, while it is connected. It is added when the Workload is read; a watch does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarStatus>,
}

/// What a sidecar says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SidecarStatus {
    /// Its program and that one's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The `resourceVersion` up to which it has applied all changes that concern it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_revision: Option<String>,
    /// When its certificate expires. It is renewed from half of its life on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<String>,
}

/// The annotation of Workloads that sidecars registered, as opposed to those that people wrote.
pub const REGISTERED_BY: &str = "outrigger.dev/registered-by";
/// Its value.
pub const BY_SIDECAR: &str = "sidecar";

/// Whether a Workload, as it is stored, was registered by a sidecar.
pub fn is_registered(object: &serde_json::Value) -> bool {
    let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
    annotations.and_then(|it| it.get(REGISTERED_BY)).is_some_and(|by| by == BY_SIDECAR)
}
