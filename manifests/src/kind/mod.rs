//! The kinds of object the mesh knows, as one closed enum and one table. A new kind is a new variant, a row of
//! [`Kind::facts`], its schema and its reader: the compiler names every place that must know.

pub mod columns;
pub mod external_service;
pub mod mesh_config;
pub mod mtls;
pub mod peer_authentication;
pub mod role_binding;
pub mod route;
pub mod schema;
pub mod service;
pub mod slice;
pub mod traffic_policy;
pub mod workload;

mod age;
#[cfg(test)]
mod generate;
mod metadata;
mod plain;

pub use metadata::Metadata;
pub use plain::{ConfigMap, Event, Namespace, Secret};

use serde_json::Value;
use std::fmt;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `v1` Service: a name with ports, and the labels of the Workloads behind it.
    Service,
    /// `v1` Secret.
    Secret,
    /// `v1` ConfigMap.
    ConfigMap,
    /// `discovery.k8s.io/v1` EndpointSlice: the instances of a Service.
    EndpointSlice,
    /// `outrigger.dev/v1alpha1` Workload: one running instance, what a Pod is to Kubernetes.
    Workload,
    /// `gateway.networking.k8s.io/v1` HTTPRoute.
    HttpRoute,
    /// `outrigger.dev/v1alpha1` MeshConfig: what holds for the mesh as a whole.
    MeshConfig,
    /// `outrigger.dev/v1alpha1` PeerAuthentication: how plain text is met in a namespace.
    PeerAuthentication,
    /// `outrigger.dev/v1alpha1` ExternalService: a place outside of the mesh.
    ExternalService,
    /// `outrigger.dev/v1alpha1` TrafficPolicy: how requests to a Service are spread over its instances.
    TrafficPolicy,
    /// `rbac.authorization.k8s.io/v1` RoleBinding: who may do what over the API, in a namespace.
    RoleBinding,
    /// `rbac.authorization.k8s.io/v1` ClusterRoleBinding: who may do what over the API, everywhere.
    ClusterRoleBinding,
    /// `v1` Event: what happened to an object.
    Event,
}

/// Namespaces that are always there: the one of objects that name none, and the control plane's own.
pub const PERMANENT_NAMESPACES: [&str; 2] = ["default", "outrigger-system"];

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In the mesh as a whole.
    Cluster,
    /// In a namespace.
    Namespaced,
}

/// What never changes about a kind.
#[derive(Debug, Clone, Copy)]
struct Facts {
    group: &'static str,
    version: &'static str,
    api_version: &'static str,
    name: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    scope: Scope,
}

impl Kind {
    /// Every kind, in the order in which a set of manifests is applied: what others refer to comes first.
    pub const ALL: [Self; 14] = [
        Self::Namespace,
        Self::ClusterRoleBinding,
        Self::RoleBinding,
        Self::MeshConfig,
        Self::PeerAuthentication,
        Self::Secret,
        Self::ConfigMap,
        Self::ExternalService,
        Self::Service,
        Self::Workload,
        Self::EndpointSlice,
        Self::HttpRoute,
        Self::TrafficPolicy,
        Self::Event,
    ];

    /// Its place in [`Kind::ALL`].
    pub fn order(self) -> usize {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or(Self::ALL.len())
    }

    /// Whether an object of this kind, as stored, is the control plane's own work or about to be taken away: a derived
    /// EndpointSlice, a Workload that its sidecar registered, an Event, anything being deleted. Everything else somebody wrote.
    pub fn comes_by_itself(self, object: &Value) -> bool {
        let metadata = |field: &str| object.get("metadata").and_then(|metadata| metadata.get(field));
        let is_derived = self == Self::EndpointSlice
            && metadata("labels")
                .and_then(|labels| labels.get(slice::MANAGED_BY_LABEL))
                .is_some_and(|by| by == slice::MANAGED_BY);
        let is_registered = self == Self::Workload && workload::is_registered(object);
        is_derived || is_registered || self == Self::Event || metadata("deletionTimestamp").is_some()
    }

    /// Whether objects of the kind have a `status` written apart from the rest.
    pub fn has_status(self) -> bool {
        !matches!(
            self,
            Self::Secret
                | Self::ConfigMap
                | Self::EndpointSlice
                | Self::MeshConfig
                | Self::Event
                | Self::RoleBinding
                | Self::ClusterRoleBinding
        )
    }

    const fn facts(self) -> Facts {
        match self {
            Self::Namespace => Facts {
                scope: Scope::Cluster,
                categories: &[],
                ..core("Namespace", "namespaces", "namespace", &["ns"])
            },
            Self::Service => {
                Facts { categories: &["all"], ..core("Service", "services", "service", &["svc"]) }
            }
            Self::Secret => core("Secret", "secrets", "secret", &[]),
            Self::Event => core("Event", "events", "event", &["ev"]),
            Self::ConfigMap => core("ConfigMap", "configmaps", "configmap", &["cm"]),
            Self::ExternalService => {
                ours("ExternalService", "externalservices", "externalservice", &["extsvc"])
            }
            Self::EndpointSlice => Facts {
                group: "discovery.k8s.io",
                api_version: "discovery.k8s.io/v1",
                ..core("EndpointSlice", "endpointslices", "endpointslice", &[])
            },
            Self::Workload => Facts {
                categories: &["all", "outrigger"],
                ..ours("Workload", "workloads", "workload", &["wl"])
            },
            Self::MeshConfig => {
                Facts { scope: Scope::Cluster, ..ours("MeshConfig", "meshconfigs", "meshconfig", &[]) }
            }
            Self::PeerAuthentication => {
                ours("PeerAuthentication", "peerauthentications", "peerauthentication", &["pa"])
            }
            Self::TrafficPolicy => ours("TrafficPolicy", "trafficpolicies", "trafficpolicy", &["tp"]),
            Self::RoleBinding => rbac("RoleBinding", "rolebindings", "rolebinding"),
            Self::ClusterRoleBinding => Facts {
                scope: Scope::Cluster,
                ..rbac("ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding")
            },
            Self::HttpRoute => Facts {
                group: "gateway.networking.k8s.io",
                api_version: "gateway.networking.k8s.io/v1",
                categories: &["gateway-api"],
                ..core("HTTPRoute", "httproutes", "httproute", &[])
            },
        }
    }

