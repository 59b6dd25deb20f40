//! What this sidecar holds of the mesh's configuration: the last good state of each resource it asked for. Enters: one
//! checked resource, removal or "there is none" at a time, from [`super::session`] or from the cache on disk. Leaves: a
//! view for `snapshot::build`, versions for resuming a stream, bytes for the cache. Pure.

use crate::limit::InboundLimitsByPort;
use crate::snapshot::CompiledService;
use crate::xds::decode::{Checked, checked_trust_bundle};
use mesh_names::{HostPattern, ServiceName, Subdomain};
use mesh_protocol::address::Address;
use mesh_protocol::endpoint::Endpoint;
use mesh_protocol::external::ExternalHost;
use mesh_protocol::mesh::Mesh;
use mesh_protocol::resource::{MESH, ResourceType, endpoints_of};
use mesh_protocol::service::Service;
use mesh_protocol::trust_bundle::TrustBundle;
use mesh_protocol::workload::Workload;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// A resource and the version the control plane gave it. An empty version is never offered for resuming.
#[derive(Debug, Clone)]
pub(crate) struct Versioned<T> {
    /// As received.
    pub(crate) version: Arc<str>,
    /// The checked value, shared with snapshots.
    pub(crate) value: Arc<T>,
}

/// A service that exists, as received and as requests read it.
#[derive(Debug, Clone)]
pub(crate) struct HeldService {
    /// As received: for the cache, and for the backends it names.
    pub(crate) resource: Versioned<Service>,
    /// Its routes compiled.
    pub(crate) compiled: Arc<CompiledService>,
}

/// All endpoints of one service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collection {
    /// Whether an answer came: an unknown collection is waited for, an empty one is a refusal.
    pub(crate) known: bool,
    /// By the endpoint's name.
    pub(crate) members: BTreeMap<Subdomain, Versioned<Endpoint>>,
}

/// Everything held, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    /// The control plane's revision of the latest response.
    pub(crate) revision: String,
    /// Whom to trust.
    pub(crate) trust_bundle: Option<Versioned<TrustBundle>>,
    /// What holds for every sidecar.
    pub(crate) mesh: Option<Versioned<Mesh>>,
    /// The sidecar's own workload.
    pub(crate) workload: Option<Versioned<Workload>>,
    /// What is let in at its ports, compiled.
    pub(crate) limits: Arc<InboundLimitsByPort>,
    /// Services that exist.
    pub(crate) services: BTreeMap<ServiceName, HeldService>,
    /// Endpoints of services that were asked for.
    pub(crate) endpoints: BTreeMap<ServiceName, Collection>,
    /// Services that do not exist, with the control plane's sentence.
    pub(crate) missing: BTreeMap<ServiceName, Arc<str>>,
    /// What is at addresses that were asked for; nothing: the control plane knows nothing of it.
    pub(crate) addresses: BTreeMap<IpAddr, Option<Versioned<Address>>>,
    /// The ExternalServices of hosts and domains that were asked for; nothing: there are none.
    pub(crate) hosts: BTreeMap<HostPattern, Option<Versioned<ExternalHost>>>,
}

/// What a step changed. Workers get a new snapshot if anything did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Services whose routes, endpoints or existence changed.
    pub(crate) services: BTreeSet<ServiceName>,
    /// The own workload did.
    pub(crate) workload: bool,
    /// What holds for every sidecar did.
    pub(crate) mesh: bool,
    /// The trust bundle did.
    pub(crate) trust_bundle: bool,
    /// Addresses of which something else is known.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Hosts and domains of which something else is known.
    pub(crate) hosts: BTreeSet<HostPattern>,
}

impl Changed {
    /// Nothing did.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { services, workload, mesh, trust_bundle, addresses, hosts } = self;
        services.is_empty()
            && addresses.is_empty()
            && hosts.is_empty()
            && !(*workload || *mesh || *trust_bundle)
    }

    /// Adds what `other` changed.
    pub(crate) fn merge(&mut self, other: Self) {
        self.services.extend(other.services);
        self.addresses.extend(other.addresses);
        self.hosts.extend(other.hosts);
        self.workload |= other.workload;
        self.mesh |= other.mesh;
        self.trust_bundle |= other.trust_bundle;
    }
}

