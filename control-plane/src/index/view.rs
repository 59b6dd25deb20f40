//! The typed objects and the snapshot made of them. No task, no store: events in, snapshot out.

use super::DirtySet;
use super::compile::{Behind, Outcome, compile};
use crate::controller::virtual_ips::Allocator;
use crate::controller::work::{Desired, Subject, Work};
use crate::parallel;
use crate::registry::LEAVING;
use crate::snapshot::{ResourceName, Snapshot};
use crate::store::{Document, Event, Key, Revision, Stored};
use crate::translate::{
    AddressBook, CaSource, Change, Dirty, Index, PolicyName, RouteName, SliceName, SourceName,
    TrafficPolicyName, Verdict, WorkloadEntry,
};
use manifests::{Kind, Object};
use mesh_names::{ExternalServiceName, NameError, ServiceName, TrustDomain, WorkloadName};
use mesh_protocol::endpoint::Endpoint;
use mesh_protocol::resource::{ResourceType, address_name};
use mesh_protocol::trust_bundle::TrustBundle;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Objects by name, and the newest snapshot.
#[derive(Debug)]
pub(super) struct View {
    index: Index,
    snapshot: Snapshot,
    virtual_ips: Allocator,
    addresses: AddressBook,
}

impl View {
    pub(super) fn new(trust_domain: TrustDomain) -> Self {
        Self {
            index: Index::new(trust_domain),
            snapshot: Snapshot::default(),
            virtual_ips: Allocator::default(),
            addresses: AddressBook::default(),
        }
    }

    /// Takes all objects of an empty view at once. Returns all there is to compile.
    pub(super) fn read(&mut self, objects: &[Stored]) -> DirtySet {
        let changes = parallel::map(objects, |stored| change(&stored.key, Some(&stored.object)));
        for change in changes.into_iter().flatten() {
            self.index.apply(change);
        }
        self.index.everything()
    }

    /// Takes one change.
    pub(super) fn apply(&mut self, event: &Event, dirty: &mut DirtySet) {
        let change = match event {
            Event::Put { stored, .. } => change(&stored.key, Some(&stored.object)),
            Event::Deleted { stored, .. } => change(&stored.key, None),
        };
        if let Some(change) = change {
            dirty.extend(self.index.apply(change));
        }
    }

    /// Takes the trust bundle.
    pub(super) fn set_bundle(&mut self, bundle: &TrustBundle) {
        let name = ResourceName::from(bundle.trust_domain.as_str());
        self.snapshot.put(ResourceType::TrustBundle, name, bundle.encode());
    }

    /// Compiles what has changed into the snapshot, and hands what follows for other objects to the controllers.
    pub(super) fn compile(&mut self, dirty: DirtySet, work: &Work, now: Instant) {
        self.assign_virtual_ips(&dirty, work, now);
        for outcome in compile(&self.index, dirty.into_iter().collect()) {
            match outcome {
                Outcome::Resource(kind, name, bytes) => self.set(kind, &name, bytes),
                Outcome::Behind(behind) => self.set_behind(*behind, work),
                // As a Service, it says so only once it stays so.
                Outcome::Status(
                    subject,
                    Some(desired @ Desired::PeerAuthentication(Verdict { holds: false, .. })),
                ) => {
                    work.put_later(subject, desired);
                }
                Outcome::Status(subject, Some(desired)) => work.put(subject, desired),
                Outcome::Status(subject, None) => work.forget(&subject),
                Outcome::Address(address) => self.addresses.touch(address),
            }
        }
        for address in self.addresses.take_touched() {
            let bytes = self.addresses.compile(&self.index, address).map(|it| it.encode());
            self.set(ResourceType::Address, &address_name(address), bytes);
        }
    }

