//! Whether a route's backend can be used: the one judgement behind both the resource and the status.

use super::index::{Index, RouteName};
use manifests::kind::route::BackendRef;
use mesh_names::Port;

/// Why a backend can't be used, in the Gateway API's terms and in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unresolved {
    /// A reason of the condition `ResolvedRefs`.
    pub(super) reason: &'static str,
    pub(super) sentence: String,
}

/// Judges a backend of `route`; nothing if it can be used.
pub(super) fn unresolved(index: &Index, route: &RouteName, backend: &BackendRef) -> Option<Unresolved> {
    let (service, port) = (&backend.service, backend.port);
    if service.namespace != route.namespace {
        let sentence = format!(
            "HTTPRoute {route} may not send to service `{}` of namespace `{}`: no grant there allows it; \
             move the route there, or send to a service of namespace `{}`",
            service.name, service.namespace, route.namespace
        );
        return Some(Unresolved { reason: "RefNotPermitted", sentence });
    }
    let Some(known) = index.services.get(service) else {
        let sentence = format!(
            "HTTPRoute {route} sends to service `{}`, which namespace `{}` does not have; create it, or mend the name",
            service.name, service.namespace
        );
        return Some(Unresolved { reason: "BackendNotFound", sentence });
    };
    if known.port(port).is_some() {
        return None;
    }
    let ports: Vec<_> = known.ports.iter().map(|port| port.port).collect();
    let sentence = format!(
        "HTTPRoute {route} sends to port {port} of service `{service}`, which has {}; add it there, or mend the number",
        list(&ports)
    );
    Some(Unresolved { reason: "BackendNotFound", sentence })
}

/// `only 80`, `only 80, 443`, or `no ports`.
pub(super) fn list(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "no ports".to_owned();
    }
    let numbers: Vec<_> = ports.iter().map(ToString::to_string).collect();
    format!("only {}", numbers.join(", "))
}
