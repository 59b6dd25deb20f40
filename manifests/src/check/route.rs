//! Rules of an HTTPRoute: what it is attached to, where requests go, timeouts and retries. Its matches are in
//! [`super::route_match`].

use super::{metadata, route_match, value};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::kind::Kind;
use crate::kind::route::{BackendRef, HttpRoute, ParentRef, Retry, Rule};
use crate::nearest::nearest;
use crate::path::FieldPath;
use gateway_api::experimental::httproutes as gateway;
use mesh_names::{Namespace, Port, ServiceName, Subdomain};
use std::net::IpAddr;
use std::time::Duration;

/// The Gateway API's bounds.
const PARENTS_MAX: usize = 32;
const HOSTNAMES_MAX: usize = 16;
const RULES_MAX: usize = 16;
const MATCHES_MAX: usize = 128;
const BACKENDS_MAX: usize = 16;
const WEIGHT_MAX: i64 = 1_000_000;
/// More attempts than this is a storm, whatever the budget.
const ATTEMPTS_MAX: i64 = 100;
const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// Reads an HTTPRoute.
pub(crate) fn read(given: &gateway::HttpRoute, report: &mut Report) -> Option<HttpRoute> {
    let metadata = metadata::read(Kind::HttpRoute, &given.metadata, report);
    // Even if the route's own namespace is wrong, its rules are still judged.
    let own = metadata.as_ref().and_then(|metadata| metadata.namespace.clone());
    let namespace = own.clone().or_else(|| metadata::DEFAULT_NAMESPACE.parse().ok())?;
    let (path, spec) = (FieldPath::of("spec"), &given.spec);
    let hostnames =
        hostnames(spec.hostnames.as_deref().unwrap_or_default(), &path.field("hostnames"), report);
    let parents = parents(
        spec.parent_refs.as_deref().unwrap_or_default(),
        &namespace,
        &path.field("parentRefs"),
        report,
    );
    let given_rules = spec.rules.as_deref().unwrap_or_default();
    let path = path.field("rules");
    value::at_most(RULES_MAX, given_rules.len(), &path, report);
    let matches = given_rules.iter().flat_map(|rule| &rule.matches).map(Vec::len).sum();
    value::at_most(MATCHES_MAX, matches, &path, report);
    let rules: Vec<Rule> = given_rules
        .iter()
        .enumerate()
        .map(|(place, rule)| self::rule(rule, &namespace, &path.index(place), report))
        .collect();
    // A match with an error reads as one that fits everything.
    if !report.has_errors() {
        route_match::check_shadowed(&rules, &path, report);
    }
    for diagnostic in rules.iter().flat_map(|rule| &rule.unsupported) {
        report.push(diagnostic.clone());
    }
    let metadata = metadata?;
    let name = metadata.name.parse::<Subdomain>().ok()?;
    Some(HttpRoute { metadata, namespace: own?, name, hostnames, parents, rules })
}

fn hostnames(given: &[String], path: &FieldPath, report: &mut Report) -> Vec<String> {
    value::at_most(HOSTNAMES_MAX, given.len(), path, report);
    let mut read = Vec::new();
    for (place, text) in given.iter().enumerate() {
        let path = path.index(place);
        let host = text.strip_prefix("*.").unwrap_or(text);
        if host.parse::<IpAddr>().is_ok() {
            report.error(Code::BadValue, path, format!("`{text}` is an address"), "write a host name");
        } else if host.parse::<Subdomain>().is_ok() {
            read.push(text.clone());
        } else {
            let mend =
                "write labels of lower-case letters, digits and `-`, without a port; `*.` only in front";
            report.error(Code::BadName, path, format!("`{text}` is not a host name"), mend);
        }
    }
    read
}

