//! A Service as its callers see it: ports, and for each port the routes in final precedence.

use crate::attempts::{Hedging, RetryPolicy, Timeouts};
use crate::error::{DecodeError, address, field, port};
use crate::policy::TrafficPolicy;
use crate::wire::v1 as wire;
use mesh_names::{AppProtocol, Port, ServiceName};
use prost::Message;
use std::net::IpAddr;
use std::time::Duration;

/// One Service. The control plane compiles it; a sidecar builds its route table from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Which one.
    pub name: ServiceName,
    /// Its ports, each number once.
    pub ports: Vec<ServicePort>,
    /// Addresses that stand for it and lead nowhere but to the caller's own sidecar, at most one of each family. None: it
    /// is headless, or has not been given any yet.
    pub virtual_addresses: Vec<IpAddr>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The number callers use.
    pub port: Port,
    /// Its name in the manifest; may be empty.
    pub name: String,
    /// What is spoken.
    pub app_protocol: AppProtocol,
    /// The rules of all routes attached to this port.
    pub rules: Vec<RouteRule>,
    /// All matches of all rules, in final precedence: the first that fits decides. Empty: every request goes to this
    /// Service itself. Not empty and none fits: the request is refused.
    pub matches: Vec<RouteMatch>,
    /// How requests are spread over the endpoints; none: by the sidecar's defaults.
    pub policy: Option<TrafficPolicy>,
}

/// One rule of a route: where matching requests go, and under which policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// The route it comes from, `namespace/name`.
    pub route: String,
    /// Its place in that route, from 0.
    pub index: u32,
    /// Where requests go, by weight. Empty, or all of weight 0: requests are answered with 500 (Gateway API).
    pub backends: Vec<Backend>,
    /// How long its requests may take.
    pub timeouts: Timeouts,
    /// Retries that are asked for; none: those that are always safe.
    pub retry: Option<RetryPolicy>,
    /// Second attempts when the first takes long; none: there are none.
    pub hedging: Option<Hedging>,
}

/// One way for a request to fit a rule. Empty parts fit everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// Index into [`ServicePort::rules`]; checked when decoded.
    pub rule: usize,
    /// What the path must be.
    pub path: PathMatch,
    /// The method, in capitals.
    pub method: Option<String>,
    /// All of these headers must fit; names in lower case.
    pub headers: Vec<ValueMatch>,
    /// All of these query parameters must fit.
    pub query_params: Vec<ValueMatch>,
}

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Exactly this path.
    Exact(String),
    /// This path or below it, by whole path elements. `/` fits everything.
    Prefix(String),
    /// The whole path fits this regular expression.
    Regex(String),
}

/// A condition on a named value: a header or a query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueMatch {
    /// The name.
    pub name: String,
    /// What its value must be.
    pub value: TextMatch,
}

/// A condition on a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextMatch {
    /// Exactly this.
    Exact(String),
    /// The whole text fits this regular expression.
    Regex(String),
}

/// A share of a rule's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The Service it goes to.
    pub service: ServiceName,
    /// The port there.
    pub port: Port,
    /// Its share of the sum of weights.
    pub weight: u32,
    /// Set: this share is answered with 500 and this sentence, since the reference can't work.
    pub invalid: Option<String>,
}

impl Service {
    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        wire::Service {
            namespace: self.name.namespace.to_string(),
            name: self.name.name.to_string(),
            ports: self.ports.iter().map(ServicePort::to_wire).collect(),
            virtual_addresses: self.virtual_addresses.iter().map(ToString::to_string).collect(),
        }
        .encode_to_vec()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`DecodeError`] with the first field that breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let message = wire::Service::decode(bytes)?;
        let name = ServiceName::new(field("namespace", &message.namespace)?, field("name", &message.name)?);
        let ports = message.ports.into_iter().map(ServicePort::of_wire).collect::<Result<_, _>>()?;
        let addresses = message.virtual_addresses.iter();
        let virtual_addresses = addresses.map(|text| address("virtual_addresses", text));
        Ok(Self { name, ports, virtual_addresses: virtual_addresses.collect::<Result<_, _>>()? })
    }
}

impl ServicePort {
    fn to_wire(&self) -> wire::ServicePort {
        wire::ServicePort {
            port: self.port.number().into(),
            name: self.name.clone(),
            app_protocol: protocol_to_wire(self.app_protocol).into(),
            rules: self.rules.iter().map(RouteRule::to_wire).collect(),
            matches: self.matches.iter().map(RouteMatch::to_wire).collect(),
            policy: self.policy.as_ref().map(TrafficPolicy::to_wire),
        }
    }

    fn of_wire(message: wire::ServicePort) -> Result<Self, DecodeError> {
        let app_protocol = protocol_of_wire(message.app_protocol());
        let rules = message.rules.into_iter().map(RouteRule::of_wire).collect::<Result<Vec<_>, _>>()?;
        let matches = message.matches.into_iter().map(|m| RouteMatch::of_wire(m, rules.len()));
        Ok(Self {
            port: port("ports.port", message.port)?,
            name: message.name,
            app_protocol,
            matches: matches.collect::<Result<_, _>>()?,
            rules,
            policy: message.policy.map(TrafficPolicy::of_wire).transpose()?,
        })
    }
}

