//! Our own kind PeerAuthentication, `outrigger.dev/v1alpha1`: how plain text is met at the Workloads of a namespace, or
//! at some of them. Name and precedence are Istio's, since that is where people look for it: of a Workload's own, its
//! namespace's and the mesh's word the narrowest counts, port by port. Unlike Istio's, ports may be given at every level,
//! and there is no mode that turns mutual TLS off: it is always accepted.

use super::Metadata;
use super::mtls::{Mtls, MtlsSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use mesh_names::{Namespace, Subdomain};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How plain text is met in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// Its labels and age: of two that fit a Workload equally well, the older one counts.
    pub metadata: Metadata,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
    /// The labels a Workload must have; empty: it is for all of the namespace.
    pub selector: BTreeMap<String, String>,
    /// What it says.
    pub mtls: Mtls,
}

/// The kind as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthenticationManifest {
    /// Name and namespace.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Which Workloads, and what holds for them.
    pub spec: PeerAuthenticationSpec,
    /// What the control plane knows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PeerAuthenticationStatus>,
}

/// Which Workloads, and what holds for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthenticationSpec {
    /// Which Workloads of the namespace; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// What holds for them.
    pub mtls: MtlsSpec,
}

/// Which Workloads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// The labels a Workload must have, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// What the control plane knows of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthenticationStatus {
    /// `Accepted`: there are Workloads it holds for. Said when there are none, and when there are again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl PeerAuthentication {
    /// Whether it is for a Workload of its namespace with these labels.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}