fn parents(
    given: &[gateway::HttpRouteParentRefs],
    own: &Namespace,
    path: &FieldPath,
    report: &mut Report,
) -> Vec<ParentRef> {
    value::at_most(PARENTS_MAX, given.len(), path, report);
    if given.is_empty() {
        let message = "the route is attached to nothing: no request will meet it";
        let mend = "add the Service whose requests it is for: `- {group: \"\", kind: Service, name: NAME}`";
        report.warning(Code::MissingReference, path.clone(), message, mend);
    }
    let mut read = Vec::new();
    for (place, given) in given.iter().enumerate() {
        let path = path.index(place);
        let Some(parent) = parent(given, own, &path, report) else { continue };
        if read.contains(&parent) {
            report.error(Code::DuplicateEntry, path, "the route is attached to this already", "take it away");
        } else {
            read.push(parent);
        }
    }
    read
}

fn parent(
    given: &gateway::HttpRouteParentRefs,
    own: &Namespace,
    path: &FieldPath,
    report: &mut Report,
) -> Option<ParentRef> {
    let kind = given.kind.as_deref().unwrap_or("Gateway");
    let port = given.port.map(|port| value::port(port, path.field("port"), report));
    let name = value::name(&given.name, path.field("name"), report);
    let namespace = namespace(given.namespace.as_deref(), own, path, report);
    let section = given.section_name.clone().filter(|section| !section.is_empty());
    let port = match port {
        Some(port) => Some(port?),
        None => None,
    };
    match (given.group.as_deref(), kind) {
        (None | Some("" | "core"), "Service") => {
            Some(ParentRef::Service { service: ServiceName::new(namespace?, name?), port, section })
        }
        (None | Some(GATEWAY_GROUP), "Gateway") => {
            Some(ParentRef::Gateway { namespace: namespace?, name: name?, port, section })
        }
        (Some(group), "Service" | "Gateway") => {
            let right = if kind == "Service" { "" } else { GATEWAY_GROUP };
            let message = format!("there is no {kind} in the group \"{group}\"");
            report.error(Code::BadValue, path.field("group"), message, format!("write `group: \"{right}\"`"));
            None
        }
        (_, kind) => {
            let message = format!("a route cannot be attached to the kind `{kind}`");
            let mend = match nearest(kind, ["Service", "Gateway"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "attach it to a Service or a Gateway".to_owned(),
            };
            report.error(Code::BadValue, path.field("kind"), message, mend);
            None
        }
    }
}

fn namespace(
    given: Option<&str>,
    own: &Namespace,
    path: &FieldPath,
    report: &mut Report,
) -> Option<Namespace> {
    match given {
        None => Some(own.clone()),
        Some(text) => value::name(text, path.field("namespace"), report),
    }
}

fn rule(given: &gateway::HttpRouteRules, own: &Namespace, path: &FieldPath, report: &mut Report) -> Rule {
    let mut unsupported = Vec::new();
    for (place, filter) in given.filters.iter().flatten().enumerate() {
        unsupported.push(unsupported_filter(&filter.r#type, path.field("filters").index(place)));
    }
    if given.session_persistence.is_some() {
        let path = path.field("sessionPersistence");
        let message = "the mesh does not do session persistence yet: the route is not accepted";
        unsupported.push(Diagnostic::warning(Code::Unsupported, path, message).mend("take it away"));
    }
    let given_backends = given.backend_refs.as_deref().unwrap_or_default();
    let backends = backends(given_backends, own, &path.field("backendRefs"), &mut unsupported, report);
    let (request_timeout, backend_request_timeout) = timeouts(given.timeouts.as_ref(), path, report);
    Rule {
        name: given.name.clone(),
        matches: route_match::read(
            given.matches.as_deref().unwrap_or_default(),
            &path.field("matches"),
            report,
        ),
        backends,
        request_timeout,
        backend_request_timeout,
        retry: given.retry.as_ref().map(|given| retry(given, &path.field("retry"), report)),
        unsupported,
    }
}

fn unsupported_filter(kind: &impl serde::Serialize, path: FieldPath) -> Diagnostic {
    let kind = serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
    let kind = kind.unwrap_or_default();
    let message = format!("the mesh does not do the filter `{kind}` yet: the route is not accepted");
    Diagnostic::warning(Code::Unsupported, path, message).mend("take the filter away")
}

fn backends(
    given: &[gateway::HttpRouteRulesBackendRefs],
    own: &Namespace,
    path: &FieldPath,
    unsupported: &mut Vec<Diagnostic>,
    report: &mut Report,
) -> Vec<BackendRef> {
    value::at_most(BACKENDS_MAX, given.len(), path, report);
    let mut read = Vec::new();
    for (place, given) in given.iter().enumerate() {
        let path = path.index(place);
        for (place, filter) in given.filters.iter().flatten().enumerate() {
            unsupported.push(unsupported_filter(&filter.r#type, path.field("filters").index(place)));
        }
        let weight = given.weight.map_or(Some(1), |weight| {
            value::within(0, WEIGHT_MAX, weight.into(), path.field("weight"), report)
        });
        let (group, kind) =
            (given.group.as_deref().unwrap_or_default(), given.kind.as_deref().unwrap_or("Service"));
        if !matches!((group, kind), ("" | "core", "Service")) {
            let message =
                format!("the mesh does not send requests to the kind `{kind}` of the group \"{group}\"");
            unsupported
                .push(Diagnostic::warning(Code::Unsupported, path, message).mend("refer to a Service"));
            continue;
        }
        let service = value::name(&given.name, path.field("name"), report);
        let namespace = namespace(given.namespace.as_deref(), own, &path, report);
        let port = backend_port(given.port, &path.field("port"), report);
        if let (Some(name), Some(namespace), Some(port), Some(weight)) = (service, namespace, port, weight) {
            let weight = u32::try_from(weight).unwrap_or_default();
            read.push(BackendRef { service: ServiceName::new(namespace, name), port, weight });
        }
    }
    if !given.is_empty() && given.iter().all(|backend| backend.weight == Some(0)) {
        let message = "all weights are 0: requests are answered with status 500";
        report.warning(Code::BadValue, path.clone(), message, "give one of them a weight");
    }
    read
}

fn backend_port(given: Option<i32>, path: &FieldPath, report: &mut Report) -> Option<Port> {
    if given.is_none() {
        let message = "a reference to a Service needs its port";
        report.error(Code::MissingField, path.clone(), message, "add the port callers of that Service use");
    }
    value::port(given?, path.clone(), report)
}

fn timeouts(
    given: Option<&gateway::HttpRouteRulesTimeouts>,
    path: &FieldPath,
    report: &mut Report,
) -> (Option<Duration>, Option<Duration>) {
    let Some(given) = given else { return (None, None) };
    let path = path.field("timeouts");
    let mut read = |text: Option<&String>, field| value::duration(text?, path.field(field), report);
    let request = read(given.request.as_ref(), "request");
    let attempt = read(given.backend_request.as_ref(), "backendRequest");
    if let (Some(request), Some(attempt)) = (request, attempt)
        && !request.is_zero()
        && (attempt > request || attempt.is_zero())
    {
        let message = "one attempt may not take longer than the request as a whole";
        let mend = "make `backendRequest` at most `request`";
        report.error(Code::OutOfRange, path.field("backendRequest"), message, mend);
    }
    (request, attempt)
}

fn retry(given: &gateway::HttpRouteRulesRetry, path: &FieldPath, report: &mut Report) -> Retry {
    let mut codes = Vec::new();
    for (place, code) in given.codes.iter().flatten().enumerate() {
        let path = path.field("codes").index(place);
        let Some(code) = value::within(400, 599, *code, path.clone(), report) else { continue };
        let code = u16::try_from(code).unwrap_or_default();
        if codes.contains(&code) {
            report.error(Code::DuplicateEntry, path, "this code stands here already", "take it away");
        } else {
            codes.push(code);
        }
    }
    let attempts = given.attempts.unwrap_or(1);
    let attempts =
        value::within(0, ATTEMPTS_MAX, attempts, path.field("attempts"), report).unwrap_or_default();
    let backoff =
        given.backoff.as_ref().and_then(|text| value::duration(text, path.field("backoff"), report));
    Retry { codes, attempts: u32::try_from(attempts).unwrap_or_default(), backoff }
}
