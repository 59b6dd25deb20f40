//! The values flags can have, each with its grammar and the sentence for breaking it. Text enters, a value that cannot
//! be wrong leaves.

mod dns;
mod duration;
mod place;
mod user;

pub use dns::{DnsAddress, DnsServer};
pub(super) use duration::{Grace, ReadyTimeout};
pub(super) use place::Place;
pub use user::User;

use http::uri::{Scheme, Uri};
use mesh_names::{AppProtocol, Destination, MeshDomain, Namespace, Port, ServiceName};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The control plane's discovery port when the URL names none.
const DISCOVERY_PORT: u16 = 15012;
/// As for Kubernetes labels.
const LABEL_PART_MAX: usize = 63;

/// Why a flag's value is not one: one sentence that says what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GrammarError(String);

fn wrong<T>(sentence: impl Into<String>) -> Result<T, GrammarError> {
    Err(GrammarError(sentence.into()))
}

fn because(error: impl fmt::Display) -> GrammarError {
    GrammarError(error.to_string())
}

/// Where the control plane is: `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    host: Host,
    port: Port,
}

/// A host to be resolved, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// To be resolved.
    Name(String),
    /// Used as it is.
    Address(IpAddr),
}

impl ControlPlane {
    /// Its host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> Port {
        self.port
    }
}

impl FromStr for ControlPlane {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let form = "it must have the form https://HOST:PORT";
        let uri: Uri = text.parse().or_else(|_| wrong(form))?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return wrong(format!("{form}: discovery is spoken over TLS only"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return wrong(format!("{form}, without a path"));
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let Some(authority) = authority else { return wrong(form) };
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = match bare.parse() {
            Ok(address) => Host::Address(address),
            Err(_) if bare.is_empty() || bare.starts_with('.') => return wrong(form),
            Err(_) => Host::Name(bare.to_ascii_lowercase()),
        };
        let number = authority.port_u16().unwrap_or(DISCOVERY_PORT);
        match Port::new(number) {
            Some(port) => Ok(Self { host, port }),
            None => wrong(format!("{form}: port 0 is none")),
        }
    }
}

impl fmt::Display for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "https://{name}:{}", self.port),
            Host::Address(IpAddr::V6(ip)) => write!(f, "https://[{ip}]:{}", self.port),
            Host::Address(IpAddr::V4(ip)) => write!(f, "https://{ip}:{}", self.port),
        }
    }
}

/// The control planes of the mesh, at least one: the sidecar uses whichever answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlanes(Vec<ControlPlane>);

impl ControlPlanes {
    /// These.
    pub fn new(control_planes: Vec<ControlPlane>) -> Self {
        Self(control_planes)
    }

    /// Each of them.
    pub fn each(&self) -> &[ControlPlane] {
        &self.0
    }
}

impl fmt::Display for ControlPlanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, control_plane) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{control_plane}")?;
        }
        Ok(())
    }
}

/// A port of the application: `8080`, `8080/http`, or with a name that Services' `targetPort` can use `web=8080/http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Its number.
    pub port: Port,
    /// Its name; may be empty.
    pub name: String,
    /// What is spoken there.
    pub protocol: AppProtocol,
}

impl FromStr for Inbound {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let (name, rest) = text.split_once('=').unwrap_or(("", text));
        if text.contains('=') && !is_port_name(name) {
            return wrong(format!(
                "`{name}` is not a port's name: at most 15 lower-case letters, digits and `-`, with a letter in it \
                 and a letter or digit at both ends"
            ));
        }
        let (port, protocol) = rest.split_once('/').unwrap_or((rest, "detect"));
        Ok(Self {
            port: port.parse().map_err(because)?,
            name: name.to_owned(),
            protocol: protocol.parse().map_err(because)?,
        })
    }
}

/// The grammar of a port's name in Kubernetes (RFC 6335 §5.1).
fn is_port_name(text: &str) -> bool {
    let label = text.len() <= 15 && text.parse::<mesh_names::Label>().is_ok();
    label && text.bytes().any(|byte| byte.is_ascii_lowercase()) && !text.contains("--")
}

/// One service bound to one local address: `orders.shop:80=127.0.0.1:9000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The service.
    pub service: ServiceName,
    /// Its port.
    pub port: Port,
    /// Where the application reaches it.
    pub address: SocketAddr,
}