    /// The API group; empty for the core group.
    pub const fn group(self) -> &'static str {
        self.facts().group
    }

    /// The version in the group.
    pub const fn version(self) -> &'static str {
        self.facts().version
    }

    /// Group and version as manifests write them: `v1`, `discovery.k8s.io/v1`.
    pub const fn api_version(self) -> &'static str {
        self.facts().api_version
    }

    /// The name in manifests: `HTTPRoute`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The name in URLs: `httproutes`.
    pub const fn plural(self) -> &'static str {
        self.facts().plural
    }

    /// The name `kubectl` prints and takes for one object: `httproute`.
    pub const fn singular(self) -> &'static str {
        self.facts().singular
    }

    /// What else `kubectl` takes: `svc`.
    pub const fn short_names(self) -> &'static [&'static str] {
        self.facts().short_names
    }

    /// The groups of kinds `kubectl get` takes this one for, such as `all`.
    pub const fn categories(self) -> &'static [&'static str] {
        self.facts().categories
    }

    /// Where its objects live.
    pub const fn scope(self) -> Scope {
        self.facts().scope
    }

    /// Whether its objects live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        matches!(self.facts().scope, Scope::Namespaced)
    }

    /// The kind a URL names.
    pub fn from_api(group: &str, version: &str, plural: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.group() == group && kind.version() == version && kind.plural() == plural)
    }

    /// The kind a manifest names.
    pub fn from_api_version_kind(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.api_version() == api_version && known.name() == kind)
    }

    /// The kind a person names on a command line: by plural, singular, short name or name, in any case, with or without
    /// its group (`services`, `svc`, `httproutes.gateway.networking.k8s.io`).
    pub fn from_argument(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        let (name, group) =
            text.split_once('.').map_or((text.as_str(), None), |(name, group)| (name, Some(group)));
        Self::ALL.into_iter().find(|kind| {
            let named =
                kind.plural() == name || kind.singular() == name || kind.short_names().contains(&name);
            named && group.is_none_or(|group| group == kind.group())
        })
    }
}

/// A kind of our own.
const fn ours(
    name: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> Facts {
    Facts {
        group: "outrigger.dev",
        version: "v1alpha1",
        api_version: "outrigger.dev/v1alpha1",
        categories: &["outrigger"],
        ..core(name, plural, singular, short_names)
    }
}

const fn rbac(name: &'static str, plural: &'static str, singular: &'static str) -> Facts {
    Facts {
        group: "rbac.authorization.k8s.io",
        api_version: "rbac.authorization.k8s.io/v1",
        ..core(name, plural, singular, &[])
    }
}

const fn core(
    name: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> Facts {
    Facts {
        group: "",
        version: "v1",
        api_version: "v1",
        name,
        plural,
        singular,
        short_names,
        categories: &[],
        scope: Scope::Namespaced,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_comes_about_by_itself_is_told_from_what_people_wrote() {
        let slice = |by: &str| json!({ "metadata": { "labels": { slice::MANAGED_BY_LABEL: by } } });
        assert!(Kind::EndpointSlice.comes_by_itself(&slice(slice::MANAGED_BY)));
        assert!(!Kind::EndpointSlice.comes_by_itself(&slice("people")));
        let workload = json!({ "metadata": { "annotations": { "outrigger.dev/registered-by": "sidecar" } } });
        assert!(Kind::Workload.comes_by_itself(&workload));
        assert!(!Kind::Workload.comes_by_itself(&json!({ "metadata": {} })));
        assert!(Kind::Service.comes_by_itself(&json!({ "metadata": { "deletionTimestamp": "now" } })));
    }

    #[test]
    fn every_kind_is_found_by_url_and_by_manifest() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_api(kind.group(), kind.version(), kind.plural()), Some(kind));
            assert_eq!(Kind::from_api_version_kind(kind.api_version(), kind.name()), Some(kind));
            let expected = match kind.group() {
                "" => kind.version().to_owned(),
                group => format!("{group}/{}", kind.version()),
            };
            assert_eq!(kind.api_version(), expected);
        }
        assert_eq!(Kind::from_api_version_kind("v1", "HTTPRoute"), None);
    }

    #[test]
    fn a_kind_is_named_on_the_command_line_in_any_of_its_forms() {
        for text in ["svc", "service", "services", "Service", "SERVICES"] {
            assert_eq!(Kind::from_argument(text), Some(Kind::Service), "{text}");
        }
        assert_eq!(Kind::from_argument("httproutes.gateway.networking.k8s.io"), Some(Kind::HttpRoute));
        assert_eq!(Kind::from_argument("httproutes.example.org"), None);
    }
}
