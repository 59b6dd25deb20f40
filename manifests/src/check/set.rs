//! Rules between objects: what enters is a set of manifests that are good one by one, what leaves is warnings about
//! references that lead nowhere. They are never errors: the control plane takes an object whose reference comes later.

use crate::diagnostic::{Code, Diagnostic};
use crate::kind::Kind;
use crate::kind::route::{HttpRoute, ParentRef};
use crate::kind::service::Service;
use crate::kind::traffic_policy::{Target, TrafficPolicy};
use crate::nearest::nearest;
use crate::object::Object;
use crate::path::FieldPath;
use crate::stream::ManifestSet;
use mesh_names::{Namespace, Port, ServiceName, Subdomain};
use std::collections::{BTreeMap, BTreeSet};

/// What a set of manifests is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Part of what the mesh holds: an object that is not in the set may still be there.
    Partial,
    /// All the mesh will hold.
    Complete,
}

/// Checks the references between the objects of a set. A Service that is in the set and lacks the port referred to is
/// always reported; an object that is not in the set only if the set is complete.
pub fn check(set: &ManifestSet, completeness: Completeness) -> Vec<Diagnostic> {
    let services = set.manifests.iter().filter_map(|manifest| match &manifest.object {
        Object::Service(service) => Some((&service.name, service)),
        Object::Namespace(_)
        | Object::Secret(_)
        | Object::ConfigMap(_)
        | Object::EndpointSlice(_)
        | Object::Workload(_)
        | Object::HttpRoute(_)
        | Object::MeshConfig(_)
        | Object::PeerAuthentication(_)
        | Object::ExternalService(_)
        | Object::TrafficPolicy(_)
        | Object::RoleBinding(_)
        | Object::Event(_)
        | Object::ClusterRoleBinding(_) => None,
    });
    let namespaces = set.manifests.iter().filter(|manifest| manifest.kind() == Kind::Namespace);
    let known = Known {
        services: services.collect(),
        routes: set
            .manifests
            .iter()
            .filter_map(|manifest| route(&manifest.object))
            .map(|route| ((&route.namespace, &route.name), route))
            .collect(),
        namespaces: namespaces
            .map(|manifest| manifest.name())
            .chain([super::metadata::DEFAULT_NAMESPACE])
            .collect(),
        completeness,
    };
    let mut found = Vec::new();
    for manifest in &set.manifests {
        let mut problems: Vec<Diagnostic> = known.namespace(&manifest.object).into_iter().collect();
        match &manifest.object {
            Object::HttpRoute(route) => known.route(route, &mut problems),
            Object::TrafficPolicy(policy) => known.policy(policy, &mut problems),
            Object::EndpointSlice(slice) => {
                let path =
                    FieldPath::of("metadata").field("labels").field(crate::kind::slice::SERVICE_NAME_LABEL);
                problems
                    .extend(slice.service.iter().filter_map(|service| known.service(service, None, &path)));
            }
            Object::Namespace(_)
            | Object::Service(_)
            | Object::Secret(_)
            | Object::ConfigMap(_)
            | Object::Workload(_)
            | Object::MeshConfig(_)
            | Object::PeerAuthentication(_)
            | Object::ExternalService(_)
            | Object::Event(_)
            | Object::RoleBinding(_)
            | Object::ClusterRoleBinding(_) => {}
        }
        found.extend(problems.into_iter().map(|problem| manifest.place(problem)));
    }
    found
}

fn route(object: &Object) -> Option<&HttpRoute> {
    if let Object::HttpRoute(route) = object { Some(route) } else { None }
}

/// What references can lead to.
struct Known<'a> {
    services: BTreeMap<&'a ServiceName, &'a Service>,
    routes: BTreeMap<(&'a Namespace, &'a Subdomain), &'a HttpRoute>,
    namespaces: BTreeSet<&'a str>,
    completeness: Completeness,
}

