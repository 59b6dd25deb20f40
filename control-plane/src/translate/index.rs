//! The objects that resources are made of, by name, and who refers to whom, so that a change leads straight to what
//! depends on it.

use super::external::{CaSource, Externals, SourceName};
use super::policy::{Policies, TrafficPolicyName};
use super::seniority::Seniority;
use super::slice::is_derived;
use manifests::kind::external_service::ExternalService;
use manifests::kind::mesh_config::MeshConfig;
use manifests::kind::peer_authentication::PeerAuthentication;
use manifests::kind::route::{HttpRoute, ParentRef};
use manifests::kind::service::Service;
use manifests::kind::slice::EndpointSlice;
use manifests::kind::traffic_policy::TrafficPolicy;
use manifests::kind::workload::Workload;
use mesh_names::{
    ExternalServiceName, HostPattern, Namespace, ServiceName, Subdomain, TrustDomain, WorkloadName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// An HTTPRoute: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
}

/// An EndpointSlice: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceName {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
}

/// A PeerAuthentication: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
}

/// A Workload, and what its status says beyond whether it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadEntry {
    /// The object.
    pub workload: Workload,
    /// It finishes what it has and takes nothing new.
    pub is_leaving: bool,
}

/// One object created, changed or (with nothing in it) deleted.
#[derive(Debug, Clone)]
pub enum Change {
    /// A Service.
    Service(ServiceName, Option<Arc<Service>>),
    /// A Workload.
    Workload(WorkloadName, Option<Arc<WorkloadEntry>>),
    /// An HTTPRoute.
    Route(RouteName, Option<Arc<HttpRoute>>),
    /// An EndpointSlice.
    Slice(SliceName, Option<Arc<EndpointSlice>>),
    /// The MeshConfig.
    MeshConfig(Option<Arc<MeshConfig>>),
    /// A PeerAuthentication.
    PeerAuthentication(PolicyName, Option<Arc<PeerAuthentication>>),
    /// An ExternalService.
    ExternalService(ExternalServiceName, Option<Arc<ExternalService>>),
    /// A TrafficPolicy.
    TrafficPolicy(TrafficPolicyName, Option<Arc<TrafficPolicy>>),
    /// A ConfigMap or Secret, as far as CA certificates may come from it.
    CaSource(SourceName, Option<CaSource>),
}

/// Something to compile again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dirty {
    /// The Service resource.
    Service(ServiceName),
    /// The Endpoint resources of a Service, and the EndpointSlices derived for it.
    Endpoints(ServiceName),
    /// The Workload resource.
    Workload(WorkloadName),
    /// The status of a route.
    Route(RouteName),
    /// The status of a TrafficPolicy.
    Policy(TrafficPolicyName),
    /// The Mesh resource.
    Mesh,
    /// The status of a PeerAuthentication.
    PeerAuthentication(PolicyName),
    /// The status of an ExternalService.
    External(ExternalServiceName),
    /// The ExternalHost resource of a host or domain.
    ExternalHost(HostPattern),
    /// The resource of an address: something virtual there has come or gone. What endpoints do to it is
    /// [`super::AddressBook`]'s.
    Address(IpAddr),
}

/// All objects, and their references the other way round.
#[derive(Debug, Default)]
pub struct Index {
    pub(super) trust_domain: TrustDomain,
    pub(super) services: BTreeMap<ServiceName, Arc<Service>>,
    pub(super) workloads: BTreeMap<WorkloadName, Arc<WorkloadEntry>>,
    pub(super) routes: BTreeMap<RouteName, Arc<HttpRoute>>,
    pub(super) slices: BTreeMap<SliceName, Arc<EndpointSlice>>,
    pub(super) externals: Externals,
    pub(super) policies: Policies,
    pub(super) mesh_config: Option<Arc<MeshConfig>>,
    peer_authentications: BTreeMap<Namespace, BTreeMap<Subdomain, Arc<PeerAuthentication>>>,
    routes_of_parent: BTreeMap<ServiceName, BTreeSet<RouteName>>,
    routes_of_backend: BTreeMap<ServiceName, BTreeSet<RouteName>>,
    slices_of_service: BTreeMap<ServiceName, BTreeSet<SliceName>>,
    slices_of_workload: BTreeMap<WorkloadName, BTreeSet<SliceName>>,
    /// Workloads by each of their labels.
    workloads_by_label: BTreeMap<LabelKey, BTreeSet<WorkloadName>>,
    /// Services by each of their virtual addresses: the first one has it.
    services_by_address: BTreeMap<IpAddr, BTreeSet<Seniority>>,
    /// Services by the first label of their selector: a Workload without it can't be selected.
    services_by_label: BTreeMap<LabelKey, BTreeSet<ServiceName>>,
}

