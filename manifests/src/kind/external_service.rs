//! Our own kind ExternalService, `outrigger.dev/v1alpha1`: a place outside of the mesh that applications call. Every
//! namespace may call it, as it may call every Service; of two that name the same host a caller has its own namespace's,
//! else the oldest.
//!
//! The serde types here are the kind as written; [`ExternalService`] is the kind as read.

use super::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use mesh_names::{ExternalServiceName, HostPattern, Port, Subdomain};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// The key of a ConfigMap or Secret that holds CA certificates if no other is named.
pub const CA_KEY: &str = "ca.crt";

/// A place outside of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalService {
    /// Its labels and age.
    pub metadata: Metadata,
    /// Its namespace and name.
    pub name: ExternalServiceName,
    /// The hosts it is called by, each once; none: it is known by its addresses alone.
    pub hosts: Vec<HostPattern>,
    /// Its ports, each number once.
    pub ports: Vec<ExternalPort>,
    /// Where it is.
    pub resolution: Resolution,
}

/// A port of an ExternalService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalPort {
    /// The number callers use.
    pub port: Port,
    /// What callers speak there.
    pub protocol: ExternalProtocol,
    /// The port of the place itself.
    pub target_port: Port,
    /// The sidecar speaks TLS with the place, the application does not.
    pub originate: Option<Originate>,
}

/// TLS that the sidecar begins on behalf of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originate {
    /// The name the place must prove to have; none: the host that was called.
    pub sni: Option<Subdomain>,
    /// Who may vouch for it; none: whom the machine trusts.
    pub ca: Option<CaBundle>,
}

/// Where CA certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaBundle {
    /// A file on the machine of the sidecar.
    File(PathBuf),
    /// An entry of a ConfigMap of the same namespace.
    ConfigMap(KeyRef),
    /// An entry of a Secret of the same namespace.
    Secret(KeyRef),
}

/// An entry of a ConfigMap or Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRef {
    /// Which object.
    pub name: Subdomain,
    /// Which entry.
    pub key: String,
}

/// Where an ExternalService is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// At the addresses of the host that was called.
    Host,
    /// At the addresses of this name.
    Name(Subdomain),
    /// At these addresses, at least one.
    Addresses(Vec<IpAddr>),
}

/// What callers speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ExternalProtocol {
    /// The first bytes of either side decide.
    #[default]
    Detect,
    /// HTTP/1.1.
    Http,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// gRPC.
    Grpc,
    /// TLS, which is passed on as it is; the host is read from its SNI.
    Tls,
    /// Opaque bytes: known by address only.
    Tcp,
}

/// The kind as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExternalServiceManifest {
    /// Name and namespace.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the place is called and where it is.
    pub spec: ExternalServiceSpec,
    /// What the control plane knows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ExternalServiceStatus>,
}

/// What the place is called and where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExternalServiceSpec {
    /// The hosts it is called by: `api.example.com`, or all below a domain with `*.example.com`. May be left out only for
    /// a place that is known by `addresses`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ExternalPortSpec>,
    /// The IP addresses it is at. Without them it is looked up by DNS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The name to look up by DNS. Default: the host that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
}

/// A port of an ExternalService.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExternalPortSpec {
    /// The number callers use, 1 to 65535.
    pub port: i32,
    /// What callers speak: `http`, `h2c`, `grpc`, `tls` (passed on as it is) or `tcp`. Default: the first bytes of either
    /// side decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ExternalProtocol>,
    /// The port of the place itself. Default: the same number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<i32>,
    /// TLS between the sidecar and the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ExternalTlsSpec>,
}

/// TLS between the sidecar and the place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExternalTlsSpec {
    /// The sidecar speaks TLS on behalf of the application, which speaks in the clear. `{}` is enough for a place that
    /// the machine trusts.
    pub originate: OriginateSpec,
}

/// TLS that the sidecar begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OriginateSpec {
    /// The name the place must prove to have. Default: the host that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Who may vouch for it. Default: whom the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundleSpec>,
}

/// CA certificates in PEM: exactly one of a file, a ConfigMap and a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CaBundleSpec {
    /// The path of a file on the machine of each sidecar that calls the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// An entry of a ConfigMap of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyRefSpec>,
    /// An entry of a Secret of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRefSpec>,
}

/// An entry of a ConfigMap or Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeyRefSpec {
    /// The name of the object.
    pub name: String,
    /// The entry that holds the certificates. Default: `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What the control plane knows of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExternalServiceStatus {
    /// `ResolvedRefs`: the CA certificates it names are there. Said when they are not, and when they are again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
