//! EndpointSlices derived from Workloads: what `kubectl get endpointslices` shows of a Service with a selector.

use super::endpoint::of_workload;
use super::index::Index;
use manifests::kind::slice::{EndpointSlice, MANAGED_BY, MANAGED_BY_LABEL, SERVICE_NAME_LABEL};
use mesh_names::{Port, ServiceName};
use mesh_protocol::endpoint::{Endpoint, EndpointHealth};
use std::collections::BTreeMap;

/// Most endpoints of one slice, as in Kubernetes.
const ENDPOINTS_MAX: usize = 1_000;
/// Longest Service name that leaves room for `-outrigger` in one label of a name.
const SHORT_NAME_MAX: usize = 48;

/// For each port of the Service, the port of the instance.
type Ports = Vec<(Port, Port)>;

/// A slice as it should be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedSlice {
    /// Its name, in the Service's namespace.
    pub name: String,
    /// The object, without what the store adds.
    pub object: serde_json::Value,
}

/// Whether a slice is one of those derived here.
pub(super) fn is_derived(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY)
}

/// The slices a Service should have, and the names of derived slices it has. All endpoints of a slice share its ports
/// and address family, so that instances with other ports are in another slice: `<service>-outrigger` when one is
/// enough, else with the ports in its name. A Service without a selector has none.
pub fn derive_slices(index: &Index, name: &ServiceName) -> (Vec<DerivedSlice>, Vec<String>) {
    let stored = index.slices_attached(name).filter(|(_, slice)| is_derived(slice));
    let stored = stored.map(|(name, _)| name.name.to_string()).collect();
    let Some(service) = index.services.get(name).filter(|service| !service.selector.is_empty()) else {
        return (Vec::new(), stored);
    };
    let mut groups: BTreeMap<(bool, Ports), Vec<Endpoint>> = BTreeMap::new();
    for entry in index.selected(service) {
        let endpoint = of_workload(index, service, entry);
        if endpoint.ports.is_empty() {
            continue;
        }
        let ports = endpoint.ports.iter().map(|port| (port.service_port, port.target_port)).collect();
        groups.entry((endpoint.address.is_ipv6(), ports)).or_default().push(endpoint);
    }
    if groups.is_empty() {
        groups.insert((false, Vec::new()), Vec::new());
    }
    let is_only = groups.len() == 1;
    let separator = if name.name.as_str().len() > SHORT_NAME_MAX { '.' } else { '-' };
    let mut slices = Vec::new();
    for ((is_ipv6, ports), endpoints) in groups {
        let mut base = format!("{}{separator}outrigger", name.name);
        if !is_only {
            base.push_str(if is_ipv6 { ".ipv6" } else { ".ipv4" });
            for (_, target) in &ports {
                base.push_str(&format!(".{target}"));
            }
        }
        let family = if is_ipv6 { "IPv6" } else { "IPv4" };
        let chunks = endpoints.chunks(ENDPOINTS_MAX).map(<[_]>::to_vec);
        let chunks = if endpoints.is_empty() { vec![Vec::new()] } else { chunks.collect() };
        for (place, chunk) in chunks.into_iter().enumerate() {
            let slice = if place == 0 { base.clone() } else { format!("{base}.part{place}") };
            let object = object(name, service, &slice, family, &ports, &chunk);
            slices.push(DerivedSlice { name: slice, object });
        }
    }
    (slices, stored)
}

fn object(
    name: &ServiceName,
    service: &manifests::kind::service::Service,
    slice: &str,
    family: &str,
    ports: &[(Port, Port)],
    endpoints: &[Endpoint],
) -> serde_json::Value {
    let ports = ports.iter().map(|(number, target)| {
        let known = service.port(*number);
        let name = known.map(|port| port.name.clone()).unwrap_or_default();
        serde_json::json!({ "name": name, "port": target.number(), "protocol": "TCP" })
    });
    let endpoints = endpoints.iter().map(|endpoint| {
        let is_ready = endpoint.health == EndpointHealth::Ready;
        let is_leaving = endpoint.health == EndpointHealth::Draining;
        let mut entry = serde_json::json!({
            "addresses": [endpoint.address.to_string()],
            "conditions": { "ready": is_ready, "serving": is_ready || is_leaving, "terminating": is_leaving },
            "targetRef": {
                "kind": "Workload",
                "namespace": name.namespace.as_str(),
                "name": endpoint.name.as_str(),
            },
        });
        if let (Some(fields), Some(zone)) = (entry.as_object_mut(), &endpoint.locality.zone) {
            fields.insert("zone".to_owned(), zone.as_str().into());
        }
        entry
    });
    serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice,
            "namespace": name.namespace.as_str(),
            "labels": { SERVICE_NAME_LABEL: name.name.as_str(), MANAGED_BY_LABEL: MANAGED_BY },
        },
        "addressType": family,
        "ports": ports.collect::<Vec<_>>(),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}
