//! Our own kind MeshConfig, `outrigger.dev/v1alpha1`: what holds for the mesh as a whole. There is at most one, named
//! `default`; without it every default holds.

use super::Metadata;
use super::mtls::{Mtls, MtlsSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// The name of the one MeshConfig.
pub const MESH_CONFIG: &str = "default";

/// The mesh's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshConfig {
    /// Its labels and age.
    pub metadata: Metadata,
    /// What becomes of connections to places the mesh does not know.
    pub egress: EgressPolicy,
    /// What becomes of plain text, where no PeerAuthentication says otherwise.
    pub mtls: Mtls,
}

/// What becomes of captured connections to places that are no Service, no endpoint and no ExternalService.
///
/// They are allowed unless the mesh says otherwise, as in Istio, Linkerd and Kuma. "Nobody gets in" is about who reaches
/// our applications, and is strict by default; where an application calls out to was its own affair before it joined. A
/// default that cut it off from its package mirror, its cloud's metadata and its database would break traffic that
/// could have been served, which is the earlier promise; once the places are registered, one line closes the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum EgressPolicy {
    /// They go where they would have gone without the mesh.
    #[default]
    Allow,
    /// They are refused, with a reason.
    RegisteredOnly,
}

/// The kind as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MeshConfigManifest {
    /// The name, `default`.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What holds for the mesh as a whole.
    pub spec: MeshConfigSpec,
}

/// What holds for the mesh as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MeshConfigSpec {
    /// Connections that leave the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressSpec>,
    /// Plain text at the ports of applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MtlsSpec>,
}

/// Connections that leave the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EgressSpec {
    /// Captured connections to places that are no Service, no endpoint and no ExternalService: `Allow` lets them go where
    /// they would have gone without the mesh, `RegisteredOnly` refuses them with a reason. Default: `Allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<EgressPolicy>,
}

impl EgressPolicy {
    /// As manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::RegisteredOnly => "RegisteredOnly",
        }
    }
}