    /// All that is stored is observed before anything is given.
    fn assign_virtual_ips(&mut self, dirty: &DirtySet, work: &Work, now: Instant) {
        let services = || {
            dirty.iter().filter_map(|dirty| match dirty {
                Dirty::Service(name) => Some(name),
                Dirty::Endpoints(_)
                | Dirty::Workload(_)
                | Dirty::Route(_)
                | Dirty::Policy(_)
                | Dirty::Mesh
                | Dirty::PeerAuthentication(_)
                | Dirty::External(_)
                | Dirty::ExternalHost(_)
                | Dirty::Address(_) => None,
            })
        };
        for name in services() {
            let service = self.index.service(name);
            if service.is_none() {
                work.forget(&Subject::VirtualIps(name.clone()));
            }
            self.virtual_ips.observe(name, service.map(|service| &**service), now);
        }
        for (name, assignment) in self.virtual_ips.assign(services().cloned(), now) {
            work.put(Subject::VirtualIps(name), Desired::VirtualIps(assignment));
        }
    }

    /// The snapshot as it reflects this revision.
    pub(super) fn snapshot(&mut self, revision: Revision) -> Arc<Snapshot> {
        self.snapshot = std::mem::take(&mut self.snapshot).at(revision);
        Arc::new(self.snapshot.clone())
    }

    fn set(&mut self, kind: ResourceType, name: &str, bytes: Option<Vec<u8>>) {
        match bytes {
            Some(bytes) => self.snapshot.put(kind, name.into(), bytes),
            None => self.snapshot.remove(kind, name),
        };
    }

    fn set_behind(&mut self, behind: Behind, work: &Work) {
        let Behind { service, endpoints, target_ports, ready, wanted, unwanted } = behind;
        self.set_endpoints(&service, &endpoints);
        let subject = Subject::TargetPorts(service.clone());
        match target_ports {
            Some(verdict) => work.put(subject, Desired::TargetPorts(verdict)),
            None => work.forget(&subject),
        }
        let subject = Subject::EndpointsReady(service.clone());
        match ready {
            Some(verdict) if verdict.holds => work.put(subject, Desired::EndpointsReady(verdict)),
            Some(verdict) => work.put_later(subject, Desired::EndpointsReady(verdict)),
            None => work.forget(&subject),
        }
        let subject = Subject::Slices(service);
        if wanted.is_empty() && unwanted.is_empty() {
            work.forget(&subject);
        } else {
            work.put(subject, Desired::Slices { wanted, unwanted });
        }
    }

    fn set_endpoints(&mut self, service: &ServiceName, endpoints: &[Endpoint]) {
        self.addresses.set_endpoints(service, endpoints);
        let wanted: BTreeMap<ResourceName, Vec<u8>> =
            endpoints.iter().map(|it| (it.resource_name().into(), it.encode())).collect();
        let prefix = format!("{service}/");
        let members = self.snapshot.with_prefix(ResourceType::Endpoint, &prefix);
        let gone: Vec<_> =
            members.map(|(name, _)| name.clone()).filter(|it| !wanted.contains_key(it)).collect();
        for name in gone {
            self.snapshot.remove(ResourceType::Endpoint, &name);
        }
        for (name, bytes) in wanted {
            self.snapshot.put(ResourceType::Endpoint, name, bytes);
        }
    }
}

/// The change an object's new state (nothing: its deletion) makes; nothing if it concerns no resource. An object that
/// can't be read is left as it was: the API refuses such objects, so it was written by another version.
fn change(key: &Key, object: Option<&Document>) -> Option<Change> {
    match read(key, object) {
        Ok(change) => change,
        Err(problem) => {
            tracing::warn!(object = %key, problem, "a stored object can't be read and is left as it was");
            None
        }
    }
}

