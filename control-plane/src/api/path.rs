//! URLs: what enters is a path, what leaves is the [`Target`] it names, or that there is none. Pure; the one place that
//! knows how the API's URLs look.

use super::virtual_kind::VirtualKind;
use manifests::Kind;

/// The group of the mesh's own kinds.
pub(crate) const MESH_GROUP: &str = "outrigger.dev";
/// The version of the mesh's own kinds.
pub(crate) const MESH_VERSION: &str = "v1alpha1";

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Probe(Probe),
    Version,
    /// `/api` and `/apis`.
    Groups(Groups),
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources {
        group: String,
        version: String,
    },
    OpenApiV2,
    OpenApiV3Index,
    OpenApiV3 {
        group: String,
        version: String,
    },
    /// Objects of a stored kind; `None` for all namespaces or a cluster-scoped kind.
    Collection {
        kind: Kind,
        namespace: Option<String>,
    },
    Object {
        kind: Kind,
        namespace: Option<String>,
        name: String,
        part: Part,
    },
    /// Objects of a kind that is not stored: all, of a namespace, or one.
    Virtual {
        kind: VirtualKind,
        namespace: Option<String>,
        name: Option<String>,
    },
    Token {
        namespace: String,
        account: String,
    },
    AccessReview,
    RulesReview,
    SubjectReview,
    /// `/backup`.
    Backup,
    /// `/restore`.
    Restore,
}

/// Which half of the root is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Groups {
    Legacy,
    Named,
}

/// What operators' probes ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Live,
    Ready,
}

/// Which part of an object a request reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but `status`, which it leaves alone.
    Main,
    /// `status` and nothing else.
    Status,
}

