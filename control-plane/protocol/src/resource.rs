//! Resource types, their type URLs, and the names resources are subscribed by.

use mesh_names::ServiceName;
use std::net::IpAddr;

/// The collection suffix: `shop/orders/*` is every endpoint of `shop/orders`.
const COLLECTION: &str = "/*";

/// The name of the one [`ResourceType::Mesh`].
pub const MESH: &str = "default";

/// The kinds of resource the control plane serves to sidecars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// [`crate::trust_bundle::TrustBundle`], named by trust domain.
    TrustBundle,
    /// [`crate::mesh::Mesh`], named [`MESH`].
    Mesh,
    /// [`crate::workload::Workload`], named `namespace/name`.
    Workload,
    /// [`crate::service::Service`], named `namespace/name`.
    Service,
    /// [`crate::endpoint::Endpoint`], named `namespace/service/endpoint`, subscribed to as a collection.
    Endpoint,
    /// [`crate::address::Address`], named by the IP address.
    Address,
    /// [`crate::external::ExternalHost`], named by the host or domain.
    ExternalHost,
}

impl ResourceType {
    /// All types, in the order in which a sidecar needs them.
    pub const ALL: [Self; 7] = [
        Self::TrustBundle,
        Self::Mesh,
        Self::Workload,
        Self::Service,
        Self::Endpoint,
        Self::Address,
        Self::ExternalHost,
    ];

    /// The type URL on the wire.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::TrustBundle => "type.googleapis.com/outrigger.v1.TrustBundle",
            Self::Mesh => "type.googleapis.com/outrigger.v1.Mesh",
            Self::Workload => "type.googleapis.com/outrigger.v1.Workload",
            Self::Service => "type.googleapis.com/outrigger.v1.Service",
            Self::Endpoint => "type.googleapis.com/outrigger.v1.Endpoint",
            Self::Address => "type.googleapis.com/outrigger.v1.Address",
            Self::ExternalHost => "type.googleapis.com/outrigger.v1.ExternalHost",
        }
    }

    /// The type with this URL, if it is one of ours.
    pub fn of_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// A short word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrustBundle => "trust_bundle",
            Self::Mesh => "mesh",
            Self::Workload => "workload",
            Self::Service => "service",
            Self::Endpoint => "endpoint",
            Self::Address => "address",
            Self::ExternalHost => "external_host",
        }
    }
}

/// The name under which all endpoints of `service` are subscribed to: `namespace/service/*`.
pub fn endpoints_of(service: &ServiceName) -> String {
    format!("{service}{COLLECTION}")
}

/// The service a collection name stands for; nothing if `name` is not a collection.
pub fn collection(name: &str) -> Option<ServiceName> {
    name.strip_suffix(COLLECTION)?.parse().ok()
}

/// The name of what is at an address: the address as it is usually written, an IPv4 one mapped into IPv6 as itself.
pub fn address_name(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// The address a name stands for; nothing if it is not exactly the name of an address.
pub fn address_of(name: &str) -> Option<IpAddr> {
    name.parse().ok().filter(|address| address_name(*address) == name)
}

/// The collection a resource name belongs to: `shop/orders/a` is of `shop/orders/*`.
pub fn collection_of(name: &str) -> Option<ServiceName> {
    name.rsplit_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_found_by_its_url() {
        for kind in ResourceType::ALL {
            assert_eq!(ResourceType::of_url(kind.type_url()), Some(kind));
        }
        assert_eq!(ResourceType::of_url("type.googleapis.com/envoy.config.cluster.v3.Cluster"), None);
    }

    #[test]
    fn an_address_has_one_name() {
        for name in ["10.0.0.1", "fd6f:7574:7269::1", "::1"] {
            assert_eq!(address_of(name).map(address_name).as_deref(), Some(name));
        }
        for name in ["::ffff:10.0.0.1", "FD6F::1", "fd6f:0::1", "10.0.0.01", "orders", ""] {
            assert_eq!(address_of(name), None, "{name}");
        }
        assert_eq!(address_name("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1");
    }

    #[test]
    fn an_endpoint_belongs_to_its_services_collection() {
        let orders: ServiceName = "shop/orders".parse().unwrap();
        assert_eq!(collection(&endpoints_of(&orders)), Some(orders.clone()));
        assert_eq!(collection("shop/orders"), None);
        assert_eq!(collection_of("shop/orders/orders-1"), Some(orders));
        assert_eq!(collection_of("shop/orders"), None);
    }
}
