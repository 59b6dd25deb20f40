//! What a name stands for, seen from one workload. Enters: the name of a question. Leaves: [`Meaning`]. Pure: no service
//! is looked up here, so whether one exists is said elsewhere.
//!
//! | name, in namespace `shop` | meaning |
//! | --- | --- |
//! | `orders.shop.svc.mesh.internal` | the service `shop/orders`, surely |
//! | `_http._tcp.orders.shop.svc.mesh.internal` | its port `http`, surely |
//! | `shop.svc.mesh.internal`, `_tcp.orders.shop.svc.mesh.internal` | nothing by itself, but names stand below it (RFC 8020) |
//! | `example.com.shop.svc.mesh.internal` | nothing: a resolver has put a search domain behind a foreign name |
//! | `printer.svc.mesh.internal` | nothing likewise, though `printer` might be a namespace |
//! | `orders`, `orders.shop`, `orders.shop.svc`, `_http._tcp.orders` | perhaps a service, perhaps somebody else's name |
//! | `localhost` and below | this machine, always (RFC 6761 §6.3) |
//! | `1.0.64.100.in-addr.arpa` | an address |
//! | anything else | foreign |
//!
//! Of namespaces only our own is known to exist. The others' names might be said to exist without an address, and musl ends
//! its search at such a name, before the candidate that is meant.

use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::rr::Name;
use mesh_names::{Destination, MeshDomain, Namespace, ServiceName};
use std::net::IpAddr;

/// From where names are read: a namespace, and the mesh's domain.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    namespace: Namespace,
    domain: MeshDomain,
    zone: Name,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The mesh's domain itself.
    Apex,
    /// A name within the mesh's domain that has no records, but has names below it.
    Between,
    /// A name within the mesh's domain that no service can have.
    Nothing,
    /// Of a service, whether it exists or not.
    Surely(Asked),
    /// Of a service if there is one of this name; else of somebody outside.
    Perhaps(Asked),
    /// This machine.
    Localhost,
    /// An address, asked for its name.
    Address(IpAddr),
    /// Of somebody outside.
    Foreign,
}

/// What of which service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The service.
    pub(super) service: ServiceName,
    /// What of it.
    pub(super) part: Part,
    /// The zone the answer speaks for: the mesh's domain, or for a short name the service's own name as it was asked.
    pub(super) zone: Name,
}

/// What of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Its addresses.
    Whole,
    /// `_tcp` alone: between the service and its ports.
    Transport,
    /// The port of this name or number.
    Port(String),
}

impl Place {
    /// A workload's place.
    ///
    /// # Errors
    /// When the domain is too long for a name in DNS.
    pub(crate) fn new(namespace: Namespace, domain: MeshDomain) -> Result<Self, ProtoError> {
        let zone = Name::from_ascii(format!("{domain}."))?;
        Ok(Self { namespace, domain, zone })
    }

    /// The mesh's domain as a name.
    pub(super) fn zone(&self) -> &Name {
        &self.zone
    }

    /// The one full name of a service.
    ///
    /// # Errors
    /// When it is too long for a name in DNS.
    pub(super) fn full_name(&self, service: &ServiceName) -> Result<Name, ProtoError> {
        Name::from_ascii(format!("{}.{}.svc.{}.", service.name, service.namespace, self.domain))
    }

    /// What `name` stands for here.
    pub(super) fn meaning(&self, name: &Name) -> Meaning {
        let labels = name.iter().len();
        if self.zone.zone_of(name) {
            return self.inside(name, labels.saturating_sub(self.zone.iter().len()));
        }
        if name.iter().next_back().is_some_and(|label| label.eq_ignore_ascii_case(b"localhost")) {
            return Meaning::Localhost;
        }
        let address = name.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len());
        if let Some(net) = address {
            return Meaning::Address(net.addr());
        }
        let asked = words(name, labels).and_then(|words| {
            let (part, host) = split(&words)?;
            let zone = Name::from_labels(name.iter().skip(words.len() - host.len())).ok()?;
            self.asked(part, &host.join("."), zone)
        });
        asked.map_or(Meaning::Foreign, Meaning::Perhaps)
    }

    /// A name within the mesh's domain, of which the first `own` labels are its own.
    fn inside(&self, name: &Name, own: usize) -> Meaning {
        let Some(words) = words(name, own) else { return Meaning::Nothing };
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        match texts.as_slice() {
            [] => return Meaning::Apex,
            ["svc"] => return Meaning::Between,
            [namespace, "svc"] if *namespace == self.namespace.as_str() => return Meaning::Between,
            _ => {}
        }
        let asked = split(&words).filter(|(_, host)| host.len() == 3).and_then(|(part, host)| {
            self.asked(part, &format!("{}.{}", host.join("."), self.domain), self.zone.clone())
        });
        asked.map_or(Meaning::Nothing, Meaning::Surely)
    }

    fn asked(&self, part: Part, host: &str, zone: Name) -> Option<Asked> {
        match Destination::of_host(host, &self.namespace, &self.domain) {
            Destination::Service(service) => Some(Asked { service, part, zone }),
            Destination::Address(_) | Destination::Foreign => None,
        }
    }
}

/// The first `count` labels in lower case, if they are what names of services and ports are made of.
fn words(name: &Name, count: usize) -> Option<Vec<String>> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let word = |label: &[u8]| {
        let text = std::str::from_utf8(label).ok()?;
        label.iter().all(allowed).then(|| text.to_ascii_lowercase())
    };
    name.iter().take(count).map(word).collect()
}

