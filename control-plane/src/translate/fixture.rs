//! Objects for tests, written as people write them.

use super::TrafficPolicyName;
use super::external::{CaSource, SourceName};
use super::index::{Change, Dirty, Index, PolicyName, RouteName, SliceName, WorkloadEntry};
use manifests::{Kind, Object};
use mesh_names::TrustDomain;
use std::collections::BTreeSet;
use std::sync::Arc;

/// An index of the objects in YAML documents.
pub(super) fn index(yaml: &str) -> Index {
    let mut index = Index::new(TrustDomain::default());
    for change in changes(yaml) {
        index.apply(change);
    }
    index
}

/// Applies YAML documents to an index.
pub(super) fn apply(index: &mut Index, yaml: &str) -> BTreeSet<Dirty> {
    changes(yaml).into_iter().flat_map(|change| index.apply(change)).collect()
}

pub(super) fn changes(yaml: &str) -> Vec<Change> {
    let documents = yaml.split("\n---").filter(|text| !text.trim().is_empty());
    documents
        .map(|text| {
            let value: serde_json::Value = serde_yaml::from_str(text).expect(text);
            let text = |field: &str| value.get(field).and_then(|it| it.as_str()).expect(text).to_owned();
            let kind = Kind::from_api_version_kind(&text("apiVersion"), &text("kind")).expect("a known kind");
            change(Object::from_json(kind, value).expect("a valid object"))
        })
        .collect()
}

pub(super) fn change(object: Object) -> Change {
    match object {
        Object::Service(it) => Change::Service(it.name.clone(), Some(Arc::new(it))),
        Object::Workload(it) => {
            let entry = WorkloadEntry { workload: it, is_leaving: false };
            Change::Workload(entry.workload.name.clone(), Some(Arc::new(entry)))
        }
        Object::HttpRoute(it) => {
            let name = RouteName { namespace: it.namespace.clone(), name: it.name.clone() };
            Change::Route(name, Some(Arc::new(it)))
        }
        Object::EndpointSlice(it) => {
            let name = SliceName { namespace: it.namespace.clone(), name: it.name.clone() };
            Change::Slice(name, Some(Arc::new(it)))
        }
        Object::MeshConfig(it) => Change::MeshConfig(Some(Arc::new(it))),
        Object::PeerAuthentication(it) => {
            let name = PolicyName { namespace: it.namespace.clone(), name: it.name.clone() };
            Change::PeerAuthentication(name, Some(Arc::new(it)))
        }
        Object::TrafficPolicy(it) => {
            let name = TrafficPolicyName { namespace: it.namespace.clone(), name: it.name.clone() };
            Change::TrafficPolicy(name, Some(Arc::new(it)))
        }
        Object::ExternalService(it) => Change::ExternalService(it.name.clone(), Some(Arc::new(it))),
        Object::Secret(it) => {
            let namespace = it.metadata.namespace.clone().expect("a namespace");
            let name = SourceName::Secret(namespace, it.metadata.name.clone());
            Change::CaSource(name, Some(CaSource::of_secret(&it)))
        }
        Object::ConfigMap(it) => {
            let namespace = it.metadata.namespace.clone().expect("a namespace");
            let name = SourceName::ConfigMap(namespace, it.metadata.name.clone());
            Change::CaSource(name, Some(CaSource::of_config_map(&it)))
        }
        Object::Namespace(_) | Object::Event(_) | Object::RoleBinding(_) | Object::ClusterRoleBinding(_) => {
            panic!("not translated")
        }
    }
}

/// The same change as a deletion.
pub(super) fn deletion(change: &Change) -> Change {
    match change {
        Change::Service(name, _) => Change::Service(name.clone(), None),
        Change::Workload(name, _) => Change::Workload(name.clone(), None),
        Change::Route(name, _) => Change::Route(name.clone(), None),
        Change::Slice(name, _) => Change::Slice(name.clone(), None),
        Change::MeshConfig(_) => Change::MeshConfig(None),
        Change::TrafficPolicy(name, _) => Change::TrafficPolicy(name.clone(), None),
        Change::ExternalService(name, _) => Change::ExternalService(name.clone(), None),
        Change::CaSource(name, _) => Change::CaSource(name.clone(), None),
        Change::PeerAuthentication(name, _) => Change::PeerAuthentication(name.clone(), None),
    }
}