impl Held {
    /// Puts one checked resource in the place of the one held.
    pub(crate) fn put(&mut self, version: &str, resource: Checked, changed: &mut Changed) {
        let version: Arc<str> = version.into();
        match resource {
            Checked::TrustBundle(bundle) => {
                self.trust_bundle = Some(Versioned { version, value: Arc::new(bundle) });
                changed.trust_bundle = true;
            }
            Checked::Mesh(mesh) => {
                self.mesh = Some(Versioned { version, value: Arc::new(mesh) });
                changed.mesh = true;
            }
            Checked::Workload(workload, mut limits) => {
                for (port, limits) in &mut limits {
                    if let Some(before) = self.limits.get(port) {
                        limits.carry_over(before);
                    }
                }
                let limits = limits.into_iter().map(|(port, limits)| (port, Arc::new(limits)));
                self.limits = Arc::new(limits.collect());
                self.workload = Some(Versioned { version, value: Arc::new(workload) });
                changed.workload = true;
            }
            Checked::Service(service, mut compiled) => {
                let name = service.name.clone();
                if let Some(before) = self.services.get(&name) {
                    compiled.carry_over(&before.compiled);
                }
                self.missing.remove(&name);
                let resource = Versioned { version, value: Arc::new(service) };
                let held = HeldService { resource, compiled: Arc::new(compiled) };
                self.services.insert(name.clone(), held);
                changed.services.insert(name);
            }
            Checked::Endpoint(endpoint) => {
                let collection = self.endpoints.entry(endpoint.service.clone()).or_default();
                collection.known = true;
                changed.services.insert(endpoint.service.clone());
                let held = Versioned { version, value: Arc::new(endpoint) };
                collection.members.insert(held.value.name.clone(), held);
            }
            Checked::Address(address) => {
                changed.addresses.insert(address.address);
                let held = Versioned { version, value: Arc::new(address) };
                self.addresses.insert(held.value.address, Some(held));
            }
            Checked::ExternalHost(host) => {
                changed.hosts.insert(host.host.clone());
                let held = Versioned { version, value: Arc::new(host) };
                self.hosts.insert(held.value.host.clone(), Some(held));
            }
        }
    }

    /// A service does not exist. Its endpoints are forgotten with it.
    pub(crate) fn service_is_missing(
        &mut self,
        service: &ServiceName,
        sentence: Arc<str>,
        changed: &mut Changed,
    ) {
        self.services.remove(service);
        self.missing.insert(service.clone(), sentence);
        changed.services.insert(service.clone());
    }

    /// Nothing is known of an address.
    pub(crate) fn address_is_unknown(&mut self, address: IpAddr, changed: &mut Changed) {
        let before = self.addresses.insert(address, None);
        if !matches!(before, Some(None)) {
            changed.addresses.insert(address);
        }
    }

    /// No ExternalService names a host or domain.
    pub(crate) fn host_is_unknown(&mut self, host: HostPattern, changed: &mut Changed) {
        let before = self.hosts.insert(host.clone(), None);
        if !matches!(before, Some(None)) {
            changed.hosts.insert(host);
        }
    }

    /// The service that has a virtual address.
    pub(crate) fn service_at(&self, address: IpAddr) -> Option<&ServiceName> {
        self.addresses.get(&address)?.as_ref()?.value.service.as_ref()
    }

    /// A collection is known to be empty.
    pub(crate) fn collection_is_empty(&mut self, service: &ServiceName, changed: &mut Changed) {
        let collection = self.endpoints.entry(service.clone()).or_default();
        collection.known = true;
        collection.members.clear();
        changed.services.insert(service.clone());
    }

    /// One endpoint is gone.
    pub(crate) fn endpoint_is_gone(&mut self, name: &str, changed: &mut Changed) {
        let Some(service) = mesh_protocol::resource::collection_of(name) else { return };
        let member = name.rsplit('/').next().unwrap_or_default();
        if let Some(collection) = self.endpoints.get_mut(&service) {
            let before = collection.members.len();
            collection.members.retain(|held, _| held.as_str() != member);
            if collection.members.len() != before {
                changed.services.insert(service);
            }
        }
    }

    /// Keeps of a collection only the members named: the first answer on a new stream is complete.
    pub(crate) fn keep_only(&mut self, service: &ServiceName, named: &BTreeSet<&str>, changed: &mut Changed) {
        let Some(collection) = self.endpoints.get_mut(service) else { return };
        let before = collection.members.len();
        collection.members.retain(|member, _| named.contains(member.as_str()));
        if collection.members.len() != before {
            changed.services.insert(service.clone());
        }
    }

    /// Forgets a service nobody uses any more.
    pub(crate) fn forget(&mut self, service: &ServiceName, changed: &mut Changed) {
        let held = self.services.remove(service).is_some();
        let endpoints = self.endpoints.remove(service).is_some();
        let missing = self.missing.remove(service).is_some();
        if held || endpoints || missing {
            changed.services.insert(service.clone());
        }
    }

    /// Forgets an address nobody uses any more.
    pub(crate) fn forget_address(&mut self, address: IpAddr, changed: &mut Changed) {
        if self.addresses.remove(&address).is_some() {
            changed.addresses.insert(address);
        }
    }

    /// Forgets a host or domain nobody asks for any more.
    pub(crate) fn forget_host(&mut self, host: &HostPattern, changed: &mut Changed) {
        if self.hosts.remove(host).is_some() {
            changed.hosts.insert(host.clone());
        }
    }