fn read(key: &Key, document: Option<&Document>) -> Result<Option<Change>, String> {
    // What no sidecar is told of is not read: of Events there are thousands.
    if matches!(key.kind, Kind::Namespace | Kind::Event | Kind::RoleBinding | Kind::ClusterRoleBinding) {
        return Ok(None);
    }
    let value = document.map(Document::read);
    let object = value.as_ref().map(|value| Object::of_stored(key.kind, value)).transpose();
    let object = object.map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        problems.join("; ")
    })?;
    let bad_name = |error: NameError| error.to_string();
    let namespace = || key.namespace.parse().map_err(bad_name);
    let change = match (key.kind, object) {
        (Kind::Service, object) => {
            let name = ServiceName::new(namespace()?, key.name.parse().map_err(bad_name)?);
            let service = object.and_then(|it| if let Object::Service(it) = it { Some(it) } else { None });
            Change::Service(name, service.map(Arc::new))
        }
        (Kind::Workload, object) => {
            let name = WorkloadName::new(namespace()?, key.name.parse().map_err(bad_name)?);
            let workload = object.and_then(|it| if let Object::Workload(it) = it { Some(it) } else { None });
            let entry = workload.map(|workload| WorkloadEntry {
                is_leaving: value.as_ref().is_some_and(is_leaving),
                workload,
            });
            Change::Workload(name, entry.map(Arc::new))
        }
        (Kind::HttpRoute, object) => {
            let name = RouteName { namespace: namespace()?, name: key.name.parse().map_err(bad_name)? };
            let route = object.and_then(|it| if let Object::HttpRoute(it) = it { Some(it) } else { None });
            Change::Route(name, route.map(Arc::new))
        }
        (Kind::EndpointSlice, object) => {
            let name = SliceName { namespace: namespace()?, name: key.name.parse().map_err(bad_name)? };
            let slice =
                object.and_then(|it| if let Object::EndpointSlice(it) = it { Some(it) } else { None });
            Change::Slice(name, slice.map(Arc::new))
        }
        (Kind::MeshConfig, object) => {
            let config = object.and_then(|it| if let Object::MeshConfig(it) = it { Some(it) } else { None });
            Change::MeshConfig(config.map(Arc::new))
        }
        (Kind::PeerAuthentication, object) => {
            let name = PolicyName { namespace: namespace()?, name: key.name.parse().map_err(bad_name)? };
            let policy =
                object.and_then(|it| if let Object::PeerAuthentication(it) = it { Some(it) } else { None });
            Change::PeerAuthentication(name, policy.map(Arc::new))
        }
        (Kind::TrafficPolicy, object) => {
            let name =
                TrafficPolicyName { namespace: namespace()?, name: key.name.parse().map_err(bad_name)? };
            let policy =
                object.and_then(|it| if let Object::TrafficPolicy(it) = it { Some(it) } else { None });
            Change::TrafficPolicy(name, policy.map(Arc::new))
        }
        (Kind::ExternalService, object) => {
            let name = ExternalServiceName::new(namespace()?, key.name.parse().map_err(bad_name)?);
            let service =
                object.and_then(|it| if let Object::ExternalService(it) = it { Some(it) } else { None });
            Change::ExternalService(name, service.map(Arc::new))
        }
        (Kind::Secret, object) => {
            let secret = object.and_then(|it| if let Object::Secret(it) = it { Some(it) } else { None });
            let name = SourceName::Secret(namespace()?, key.name.clone());
            Change::CaSource(name, secret.as_ref().map(CaSource::of_secret))
        }
        (Kind::ConfigMap, object) => {
            let map = object.and_then(|it| if let Object::ConfigMap(it) = it { Some(it) } else { None });
            let name = SourceName::ConfigMap(namespace()?, key.name.clone());
            Change::CaSource(name, map.as_ref().map(CaSource::of_config_map))
        }
        (Kind::Namespace | Kind::Event | Kind::RoleBinding | Kind::ClusterRoleBinding, _) => return Ok(None),
    };
    Ok(Some(change))
}

fn is_leaving(workload: &Value) -> bool {
    let conditions = workload.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|it| {
        it.get("type").is_some_and(|kind| kind == "Ready")
            && it.get("reason").is_some_and(|why| why == LEAVING)
    })
}