/// The `_port._tcp` in front, and the host behind it.
fn split(words: &[String]) -> Option<(Part, &[String])> {
    match words {
        [port, transport, host @ ..] if transport == "_tcp" => {
            let port = port.strip_prefix('_').filter(|port| !port.is_empty())?;
            Some((Part::Port(port.to_owned()), host))
        }
        [transport, host @ ..] if transport == "_tcp" => Some((Part::Transport, host)),
        host => Some((Part::Whole, host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> Place {
        Place::new("shop".parse().unwrap(), MeshDomain::default()).unwrap()
    }

    fn says(name: &str) -> String {
        let told = |asked: Asked| {
            let part = match asked.part {
                Part::Whole => String::new(),
                Part::Transport => " transport".into(),
                Part::Port(port) => format!(" port {port}"),
            };
            format!("{}{part} in {}", asked.service, asked.zone)
        };
        match place().meaning(&Name::from_ascii(name).unwrap()) {
            Meaning::Surely(asked) => format!("surely {}", told(asked)),
            Meaning::Perhaps(asked) => format!("perhaps {}", told(asked)),
            Meaning::Address(address) => address.to_string(),
            other @ (Meaning::Apex
            | Meaning::Between
            | Meaning::Nothing
            | Meaning::Localhost
            | Meaning::Foreign) => format!("{other:?}").to_lowercase(),
        }
    }

    #[test]
    fn every_shape_of_a_name_has_its_meaning() {
        for (name, meaning) in [
            ("orders.shop.svc.mesh.internal.", "surely shop/orders in mesh.internal."),
            ("OrDers.Billing.SVC.Mesh.Internal.", "surely billing/orders in mesh.internal."),
            ("_http._tcp.orders.shop.svc.mesh.internal.", "surely shop/orders port http in mesh.internal."),
            ("_80._tcp.orders.shop.svc.mesh.internal.", "surely shop/orders port 80 in mesh.internal."),
            ("_tcp.orders.shop.svc.mesh.internal.", "surely shop/orders transport in mesh.internal."),
            ("mesh.internal.", "apex"),
            ("svc.mesh.internal.", "between"),
            ("shop.svc.mesh.internal.", "between"),
            // What search lists make of foreign names.
            ("example.com.shop.svc.mesh.internal.", "nothing"),
            ("www.example.com.shop.svc.mesh.internal.", "nothing"),
            ("orders.shop.svc.mesh.internal.shop.svc.mesh.internal.", "nothing"),
            ("orders.mesh.internal.", "nothing"),
            ("orders.shop.mesh.internal.", "nothing"),
            ("printer.svc.mesh.internal.", "nothing"),
            ("example.com.svc.mesh.internal.", "surely com/example in mesh.internal."),
            ("_http._udp.orders.shop.svc.mesh.internal.", "nothing"),
            ("_http.orders.shop.svc.mesh.internal.", "nothing"),
            ("__tcp._tcp.orders.shop.svc.mesh.internal.", "surely shop/orders port _tcp in mesh.internal."),
            ("under_score.shop.svc.mesh.internal.", "nothing"),
            ("_http._tcp.mesh.internal.", "nothing"),
            ("orders.", "perhaps shop/orders in orders."),
            ("Orders.Shop.", "perhaps shop/orders in Orders.Shop."),
            ("orders.shop.svc.", "perhaps shop/orders in orders.shop.svc."),
            ("_http._tcp.orders.", "perhaps shop/orders port http in orders."),
            ("_grpc._tcp.orders.shop.", "perhaps shop/orders port grpc in orders.shop."),
            ("example.com.", "perhaps com/example in example.com."),
            ("internal.", "perhaps shop/internal in internal."),
            ("www.example.com.", "foreign"),
            ("_dmarc.example.com.", "foreign"),
            ("_sip._udp.example.com.", "foreign"),
            ("orders.shop.svc.cluster.local.", "foreign"),
            ("notmesh.internal.", "perhaps internal/notmesh in notmesh.internal."),
            ("a.mesh.internal.example.", "foreign"),
            (".", "foreign"),
            ("localhost.", "localhost"),
            ("a.LocalHost.", "localhost"),
            ("1.0.64.100.in-addr.arpa.", "100.64.0.1"),
            ("64.100.in-addr.arpa.", "foreign"),
            ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "fd00::1"),
            ("x.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "foreign"),
            ("256.0.64.100.in-addr.arpa.", "foreign"),
            ("10.1.2.3.", "foreign"),
        ] {
            assert_eq!(says(name), meaning, "{name}");
        }
    }

    #[test]
    fn the_mesh_domain_may_be_another() {
        let place = Place::new("shop".parse().unwrap(), "corp.example".parse().unwrap()).unwrap();
        let meaning = |name| place.meaning(&Name::from_ascii(name).unwrap());
        assert!(matches!(meaning("orders.shop.svc.corp.example."), Meaning::Surely(_)));
        assert_eq!(meaning("corp.example."), Meaning::Apex);
        assert_eq!(meaning("orders.shop.svc.mesh.internal."), Meaning::Foreign);
    }

    proptest! {
        #[test]
        fn any_labels_have_a_meaning(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..10)) {
            let mut name = Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
            name.set_fqdn(true);
            place().meaning(&name);
            place().meaning(&name.append_domain(place().zone()).unwrap());
        }
    }
}