impl Target {
    /// The target of a path, if it names one.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments.as_slice() {
            ["livez" | "healthz", ..] => Some(Self::Probe(Probe::Live)),
            ["readyz", ..] => Some(Self::Probe(Probe::Ready)),
            ["version"] => Some(Self::Version),
            ["backup"] => Some(Self::Backup),
            ["restore"] => Some(Self::Restore),
            ["api"] => Some(Self::Groups(Groups::Legacy)),
            ["apis"] => Some(Self::Groups(Groups::Named)),
            ["openapi", "v2"] => Some(Self::OpenApiV2),
            ["openapi", "v3"] => Some(Self::OpenApiV3Index),
            ["openapi", "v3", "api", "v1"] => {
                Some(Self::OpenApiV3 { group: String::new(), version: "v1".into() })
            }
            ["openapi", "v3", "apis", group, version] => {
                Some(Self::OpenApiV3 { group: (*group).into(), version: (*version).into() })
            }
            ["apis", group] => Some(Self::Group((*group).into())),
            ["api", "v1"] => Some(Self::Resources { group: String::new(), version: "v1".into() }),
            ["apis", group, version] => {
                Some(Self::Resources { group: (*group).into(), version: (*version).into() })
            }
            ["api", "v1", rest @ ..] => resource("", "v1", rest),
            ["apis", group, version, rest @ ..] => resource(group, version, rest),
            _ => None,
        }
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    match (group, version, rest) {
        ("authorization.k8s.io", "v1", ["selfsubjectaccessreviews"]) => return Some(Target::AccessReview),
        ("authorization.k8s.io", "v1", ["selfsubjectrulesreviews"]) => return Some(Target::RulesReview),
        ("authentication.k8s.io", "v1", ["selfsubjectreviews"]) => return Some(Target::SubjectReview),
        ("", "v1", ["namespaces", namespace, "serviceaccounts", account, "token"]) => {
            return Some(Target::Token { namespace: (*namespace).into(), account: (*account).into() });
        }
        _ => {}
    }
    // `/namespaces/NAME` and `/namespaces/NAME/status` are the Namespace itself, longer paths lead into it.
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status"]) || !group.is_empty() => {
            (Some((*namespace).to_owned()), rest)
        }
        rest => (None, rest),
    };
    let (plural, rest) = rest.split_first()?;
    if let Some(kind) = VirtualKind::from_api(group, version, plural) {
        return match rest {
            [] => Some(Target::Virtual { kind, namespace, name: None }),
            [name] if namespace.is_some() => {
                Some(Target::Virtual { kind, namespace, name: Some((*name).into()) })
            }
            _ => None,
        };
    }
    let kind = Kind::from_api(group, version, plural)?;
    if namespace.is_some() && !kind.is_namespaced() {
        return None;
    }
    let object = |name: &str, part| {
        // An object of a namespaced kind has no name without its namespace.
        (namespace.is_some() == kind.is_namespaced()).then(|| Target::Object {
            kind,
            namespace: namespace.clone(),
            name: name.into(),
            part,
        })
    };
    match rest {
        [] => Some(Target::Collection { kind, namespace }),
        [name] => object(name, Part::Main),
        [name, "status"] if kind.has_status() => object(name, Part::Status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, namespace: Option<&str>, name: &str, part: Part) -> Option<Target> {
        Some(Target::Object { kind, namespace: namespace.map(Into::into), name: name.into(), part })
    }

    fn collection(kind: Kind, namespace: Option<&str>) -> Option<Target> {
        Some(Target::Collection { kind, namespace: namespace.map(Into::into) })
    }

    #[test]
    fn every_form_of_url_names_its_target() {
        let routes = "/apis/gateway.networking.k8s.io/v1";
        for (path, target) in [
            ("/api/v1/namespaces", collection(Kind::Namespace, None)),
            ("/api/v1/namespaces/shop", object(Kind::Namespace, None, "shop", Part::Main)),
            ("/api/v1/namespaces/shop/status", object(Kind::Namespace, None, "shop", Part::Status)),
            ("/api/v1/services", collection(Kind::Service, None)),
            ("/api/v1/namespaces/shop/services", collection(Kind::Service, Some("shop"))),
            ("/api/v1/namespaces/shop/services/", collection(Kind::Service, Some("shop"))),
            ("/api/v1/namespaces/a/services/b", object(Kind::Service, Some("a"), "b", Part::Main)),
            ("/api/v1/namespaces/a/services/b/status", object(Kind::Service, Some("a"), "b", Part::Status)),
            (&format!("{routes}/httproutes"), collection(Kind::HttpRoute, None)),
            (
                &format!("{routes}/namespaces/a/httproutes/b"),
                object(Kind::HttpRoute, Some("a"), "b", Part::Main),
            ),
            (
                "/apis/outrigger.dev/v1alpha1/proxies",
                Some(Target::Virtual { kind: VirtualKind::Proxies, namespace: None, name: None }),
            ),
            (
                "/api/v1/namespaces/a/endpoints/b",
                Some(Target::Virtual {
                    kind: VirtualKind::Endpoints,
                    namespace: Some("a".into()),
                    name: Some("b".into()),
                }),
            ),
            ("/api/v1", Some(Target::Resources { group: String::new(), version: "v1".into() })),
            ("/api", Some(Target::Groups(Groups::Legacy))),
            ("/readyz/verbose", Some(Target::Probe(Probe::Ready))),
            ("/api/v1/namespaces/a/events", collection(Kind::Event, Some("a"))),
            (
                "/api/v1/namespaces/a/serviceaccounts/b/token",
                Some(Target::Token { namespace: "a".into(), account: "b".into() }),
            ),
        ] {
            assert_eq!(Target::parse(path), target, "{path}");
        }
    }

    #[test]
    fn other_urls_name_nothing() {
        for path in [
            "/",
            "/api/v2",
            "/api/v1/pods",
            "/api/v1/services/x",
            "/api/v1/namespaces/a/namespaces",
            "/api/v1/namespaces/a/secrets/b/status",
            "/api/v1/namespaces/a/services/b/scale",
            "/api/v1/namespaces/a/services/b/status/c",
            "/apis/gateway.networking.k8s.io/v1beta9/httproutes",
            "/apis/outrigger.dev/v1alpha1/proxies/x",
            "/api/v1/endpoints/x",
            "/openapi/v4",
        ] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }
}