impl FromStr for Upstream {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let form = "it must have the form SERVICE.NAMESPACE:PORT=ADDR:PORT, as orders.shop:80=127.0.0.1:9000";
        let Some((upstream, address)) = text.split_once('=') else { return wrong(form) };
        let Some((host, port)) = upstream.rsplit_once(':') else { return wrong(form) };
        let Some((_, rest)) = host.split_once('.') else { return wrong(form) };
        // The namespace is always written, so the one given here is never used.
        let here: Namespace = rest.split('.').next().unwrap_or_default().parse().map_err(because)?;
        let Destination::Service(service) = Destination::of_host(host, &here, &MeshDomain::default()) else {
            return wrong(form);
        };
        let address = address
            .parse()
            .or_else(|_| wrong(format!("`{address}` is not an address with a port, as 127.0.0.1:9000")))?;
        Ok(Self { service, port: port.parse().map_err(because)?, address })
    }
}

/// A label of the workload: `app=orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelPair {
    /// `app`, or with a prefix `example.com/app`.
    pub key: String,
    /// May be empty.
    pub value: String,
}

impl FromStr for LabelPair {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let Some((key, value)) = text.split_once('=') else {
            return wrong("it must have the form KEY=VALUE");
        };
        let (prefix, name) = match key.rsplit_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, key),
        };
        if let Some(prefix) = prefix {
            prefix.parse::<mesh_names::Subdomain>().map_err(because)?;
        }
        if name.is_empty() || !is_label_part(name) {
            return wrong(format!("`{name}` is not a label's name: {LABEL_PART}"));
        }
        if !is_label_part(value) {
            return wrong(format!("`{value}` is not a label's value: {LABEL_PART}"));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

const LABEL_PART: &str = "at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";

fn is_label_part(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    bytes.len() <= LABEL_PART_MAX && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(allowed)
}

/// A zone, in the grammar of a label's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(String);

impl Zone {
    /// The text, never empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Zone {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        if text.is_empty() || !is_label_part(text) {
            return wrong(format!("a zone is {LABEL_PART}"));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says<T: FromStr<Err = GrammarError> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().expect_err(text).to_string()
    }

    #[test]
    fn a_control_plane_is_a_host_and_a_port_over_https() {
        for (text, means) in [
            ("https://mesh.example.com:15012", "https://mesh.example.com:15012"),
            ("https://Mesh/", "https://mesh:15012"),
            ("https://127.0.0.1:1", "https://127.0.0.1:1"),
            ("https://[::1]:2", "https://[::1]:2"),
        ] {
            assert_eq!(text.parse::<ControlPlane>().unwrap().to_string(), means);
        }
        for text in ["http://a:1", "a:1", "https://a:1/x", "https://u@a:1", "https://", "https://a:0", ""] {
            assert!(
                says::<ControlPlane>(text).starts_with("it must have the form https://HOST:PORT"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_upstream_binds_a_service_port_to_an_address() {
        let upstream: Upstream = "orders.shop:80=127.0.0.1:9000".parse().unwrap();
        assert_eq!(upstream.service.to_string(), "shop/orders");
        assert_eq!((upstream.port.number(), upstream.address.port()), (80, 9000));
        let long: Upstream = "orders.shop.svc.mesh.internal:80=[::1]:0".parse().unwrap();
        assert_eq!(long.service.to_string(), "shop/orders");
        for text in
            ["orders:80=127.0.0.1:1", "orders.shop=127.0.0.1:1", "orders.shop:80", "a.b.c:80=127.0.0.1:1"]
        {
            assert!(says::<Upstream>(text).contains("SERVICE.NAMESPACE:PORT=ADDR:PORT"), "{text}");
        }
        assert!(says::<Upstream>("orders.shop:80=here").contains("`here` is not an address with a port"));
        assert!(says::<Upstream>("orders.shop:0=127.0.0.1:1").contains("`0` is not a port"));
    }

    #[test]
    fn an_inbound_port_may_name_its_protocol() {
        let plain: Inbound = "8080".parse().unwrap();
        assert_eq!((plain.port.number(), plain.protocol), (8080, AppProtocol::Detect));
        let named: Inbound = "web=8080/http".parse().unwrap();
        assert_eq!((named.name.as_str(), named.protocol), ("web", AppProtocol::Http));
        for text in ["=80", "80=80", "Web=80", "a--b=80", "abcdefghijklmnop=80"] {
            assert!(says::<Inbound>(text).contains("is not a port's name"), "{text}");
        }
        assert_eq!("9000/grpc".parse::<Inbound>().unwrap().protocol, AppProtocol::Grpc);
        assert_eq!(
            says::<Inbound>("80/udp"),
            "`udp` is not a protocol: it must be one of http, h2c, grpc, tcp, detect"
        );
    }

    #[test]
    fn labels_follow_kubernetes_grammar() {
        let pair: LabelPair = "example.com/app=v1.2".parse().unwrap();
        assert_eq!((pair.key.as_str(), pair.value.as_str()), ("example.com/app", "v1.2"));
        assert!("app=".parse::<LabelPair>().is_ok());
        for text in ["app", "=x", "a b=c", "app=-x", "app=x y"] {
            says::<LabelPair>(text);
        }
    }
}
