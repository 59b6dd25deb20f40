//! How plain text is met at the ports of applications, as MeshConfig and PeerAuthentication write it.

use mesh_names::Port;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What becomes of plain text that arrives at an application's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum MtlsMode {
    /// It is refused: callers prove who they are by mutual TLS.
    Strict,
    /// It is let through and counted, beside mutual TLS: for as long as some callers are not in the mesh yet.
    Permissive,
}

/// What one object says, as read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mtls {
    /// For every port that is not listed; none: the next wider object decides.
    pub mode: Option<MtlsMode>,
    /// Ports with a mode of their own, by the number the application listens on.
    pub ports: BTreeMap<Port, MtlsMode>,
}

/// What one object says, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MtlsSpec {
    /// `Strict` refuses plain text, `Permissive` lets it through and counts it. Without it the next wider object decides,
    /// and in the end the mesh is strict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<MtlsMode>,
    /// Ports with a mode of their own, such as those of health probes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<MtlsPortSpec>,
}

/// A port with a mode of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MtlsPortSpec {
    /// The number the application listens on, 1 to 65535.
    pub port: i32,
    /// `Strict` or `Permissive`.
    pub mode: MtlsMode,
}

impl MtlsMode {
    /// As manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Permissive => "Permissive",
        }
    }
}
