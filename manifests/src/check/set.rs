//! Rules between objects: what enters is a set of manifests that are good one by one, what leaves is warnings about
//! references that lead nowhere. They are never errors: the control plane takes an object whose reference comes later.

use crate::diagnostic::{Code, Diagnostic};
use crate::kind::Kind;
use crate::kind::route::{HttpRoute, ParentRef};
use crate::kind::service::Service;
use crate::kind::traffic_policy::TrafficPolicy;
use crate::nearest::nearest;
use crate::object::Object;
use crate::path::FieldPath;
use crate::stream::ManifestSet;
use mesh_names::{Port, ServiceName};
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
        | Object::TrafficPolicy(_) => None,
    });
    let namespaces = set.manifests.iter().filter(|manifest| manifest.kind() == Kind::Namespace);
    let known = Known {
        services: services.collect(),
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
            | Object::ExternalService(_) => {}
        }
        found.extend(problems.into_iter().map(|problem| manifest.place(problem)));
    }
    found
}

/// What references can lead to.
struct Known<'a> {
    services: BTreeMap<&'a ServiceName, &'a Service>,
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
            problems.extend(self.service(&target.service, None, &path));
            let (Some(service), Some(section)) = (self.services.get(&target.service), &target.section) else {
                continue;
            };
            if service.ports.iter().all(|port| port.name != *section) {
                let names: Vec<&str> = service.ports.iter().map(|port| port.name.as_str()).collect();
                let message = format!("the Service `{}` has no port named `{section}`", target.service);
                let mend = match nearest(section, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("its ports are named {}", names.join(", ")),
                };
                let problem = Diagnostic::warning(Code::MissingReference, path.field("sectionName"), message);
                problems.push(problem.mend(mend));
            }
        }
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