    /// Versions of what is held of `kind`, by resource name, for the first request of a stream: at most `room`, and
    /// collections whole or not at all. `left_out` gets the collections that did not fit.
    pub(crate) fn versions(
        &self,
        kind: ResourceType,
        room: usize,
        left_out: &mut BTreeSet<ServiceName>,
    ) -> HashMap<String, String> {
        match kind {
            ResourceType::TrustBundle => self
                .trust_bundle
                .iter()
                .map(|held| (held.value.trust_domain.to_string(), held.version.to_string()))
                .filter(|(_, version)| !version.is_empty())
                .collect(),
            ResourceType::Mesh => self
                .mesh
                .iter()
                .map(|held| (MESH.to_owned(), held.version.to_string()))
                .filter(|(_, version)| !version.is_empty())
                .collect(),
            ResourceType::Workload => self
                .workload
                .iter()
                .map(|held| (held.value.name.to_string(), held.version.to_string()))
                .filter(|(_, version)| !version.is_empty())
                .collect(),
            ResourceType::Service => self
                .services
                .iter()
                .map(|(name, held)| (name.to_string(), held.resource.version.to_string()))
                .filter(|(_, version)| !version.is_empty())
                .take(room)
                .collect(),
            ResourceType::Address => self
                .addresses
                .values()
                .flatten()
                .map(|held| (held.value.resource_name(), held.version.to_string()))
                .filter(|(_, version)| !version.is_empty())
                .take(room)
                .collect(),
            ResourceType::ExternalHost => self
                .hosts
                .values()
                .flatten()
                .map(|held| (held.value.host.to_string(), held.version.to_string()))
                .filter(|(_, version)| !version.is_empty())
                .take(room)
                .collect(),
            ResourceType::Endpoint => {
                let mut versions = HashMap::new();
                for (service, collection) in &self.endpoints {
                    let whole = collection.members.values().all(|member| !member.version.is_empty());
                    if !whole || versions.len() + collection.members.len() > room {
                        left_out.insert(service.clone());
                        continue;
                    }
                    versions.extend(
                        collection
                            .members
                            .values()
                            .map(|member| (member.value.resource_name(), member.version.to_string())),
                    );
                }
                versions
            }
        }
    }

    /// Every resource with its type, name, version and wire form: what the cache on disk stores. A collection that is
    /// known to be empty is told by its collection name and no bytes, and so is a host that nobody names: without that answer
    /// a wider one would not count.
    pub(crate) fn export(&self) -> Vec<(ResourceType, String, Arc<str>, Vec<u8>)> {
        let mut out = Vec::new();
        if let Some(held) = &self.trust_bundle {
            let name = held.value.trust_domain.to_string();
            out.push((ResourceType::TrustBundle, name, held.version.clone(), held.value.encode()));
        }
        if let Some(held) = &self.mesh {
            out.push((ResourceType::Mesh, MESH.to_owned(), held.version.clone(), held.value.encode()));
        }
        if let Some(held) = &self.workload {
            let name = held.value.name.to_string();
            out.push((ResourceType::Workload, name, held.version.clone(), held.value.encode()));
        }
        for (name, held) in &self.services {
            let Versioned { version, value } = &held.resource;
            out.push((ResourceType::Service, name.to_string(), version.clone(), value.encode()));
        }
        for (service, collection) in &self.endpoints {
            if collection.known && collection.members.is_empty() {
                out.push((ResourceType::Endpoint, endpoints_of(service), "".into(), Vec::new()));
            }
            for held in collection.members.values() {
                let name = held.value.resource_name();
                out.push((ResourceType::Endpoint, name, held.version.clone(), held.value.encode()));
            }
        }
        for held in self.addresses.values().flatten() {
            let name = held.value.resource_name();
            out.push((ResourceType::Address, name, held.version.clone(), held.value.encode()));
        }
        for (host, held) in &self.hosts {
            let (version, bytes) = match held {
                Some(held) => (held.version.clone(), held.value.encode()),
                None => ("".into(), Vec::new()),
            };
            out.push((ResourceType::ExternalHost, host.to_string(), version, bytes));
        }
        out
    }

    /// Takes back one resource of an export. One that is not valid any more is left out.
    pub(crate) fn import(&mut self, kind: ResourceType, name: &str, version: &str, bytes: &[u8]) {
        let mut changed = Changed::default();
        if let Some(service) = mesh_protocol::resource::collection(name) {
            self.collection_is_empty(&service, &mut changed);
        } else if kind == ResourceType::ExternalHost && bytes.is_empty() {
            if let Ok(host) = name.parse() {
                self.host_is_unknown(host, &mut changed);
            }
        } else if let Ok(resource) = Checked::decode(kind, name, bytes) {
            self.put(version, resource, &mut changed);
        }
    }

    /// The trust bundle for mutual TLS, if one is held.
    pub(crate) fn trusted(&self) -> Option<mesh_mtls::TrustBundle> {
        checked_trust_bundle(&self.trust_bundle.as_ref()?.value).ok()
    }
}
