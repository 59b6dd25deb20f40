//! What an IP address means, for sidecars that hold a captured connection to it: the index of endpoints by address, kept
//! up endpoint by endpoint, and the Address resource made from it. Virtual addresses and those of ExternalServices come
//! from [`Index`].

use super::index::Index;
use mesh_names::{ServiceName, Subdomain};
use mesh_protocol::address::Address;
use mesh_protocol::endpoint::Endpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The endpoint of a Service. Nothing comes before all of them, and is there to begin from.
type Which = Option<(ServiceName, Subdomain)>;

/// Endpoints by address. What is compiled from it never depends on the order of changes.
#[derive(Debug, Default)]
pub struct AddressBook {
    /// In one map: a map for each address would take 3 KiB for the one endpoint that is usually there.
    at: BTreeMap<(IpAddr, Which), Endpoint>,
    addresses_of: BTreeMap<ServiceName, BTreeMap<Subdomain, IpAddr>>,
    touched: BTreeSet<IpAddr>,
}

impl AddressBook {
    /// Takes in all endpoints of a Service as they are now.
    pub fn set_endpoints(&mut self, service: &ServiceName, endpoints: &[Endpoint]) {
        let next: BTreeMap<_, _> =
            endpoints.iter().map(|it| (it.name.clone(), it.address.to_canonical())).collect();
        let before = if next.is_empty() {
            self.addresses_of.remove(service)
        } else {
            self.addresses_of.insert(service.clone(), next.clone())
        };
        for (name, address) in before.into_iter().flatten() {
            if next.get(&name) != Some(&address) {
                self.at.remove(&(address, Some((service.clone(), name))));
                self.touched.insert(address);
            }
        }
        for endpoint in endpoints {
            let address = endpoint.address.to_canonical();
            let which = Some((service.clone(), endpoint.name.clone()));
            let before = self.at.insert((address, which), endpoint.clone());
            if before.as_ref() != Some(endpoint) {
                self.touched.insert(address);
            }
        }
    }

    /// Notes that an address may mean something else now.
    pub fn touch(&mut self, address: IpAddr) {
        self.touched.insert(address.to_canonical());
    }

    /// The addresses to compile again; none are left behind.
    pub fn take_touched(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.touched)
    }

    /// Compiles the resource of an address; nothing if nothing is known of it.
    pub fn compile(&self, index: &Index, address: IpAddr) -> Option<Address> {
        if let Some(service) = index.service_at(address) {
            let service = Some(service.clone());
            return Some(Address { address, service, endpoints: Vec::new(), external_services: Vec::new() });
        }
        let there = self.at.range((address, None)..).take_while(|((at, _), _)| *at == address);
        let endpoints: Vec<_> = there.map(|(_, endpoint)| endpoint.clone()).collect();
        let external_services: Vec<_> = index.externals.at(address).collect();
        let is_known = !(endpoints.is_empty() && external_services.is_empty());
        is_known.then_some(Address { address, service: None, endpoints, external_services })
    }
}
