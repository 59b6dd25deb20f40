//! What the host of a request, a DNS question or an `--upstream` flag means to a workload in some namespace.

use crate::{Label, NameError, Namespace, ServiceName, label};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

const HOST_MAX: usize = 253;

/// The DNS suffix of mesh names: services are `name.namespace.svc.<mesh domain>`. `mesh.internal` by default.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MeshDomain(Arc<str>);

impl Default for MeshDomain {
    fn default() -> Self {
        Self("mesh.internal".into())
    }
}

impl MeshDomain {
    /// The text, without dots at its ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MeshDomain {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split('.').find_map(label::broken_rule) {
            None if text.len() <= HOST_MAX => Ok(Self(text.into())),
            None => Err(NameError::new(text, "a mesh domain", "it has more than 253 characters")),
            Some(rule) => Err(NameError::new(text, "a mesh domain", rule)),
        }
    }
}

impl fmt::Display for MeshDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MeshDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a host stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A service of the mesh, which may or may not exist.
    Service(ServiceName),
    /// An address, not a name.
    Address(IpAddr),
    /// A name that can't be a mesh service's: outside the mesh domain, or of another shape.
    Foreign,
}

impl Destination {
    /// Reads `host` (without a port; case and one final dot don't matter) as a workload in `namespace` means it:
    /// `orders`, `orders.shop`, `orders.shop.svc` or `orders.shop.svc.<mesh domain>`.
    pub fn of_host(host: &str, namespace: &Namespace, domain: &MeshDomain) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.len() > HOST_MAX {
            return Self::Foreign;
        }
        let lower;
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            &lower
        } else {
            host
        };
        if let Ok(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).parse()
        {
            return Self::Address(address);
        }
        let short = host.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
        let mut parts = short.unwrap_or(host).split('.');
        let (name, space, svc, more) = (parts.next(), parts.next(), parts.next(), parts.next());
        let namespace = match (space, svc, more, short.is_some()) {
            (None, None, None, false) => Ok(namespace.clone()),
            (Some(space), None, None, false) | (Some(space), Some("svc"), None, _) => space.parse(),
            _ => return Self::Foreign,
        };
        match (name.unwrap_or_default().parse::<Label>(), namespace) {
            (Ok(name), Ok(namespace)) => Self::Service(ServiceName::new(namespace, name)),
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meaning(host: &str) -> String {
        match Destination::of_host(host, &"shop".parse().unwrap(), &MeshDomain::default()) {
            Destination::Service(name) => name.to_string(),
            Destination::Address(ip) => ip.to_string(),
            Destination::Foreign => "foreign".into(),
        }
    }

    #[test]
    fn short_and_long_names_mean_the_same_service() {
        for (host, expected) in [
            ("orders", "shop/orders"),
            ("orders.billing", "billing/orders"),
            ("orders.billing.svc", "billing/orders"),
            ("orders.billing.svc.mesh.internal", "billing/orders"),
            ("Orders.Billing.svc.MESH.internal.", "billing/orders"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("www.example.com", "foreign"),
            ("orders.billing.svc.cluster.local", "foreign"),
            ("orders.billing.mesh.internal", "foreign"),
            ("mesh.internal", "internal/mesh"),
            ("", "foreign"),
            ("a..b", "foreign"),
            ("under_score", "foreign"),
        ] {
            assert_eq!(meaning(host), expected, "{host}");
        }
    }

    proptest! {
        #[test]
        fn any_host_is_read_without_panic(host in ".*") { meaning(&host); }
    }
}
