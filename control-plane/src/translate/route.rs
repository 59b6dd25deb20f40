//! Where a route attaches, and what its status says: for each Service it names as parent, whether it is accepted and
//! whether its backends can be used, with a message that says how to mend it.

use super::backend::{list, unresolved};
use super::index::{Index, RouteName};
use manifests::kind::route::{HttpRoute, ParentRef};
use manifests::kind::service::{Service, ServicePort};
use mesh_names::{AppProtocol, Port, ServiceName};

/// What a route's status should say. Parents that are not Services are left to who serves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteStatus {
    /// The route's generation this is about.
    pub generation: i64,
    /// One for each parent.
    pub parents: Vec<ParentStatus>,
}

/// What a route's status says of one parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentStatus {
    /// The Service.
    pub service: ServiceName,
    /// The port, if the reference names one.
    pub port: Option<Port>,
    /// The port's name, if the reference names one.
    pub section: Option<String>,
    /// The condition `Accepted`.
    pub accepted: Verdict,
    /// The condition `ResolvedRefs`.
    pub resolved: Verdict,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// One word for machines.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// Compiles the status of a route; nothing if there is none of that name.
pub fn compile_route_status(index: &Index, name: &RouteName) -> Option<RouteStatus> {
    let route = index.routes.get(name)?;
    let resolved = resolved(index, name, route);
    let parents = route.parents.iter().filter_map(|parent| match parent {
        ParentRef::Gateway { .. } => None,
        ParentRef::Service { service, port, section } => Some(ParentStatus {
            service: service.clone(),
            port: *port,
            section: section.clone(),
            accepted: accepted(index, name, route, (service, *port, section.as_deref())),
            resolved: resolved.clone(),
        }),
    });
    Some(RouteStatus { generation: route.metadata.generation, parents: parents.collect() })
}

/// Whether routes can attach to a port at all: not where opaque bytes are spoken.
pub(super) fn has_routes(port: &ServicePort) -> bool {
    match port.app_protocol {
        AppProtocol::Detect | AppProtocol::Http | AppProtocol::H2c | AppProtocol::Grpc => true,
        AppProtocol::Tcp => false,
    }
}

/// Whether a route names this port of this Service as its parent, and may.
pub(super) fn attaches(name: &RouteName, route: &HttpRoute, service: &Service, port: &ServicePort) -> bool {
    name.namespace == service.name.namespace
        && route.parents.iter().any(|parent| match parent {
            ParentRef::Gateway { .. } => false,
            ParentRef::Service { service: parent, port: number, section } => {
                *parent == service.name && selects(port, *number, section.as_deref())
            }
        })
}

fn selects(port: &ServicePort, number: Option<Port>, section: Option<&str>) -> bool {
    number.is_none_or(|number| number == port.port) && section.is_none_or(|section| section == port.name)
}

fn accepted(
    index: &Index,
    name: &RouteName,
    route: &HttpRoute,
    (parent, number, section): (&ServiceName, Option<Port>, Option<&str>),
) -> Verdict {
    if parent.namespace != name.namespace {
        let message = format!(
            "a route applies to services of its own namespace only; move it from `{}` to `{}`",
            name.namespace, parent.namespace
        );
        return Verdict::no("NotAllowedByListeners", message);
    }
    let Some(service) = index.services.get(parent) else {
        let message = format!(
            "namespace `{}` has no service `{}`; create it, or mend the name",
            parent.namespace, parent.name
        );
        return Verdict::no("NoMatchingParent", message);
    };
    let selected: Vec<_> = service.ports.iter().filter(|port| selects(port, number, section)).collect();
    if selected.is_empty() {
        let ports: Vec<_> = service.ports.iter().map(|port| port.port).collect();
        let message = format!("service `{parent}` has {}; mend `port` or `sectionName`", list(&ports));
        return Verdict::no("NoMatchingParent", message);
    }
    if !selected.iter().any(|port| has_routes(port)) {
        let message = format!(
            "service `{parent}` declares opaque TCP there (`appProtocol`), and HTTP routes need HTTP; change one of both"
        );
        return Verdict::no("NoMatchingParent", message);
    }
    let problems: Vec<_> = route.unsupported().map(|it| format!("{}: {}", it.path, it.sentence())).collect();
    if problems.is_empty() {
        Verdict { holds: true, reason: "Accepted", message: "the route is in force".to_owned() }
    } else {
        let message = format!("rules that ask for this answer 500: {}", problems.join("; "));
        Verdict::no("UnsupportedValue", message)
    }
}

fn resolved(index: &Index, name: &RouteName, route: &HttpRoute) -> Verdict {
    let backends = route.rules.iter().flat_map(|rule| &rule.backends);
    let mut problems: Vec<_> = backends.filter_map(|backend| unresolved(index, name, backend)).collect();
    problems.dedup();
    match problems.first() {
        None => Verdict { holds: true, reason: "ResolvedRefs", message: "every backend is there".to_owned() },
        Some(first) => {
            let sentences: Vec<_> = problems.iter().map(|problem| problem.sentence.as_str()).collect();
            Verdict::no(first.reason, sentences.join("; "))
        }
    }
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Self {
        Self { holds: false, reason, message }
    }
}
