//! An HTTPRoute as the control plane reads it: defaults applied, references resolved to namespaces, durations and
//! patterns parsed. What the mesh does not do is kept as [`Rule::unsupported`], so that it is never silently ignored.

use super::Metadata;
use crate::diagnostic::Diagnostic;
use crate::field::{PathPattern, TextPattern};
use mesh_names::{Label, Namespace, Port, ServiceName, Subdomain};
use std::time::Duration;

/// An HTTPRoute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRoute {
    /// Its labels, generation and age; the older of two routes of equal standing wins.
    pub metadata: Metadata,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
    /// Hosts it is for, in lower case, perhaps with a leading `*.`; only parents that are Gateways go by them.
    pub hostnames: Vec<String>,
    /// What it is attached to.
    pub parents: Vec<ParentRef>,
    /// Its rules, in the order written.
    pub rules: Vec<Rule>,
}

/// What a route is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParentRef {
    /// A Service: requests to it, from inside the mesh.
    Service {
        /// Which one.
        service: ServiceName,
        /// Only this port of it; none: all its ports.
        port: Option<Port>,
        /// Only the port with this name.
        section: Option<String>,
    },
    /// A Gateway: requests from outside.
    Gateway {
        /// Where it lives.
        namespace: Namespace,
        /// Its name there.
        name: Label,
        /// Only its listeners on this port.
        port: Option<Port>,
        /// Only its listener with this name.
        section: Option<String>,
    },
}

/// A rule of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Requests it is for: those that fit any of these. Never empty: without any, one that fits everything stands here.
    pub matches: Vec<Match>,
    /// Where they go, by weight. May be empty: they are then answered with 500 (Gateway API).
    pub backends: Vec<BackendRef>,
    /// From the last byte of the request's head to the last byte of the response. None: not given; zero: no limit.
    pub request_timeout: Option<Duration>,
    /// The same for one attempt.
    pub backend_request_timeout: Option<Duration>,
    /// Retries it asks for.
    pub retry: Option<Retry>,
    /// What it asks for and the mesh does not do. If there is any, the route is not accepted (`UnsupportedValue`), and
    /// the Gateway API forbids to serve this rule as if it were not there: answer its requests with an error.
    pub unsupported: Vec<Diagnostic>,
}

/// One way for a request to fit a rule: all parts must fit, empty parts fit everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The path.
    pub path: PathPattern,
    /// The method, in capitals.
    pub method: Option<String>,
    /// Headers, names in lower case, each once.
    pub headers: Vec<NamedPattern>,
    /// Query parameters, each once.
    pub query_params: Vec<NamedPattern>,
}

/// A condition on a header or query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPattern {
    /// Its name.
    pub name: String,
    /// What its value must be.
    pub value: TextPattern,
}

/// Where a share of a rule's requests goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendRef {
    /// The Service.
    pub service: ServiceName,
    /// The port of it.
    pub port: Port,
    /// Its share of the sum of weights, 0 to 1,000,000; 1 if not given.
    pub weight: u32,
}

/// Retries a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Status codes that are retried, 400 to 599.
    pub codes: Vec<u16>,
    /// Further attempts after the first, at most; 1 if not given.
    pub attempts: u32,
    /// The least time between attempts; none: the sidecar's default.
    pub backoff: Option<Duration>,
}

impl HttpRoute {
    /// Everything it asks for that the mesh does not do.
    pub fn unsupported(&self) -> impl Iterator<Item = &Diagnostic> {
        self.rules.iter().flat_map(|rule| &rule.unsupported)
    }

    /// Whether the mesh does all it asks for.
    pub fn is_supported(&self) -> bool {
        self.unsupported().next().is_none()
    }
}
