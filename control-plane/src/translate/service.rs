//! A Service resource: its ports, and on each the rules of the routes attached to it, in final precedence.

use super::attempts::{self, Attempts};
use super::backend::unresolved;
use super::index::{Index, RouteName};
use super::precedence::Rank;
use super::route::{attaches, has_routes};
use manifests::field::{PathPattern, TextPattern};
use manifests::kind::route::{BackendRef, HttpRoute, Match, NamedPattern, Rule};
use manifests::kind::service as written;
use mesh_names::ServiceName;
use mesh_protocol::service as resource;
use std::sync::Arc;

/// Compiles a Service; nothing if there is none of that name.
pub fn compile_service(index: &Index, name: &ServiceName) -> Option<resource::Service> {
    let service = index.services.get(name)?;
    let ports = service.ports.iter().map(|port| compile_port(index, service, port)).collect();
    // What an older Service has is not told as this one's: connections to it would arrive there.
    let owned =
        service.cluster_ips.iter().copied().filter(|address| index.service_at(*address) == Some(name));
    Some(resource::Service { name: name.clone(), ports, virtual_addresses: owned.collect() })
}

fn compile_port(
    index: &Index,
    service: &written::Service,
    port: &written::ServicePort,
) -> resource::ServicePort {
    let mut rules = Vec::new();
    let mut ranked = Vec::new();
    let attached: Vec<(&RouteName, &Arc<HttpRoute>)> = if has_routes(port) {
        index
            .routes_attached(&service.name)
            .filter(|(name, route)| attaches(name, route, service, port))
            .collect()
    } else {
        Vec::new()
    };
    for (name, route) in attached {
        for (place, rule) in route.rules.iter().enumerate() {
            let number = rules.len();
            rules.push(compile_rule(index, service, port, name, place, rule));
            for (in_rule, it) in rule.matches.iter().enumerate() {
                ranked.push((Rank::of(name, route, place, in_rule, it), number, it));
            }
        }
    }
    ranked.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    resource::ServicePort {
        port: port.port,
        name: port.name.clone(),
        app_protocol: port.app_protocol,
        rules,
        matches: ranked.into_iter().map(|(_, rule, it)| compile_match(rule, it)).collect(),
        policy: index.policies.compile(service, port),
    }
}

fn compile_rule(
    index: &Index,
    service: &written::Service,
    port: &written::ServicePort,
    route: &RouteName,
    place: usize,
    rule: &Rule,
) -> resource::RouteRule {
    let backends = match rule.unsupported.first() {
        None => rule.backends.iter().map(|backend| compile_backend(index, route, backend)).collect(),
        // A rule that asks for what is not done must not be served as if it did not ask.
        Some(problem) => vec![resource::Backend {
            service: service.name.clone(),
            port: port.port,
            weight: 1,
            invalid: Some(format!("HTTPRoute {route}: {}: {}", problem.path, problem.sentence())),
        }],
    };
    let Attempts { timeouts, retry, hedging } =
        attempts::of_rule(&index.policies, (service, port), route, rule);
    resource::RouteRule {
        route: route.to_string(),
        index: u32::try_from(place).unwrap_or(u32::MAX),
        backends,
        timeouts,
        retry,
        hedging,
    }
}

fn compile_backend(index: &Index, route: &RouteName, backend: &BackendRef) -> resource::Backend {
    resource::Backend {
        service: backend.service.clone(),
        port: backend.port,
        weight: backend.weight,
        invalid: unresolved(index, route, backend).map(|problem| problem.sentence),
    }
}

pub(super) fn compile_match(rule: usize, it: &Match) -> resource::RouteMatch {
    resource::RouteMatch {
        rule,
        path: match &it.path {
            PathPattern::Exact(path) => resource::PathMatch::Exact(path.clone()),
            PathPattern::Prefix(path) => resource::PathMatch::Prefix(path.clone()),
            PathPattern::Regex(path) => resource::PathMatch::Regex(path.clone()),
        },
        method: it.method.clone(),
        headers: it.headers.iter().map(compile_value).collect(),
        query_params: it.query_params.iter().map(compile_value).collect(),
    }
}

fn compile_value(it: &NamedPattern) -> resource::ValueMatch {
    let value = match &it.value {
        TextPattern::Exact(text) => resource::TextMatch::Exact(text.clone()),
        TextPattern::Regex(text) => resource::TextMatch::Regex(text.clone()),
    };
    resource::ValueMatch { name: it.name.clone(), value }
}