/// A namespace, and a label's key and value.
type LabelKey = (Namespace, String, String);

impl Index {
    /// An empty index of a mesh with this trust domain.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, ..Self::default() }
    }

    /// Takes a change and returns what depends on it.
    pub fn apply(&mut self, change: Change) -> BTreeSet<Dirty> {
        let mut dirty = BTreeSet::new();
        match change {
            Change::Service(name, service) => self.apply_service(name, service, &mut dirty),
            Change::Workload(name, entry) => self.apply_workload(name, entry, &mut dirty),
            Change::Route(name, route) => self.apply_route(name, route, &mut dirty),
            Change::Slice(name, slice) => self.apply_slice(name, slice, &mut dirty),
            Change::ExternalService(name, service) => self.externals.set_service(&name, service, &mut dirty),
            Change::TrafficPolicy(name, policy) => self.apply_traffic_policy(&name, policy, &mut dirty),
            Change::CaSource(name, source) => self.externals.set_source(name, source, &mut dirty),
            Change::MeshConfig(config) => {
                let is_mtls = |config: &Option<Arc<MeshConfig>>| {
                    config.as_ref().map(|config| config.mtls.clone()).unwrap_or_default()
                };
                // Every Workload of the mesh is much to compile for a change that is not about them.
                if is_mtls(&self.mesh_config) != is_mtls(&config) {
                    dirty.extend(self.workloads.keys().cloned().map(Dirty::Workload));
                }
                self.mesh_config = config;
                dirty.insert(Dirty::Mesh);
            }
            Change::PeerAuthentication(name, policy) => {
                self.apply_peer_authentication(name, policy, &mut dirty);
            }
        }
        dirty
    }

    /// Everything there is to compile.
    pub fn everything(&self) -> BTreeSet<Dirty> {
        let services =
            self.services.keys().flat_map(|s| [Dirty::Service(s.clone()), Dirty::Endpoints(s.clone())]);
        let workloads = self.workloads.keys().cloned().map(Dirty::Workload);
        let routes = self.routes.keys().cloned().map(Dirty::Route);
        let addresses = self.services_by_address.keys().copied().map(Dirty::Address);
        let externals = self.externals.everything().chain(self.policies.everything()).chain([Dirty::Mesh]);
        let authentications = self.peer_authentications.values().flat_map(BTreeMap::values);
        let authentications = authentications.map(|it| Dirty::PeerAuthentication(authentication(it)));
        let others = externals.chain(authentications);
        services.chain(workloads).chain(routes).chain(addresses).chain(others).collect()
    }

    /// The Service of this name.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The route of this name.
    pub fn route(&self, name: &RouteName) -> Option<&Arc<HttpRoute>> {
        self.routes.get(name)
    }

    /// The Service that has a virtual address.
    pub(super) fn service_at(&self, address: IpAddr) -> Option<&ServiceName> {
        Some(self.services_by_address.get(&address)?.first()?.name())
    }

    /// The PeerAuthentications of a namespace.
    pub(super) fn peer_authentications_of(
        &self,
        namespace: &Namespace,
    ) -> impl Iterator<Item = &PeerAuthentication> {
        self.peer_authentications.get(namespace).into_iter().flat_map(BTreeMap::values).map(|it| &**it)
    }

    /// The Workloads of a namespace.
    pub(super) fn workloads_in(&self, namespace: &Namespace) -> impl Iterator<Item = &Arc<WorkloadEntry>> {
        // Names are ordered by namespace first, and `0` is the least name there can be.
        let least = "0".parse().ok().map(|least| WorkloadName::new(namespace.clone(), least));
        let namespace = namespace.clone();
        least
            .map(|least| self.workloads.range(least..))
            .into_iter()
            .flatten()
            .take_while(move |(name, _)| name.namespace == namespace)
            .map(|(_, entry)| entry)
    }

    /// The routes that name a Service as their parent.
    pub(super) fn routes_attached<'a>(
        &'a self,
        parent: &ServiceName,
    ) -> impl Iterator<Item = (&'a RouteName, &'a Arc<HttpRoute>)> {
        self.routes_of_parent
            .get(parent)
            .into_iter()
            .flatten()
            .filter_map(|name| self.routes.get_key_value(name))
    }

    /// The EndpointSlices that name a Service.
    pub(super) fn slices_attached<'a>(
        &'a self,
        service: &ServiceName,
    ) -> impl Iterator<Item = (&'a SliceName, &'a Arc<EndpointSlice>)> {
        self.slices_of_service
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|name| self.slices.get_key_value(name))
    }

    /// The Workloads a Service selects, by name.
    pub(super) fn selected<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Arc<WorkloadEntry>> {
        let labels = service.selector.iter().map(|(key, value)| label(&service.name.namespace, key, value));
        // All its labels must be there; the rarest leaves least to look at.
        let fewest = labels
            .map(|label| self.workloads_by_label.get(&label))
            .min_by_key(|it| it.map_or(0, BTreeSet::len));
        let named = fewest.flatten().into_iter().flatten();
        named
            .filter_map(|name| self.workloads.get(name))
            .filter(|entry| service.selects(&entry.workload.metadata.labels))
    }

    /// The Services that select a Workload, by name.
    pub(super) fn selecting<'a>(
        &'a self,
        entry: &'a WorkloadEntry,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        let labels = &entry.workload.metadata.labels;
        let namespace = &entry.workload.name.namespace;
        let first = labels.iter().filter_map(|(k, v)| self.services_by_label.get(&label(namespace, k, v)));
        let named: BTreeSet<&ServiceName> = first.flatten().collect();
        named.into_iter().filter_map(|name| self.services.get(name)).filter(|service| service.selects(labels))
    }

    fn apply_service(
        &mut self,
        name: ServiceName,
        service: Option<Arc<Service>>,
        dirty: &mut BTreeSet<Dirty>,
    ) {
        let old = replace(&mut self.services, &name, service.clone());
        for (service, links) in [(&old, Link::Cut), (&service, Link::Made)] {
            let first = service.as_ref().and_then(|service| service.selector.first_key_value());
            if let Some((key, value)) = first {
                link(&mut self.services_by_label, &label(&name.namespace, key, value), &name, links);
            }
        }
        for (service, links) in [(&old, Link::Cut), (&service, Link::Made)] {
            let Some(service) = service else { continue };
            for address in &service.cluster_ips {
                dirty.insert(Dirty::Address(*address));
                link(&mut self.services_by_address, address, &Seniority::of(service), links);
                // Others that claim it have it now, or have it no longer.
                let claimants = self.services_by_address.get(address).into_iter().flatten();
                dirty.extend(claimants.map(|it| Dirty::Service(it.name().clone())));
            }
        }
        for service in [old, service].into_iter().flatten() {
            dirty.extend(self.selected(&service).map(|entry| Dirty::Workload(entry.workload.name.clone())));
        }
        // Whether a backend exists decides the routes that lead to it, and so their parents.
        for route in self.routes_of_backend.get(&name).into_iter().flatten() {
            let parents = self.routes.get(route).into_iter().flat_map(|route| parents(route));
            dirty.extend(parents.map(|parent| Dirty::Service(parent.clone())));
            dirty.insert(Dirty::Route(route.clone()));
        }
        self.policies.service_changed(&name, dirty);
        dirty.extend(self.routes_of_parent.get(&name).into_iter().flatten().cloned().map(Dirty::Route));
        dirty.insert(Dirty::Endpoints(name.clone()));
        dirty.insert(Dirty::Service(name));
    }

    fn apply_workload(
        &mut self,
        name: WorkloadName,
        entry: Option<Arc<WorkloadEntry>>,
        dirty: &mut BTreeSet<Dirty>,
    ) {
        let old = replace(&mut self.workloads, &name, entry.clone());
        for (entry, links) in [(&old, Link::Cut), (&entry, Link::Made)] {
            for (key, value) in entry.iter().flat_map(|entry| &entry.workload.metadata.labels) {
                link(&mut self.workloads_by_label, &label(&name.namespace, key, value), &name, links);
            }
        }
        let labels = [&old, &entry].map(|it| it.as_ref().map(|it| &it.workload.metadata.labels));
        if labels[0] != labels[1] {
            let is_for =
                |it: &&PeerAuthentication| labels.into_iter().flatten().any(|labels| it.selects(labels));
            let authentications = self.peer_authentications_of(&name.namespace).filter(is_for);
            dirty.extend(authentications.map(|it| Dirty::PeerAuthentication(authentication(it))));
        }
        for entry in [old, entry].into_iter().flatten() {
            dirty.extend(self.selecting(&entry).map(|service| Dirty::Endpoints(service.name.clone())));
        }
        for slice in self.slices_of_workload.get(&name).into_iter().flatten() {
            let service = self.slices.get(slice).and_then(|slice| slice.service.clone());
            dirty.extend(service.map(Dirty::Endpoints));
        }
        dirty.insert(Dirty::Workload(name));
    }

    fn apply_peer_authentication(
        &mut self,
        name: PolicyName,
        policy: Option<Arc<PeerAuthentication>>,
        dirty: &mut BTreeSet<Dirty>,
    ) {
        let of_namespace = self.peer_authentications.entry(name.namespace.clone()).or_default();
        let old = replace(of_namespace, &name.name, policy.clone());
        // Which of them counts depends on the others.
        dirty.extend(of_namespace.values().map(|it| Dirty::PeerAuthentication(authentication(it))));
        dirty.insert(Dirty::PeerAuthentication(name.clone()));
        if of_namespace.is_empty() {
            self.peer_authentications.remove(&name.namespace);
        }
        for policy in [old, policy].into_iter().flatten() {
            let workloads = self.workloads_in(&name.namespace);
            let selected = workloads.filter(|entry| policy.selects(&entry.workload.metadata.labels));
            dirty.extend(selected.map(|entry| Dirty::Workload(entry.workload.name.clone())));
        }
    }

    fn apply_traffic_policy(
        &mut self,
        name: &TrafficPolicyName,
        policy: Option<Arc<TrafficPolicy>>,
        dirty: &mut BTreeSet<Dirty>,
    ) {
        let mut services = self.policies.services(name);
        for route in self.policies.set(name, policy, dirty) {
            let parents = self.routes.get(&route).into_iter().flat_map(|route| parents(route));
            dirty.extend(parents.cloned().map(Dirty::Service));
        }
        services.extend(self.policies.services(name));
        // What instances let in is theirs to know.
        for service in services.iter().filter_map(|service| self.services.get(service)) {
            dirty.extend(self.selected(service).map(|entry| Dirty::Workload(entry.workload.name.clone())));
        }
    }

    fn apply_route(&mut self, name: RouteName, route: Option<Arc<HttpRoute>>, dirty: &mut BTreeSet<Dirty>) {
        let old = replace(&mut self.routes, &name, route.clone());
        for (route, links) in [(&old, Link::Cut), (&route, Link::Made)] {
            let Some(route) = route else { continue };
            for parent in parents(route) {
                link(&mut self.routes_of_parent, parent, &name, links);
                dirty.insert(Dirty::Service(parent.clone()));
            }
            for backend in route.rules.iter().flat_map(|rule| &rule.backends) {
                link(&mut self.routes_of_backend, &backend.service, &name, links);
            }
        }
        self.policies.route_changed(&name, dirty);
        dirty.insert(Dirty::Route(name));
    }

    fn apply_slice(
        &mut self,
        name: SliceName,
        slice: Option<Arc<EndpointSlice>>,
        dirty: &mut BTreeSet<Dirty>,
    ) {
        let old = replace(&mut self.slices, &name, slice.clone());
        for (slice, links) in [(&old, Link::Cut), (&slice, Link::Made)] {
            let Some(slice) = slice else { continue };
            let Some(service) = &slice.service else { continue };
            link(&mut self.slices_of_service, service, &name, links);
            dirty.insert(Dirty::Endpoints(service.clone()));
            if is_derived(slice) {
                continue;
            }
            for workload in slice.endpoints.iter().filter_map(super::endpoint::target_workload) {
                link(&mut self.slices_of_workload, &workload, &name, links);
            }
        }
    }
}

fn authentication(policy: &PeerAuthentication) -> PolicyName {
    PolicyName { namespace: policy.namespace.clone(), name: policy.name.clone() }
}

/// The Services a route names as parents.
fn parents(route: &HttpRoute) -> impl Iterator<Item = &ServiceName> {
    route.parents.iter().filter_map(|parent| match parent {
        ParentRef::Service { service, .. } => Some(service),
        ParentRef::Gateway { .. } => None,
    })
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    Cut,
    Made,
}

pub(super) fn link<K: Ord + Clone, V: Ord + Clone>(
    map: &mut BTreeMap<K, BTreeSet<V>>,
    key: &K,
    value: &V,
    link: Link,
) {
    match link {
        Link::Made => {
            map.entry(key.clone()).or_default().insert(value.clone());
        }
        Link::Cut => {
            if let Some(values) = map.get_mut(key) {
                values.remove(value);
                if values.is_empty() {
                    map.remove(key);
                }
            }
        }
    }
}

pub(super) fn replace<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key.clone(), value),
        None => map.remove(key),
    }
}

fn label(namespace: &Namespace, key: &str, value: &str) -> LabelKey {
    (namespace.clone(), key.to_owned(), value.to_owned())
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for SliceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