impl Known<'_> {
    fn namespace(&self, object: &Object) -> Option<Diagnostic> {
        let namespace = object.metadata().namespace.as_ref()?.as_str();
        if self.completeness == Completeness::Partial || self.namespaces.contains(namespace) {
            return None;
        }
        let path = FieldPath::of("metadata").field("namespace");
        let message = format!("there is no Namespace `{namespace}` among these manifests");
        let mend = match nearest(namespace, self.namespaces.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it".to_owned(),
        };
        Some(Diagnostic::warning(Code::MissingReference, path, message).mend(mend))
    }

    fn route(&self, route: &HttpRoute, problems: &mut Vec<Diagnostic>) {
        let spec = FieldPath::of("spec");
        for (place, parent) in route.parents.iter().enumerate() {
            if let ParentRef::Service { service, port, .. } = parent {
                problems.extend(self.service(service, *port, &spec.field("parentRefs").index(place)));
            }
        }
        for (place, rule) in route.rules.iter().enumerate() {
            let path = spec.field("rules").index(place).field("backendRefs");
            for (place, backend) in rule.backends.iter().enumerate() {
                problems.extend(self.service(&backend.service, Some(backend.port), &path.index(place)));
            }
        }
    }

    fn policy(&self, policy: &TrafficPolicy, problems: &mut Vec<Diagnostic>) {
        for (place, target) in policy.targets.iter().enumerate() {
            let path = FieldPath::of("spec").field("targetRefs").index(place);
            match target {
                Target::Service { service, section } => {
                    problems.extend(self.service(service, None, &path));
                    let (Some(known), Some(section)) = (self.services.get(service), section) else {
                        continue;
                    };
                    let names = known.ports.iter().map(|port| port.name.as_str());
                    let what = ("Service", service.to_string(), "port");
                    problems.extend(self.section(section, names, what, &path));
                }
                Target::Route { namespace, name, section } => {
                    let Some(known) = self.routes.get(&(namespace, name)) else {
                        problems.extend(self.missing_route(namespace, name, &path));
                        continue;
                    };
                    let Some(section) = section else { continue };
                    let names = known.rules.iter().filter_map(|rule| rule.name.as_deref());
                    let what = ("HTTPRoute", format!("{namespace}/{name}"), "rule");
                    problems.extend(self.section(section, names, what, &path));
                }
            }
        }
    }

    /// A part of an object, of those there are.
    fn section<'a>(
        &self,
        section: &str,
        names: impl Iterator<Item = &'a str>,
        (kind, name, part): (&str, String, &str),
        path: &FieldPath,
    ) -> Option<Diagnostic> {
        let names: Vec<&str> = names.collect();
        if names.contains(&section) {
            return None;
        }
        let message = format!("the {kind} `{name}` has no {part} named `{section}`");
        let mend = match nearest(section, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("none of its {part}s has a name: give one of them this one"),
            None => format!("its {part}s are named {}", names.join(", ")),
        };
        let problem = Diagnostic::warning(Code::MissingReference, path.field("sectionName"), message);
        Some(problem.mend(mend))
    }

    fn missing_route(&self, namespace: &Namespace, name: &Subdomain, path: &FieldPath) -> Option<Diagnostic> {
        if self.completeness == Completeness::Partial {
            return None;
        }
        let same = self.routes.keys().filter(|(other, _)| *other == namespace);
        let mend = match nearest(name.as_str(), same.map(|(_, name)| name.as_str())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it, or name another".to_owned(),
        };
        let message = format!("there is no HTTPRoute `{namespace}/{name}` among these manifests");
        Some(Diagnostic::warning(Code::MissingReference, path.field("name"), message).mend(mend))
    }

    fn service(&self, name: &ServiceName, port: Option<Port>, path: &FieldPath) -> Option<Diagnostic> {
        let reference = |field: &str, message: String, mend: String| {
            let is_label = path.steps().first() == FieldPath::of("metadata").steps().first();
            let path = if is_label { path.clone() } else { path.field(field) };
            Some(Diagnostic::warning(Code::MissingReference, path, message).mend(mend))
        };
        let Some(service) = self.services.get(name) else {
            if self.completeness == Completeness::Partial {
                return None;
            }
            let same = self.services.keys().filter(|other| other.namespace == name.namespace);
            let mend = match nearest(name.name.as_str(), same.map(|other| other.name.as_str())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it, or name another".to_owned(),
            };
            return reference("name", format!("there is no Service `{name}` among these manifests"), mend);
        };
        let port = port.filter(|port| service.port(*port).is_none())?;
        let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
        let mend = format!("its ports are {}", ports.join(", "));
        reference("port", format!("the Service `{name}` has no port {port}"), mend)
    }
}