impl RouteRule {
    fn to_wire(&self) -> wire::RouteRule {
        wire::RouteRule {
            route: self.route.clone(),
            index: self.index,
            backends: self.backends.iter().map(Backend::to_wire).collect(),
            timeouts: Some(self.timeouts.to_wire()),
            retry: self.retry.as_ref().map(RetryPolicy::to_wire),
            hedging: self.hedging.map(Hedging::to_wire),
        }
    }

    fn of_wire(message: wire::RouteRule) -> Result<Self, DecodeError> {
        Ok(Self {
            route: message.route,
            index: message.index,
            backends: message.backends.into_iter().map(Backend::of_wire).collect::<Result<_, _>>()?,
            timeouts: message.timeouts.map(Timeouts::of_wire).unwrap_or_default(),
            retry: message.retry.map(RetryPolicy::of_wire).transpose()?,
            hedging: message.hedging.map(Hedging::of_wire),
        })
    }
}

impl RouteMatch {
    pub(crate) fn to_wire(&self) -> wire::RouteMatch {
        use wire::route_match::Path;
        wire::RouteMatch {
            rule: u32::try_from(self.rule).unwrap_or(u32::MAX),
            path: Some(match &self.path {
                PathMatch::Exact(path) => Path::ExactPath(path.clone()),
                PathMatch::Prefix(path) => Path::PathPrefix(path.clone()),
                PathMatch::Regex(path) => Path::PathRegex(path.clone()),
            }),
            method: self.method.clone().unwrap_or_default(),
            headers: self.headers.iter().map(ValueMatch::to_wire).collect(),
            query_params: self.query_params.iter().map(ValueMatch::to_wire).collect(),
        }
    }

    pub(crate) fn of_wire(message: wire::RouteMatch, rules: usize) -> Result<Self, DecodeError> {
        use wire::route_match::Path;
        let rule = usize::try_from(message.rule).ok().filter(|rule| *rule < rules);
        Ok(Self {
            rule: rule.ok_or_else(|| DecodeError::value("matches.rule", "there is no such rule"))?,
            path: match message.path {
                Some(Path::ExactPath(path)) => PathMatch::Exact(path),
                Some(Path::PathPrefix(path)) => PathMatch::Prefix(path),
                Some(Path::PathRegex(path)) => PathMatch::Regex(path),
                None => PathMatch::Prefix("/".to_owned()),
            },
            method: Some(message.method).filter(|method| !method.is_empty()),
            headers: message.headers.into_iter().map(ValueMatch::of_wire).collect::<Result<_, _>>()?,
            query_params: message
                .query_params
                .into_iter()
                .map(ValueMatch::of_wire)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl ValueMatch {
    fn to_wire(&self) -> wire::HeaderMatch {
        use wire::header_match::Value;
        let value = match &self.value {
            TextMatch::Exact(text) => Value::Exact(text.clone()),
            TextMatch::Regex(text) => Value::Regex(text.clone()),
        };
        wire::HeaderMatch { name: self.name.clone(), value: Some(value) }
    }

    fn of_wire(message: wire::HeaderMatch) -> Result<Self, DecodeError> {
        use wire::header_match::Value;
        let value = match message.value {
            Some(Value::Exact(text)) => TextMatch::Exact(text),
            Some(Value::Regex(text)) => TextMatch::Regex(text),
            None => return Err(DecodeError::value("matches.headers.value", "it is missing")),
        };
        Ok(Self { name: message.name, value })
    }
}

impl Backend {
    fn to_wire(&self) -> wire::Backend {
        wire::Backend {
            service: self.service.to_string(),
            port: self.port.number().into(),
            weight: self.weight,
            invalid: self.invalid.clone().unwrap_or_default(),
        }
    }

    fn of_wire(message: wire::Backend) -> Result<Self, DecodeError> {
        Ok(Self {
            service: field("backends.service", &message.service)?,
            port: port("backends.port", message.port)?,
            weight: message.weight,
            invalid: Some(message.invalid).filter(|reason| !reason.is_empty()),
        })
    }
}

pub(crate) fn protocol_to_wire(protocol: AppProtocol) -> wire::AppProtocol {
    match protocol {
        AppProtocol::Detect => wire::AppProtocol::Detect,
        AppProtocol::Http => wire::AppProtocol::Http,
        AppProtocol::H2c => wire::AppProtocol::H2c,
        AppProtocol::Grpc => wire::AppProtocol::Grpc,
        AppProtocol::Tcp => wire::AppProtocol::Tcp,
    }
}

pub(crate) fn protocol_of_wire(protocol: wire::AppProtocol) -> AppProtocol {
    match protocol {
        wire::AppProtocol::Detect => AppProtocol::Detect,
        wire::AppProtocol::Http => AppProtocol::Http,
        wire::AppProtocol::H2c => AppProtocol::H2c,
        wire::AppProtocol::Grpc => AppProtocol::Grpc,
        wire::AppProtocol::Tcp => AppProtocol::Tcp,
    }
}

/// Milliseconds on the wire, where 0 is none; a shorter duration than one millisecond becomes one.
pub(crate) fn millis(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX).max(1))
}

pub(crate) fn duration(millis: u64) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis))
}
