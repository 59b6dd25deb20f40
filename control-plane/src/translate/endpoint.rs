//! The Endpoint resources of a Service: one for each Workload it selects, and one for each address in EndpointSlices
//! that people wrote. Slices derived from Workloads are for people to read and are not read back: their Workloads are
//! compiled directly, so that a change reaches callers after one write to the store, not two.

use super::index::{Index, WorkloadEntry};
use super::slice::is_derived;
use manifests::kind::service::{Service, ServicePort, TargetPort};
use manifests::kind::slice::{EndpointSlice, SliceEndpoint};
use manifests::kind::workload::Workload;
use mesh_names::{Port, ServiceName, SpiffeId, Subdomain, WorkloadName};
use mesh_protocol::endpoint::{Endpoint, EndpointHealth, EndpointPort, Transport};
use mesh_protocol::{Locality, Weight};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Compiles the endpoints of a Service, by name; none if there is no such Service.
pub fn compile_endpoints(index: &Index, name: &ServiceName) -> Vec<Endpoint> {
    let Some(service) = index.services.get(name) else { return Vec::new() };
    let mut endpoints = BTreeMap::new();
    for entry in index.selected(service) {
        let endpoint = of_workload(index, service, entry);
        endpoints.insert(endpoint.name.clone(), endpoint);
    }
    for (_, slice) in index.slices_attached(name).filter(|(_, slice)| !is_derived(slice)) {
        for listed in &slice.endpoints {
            let Some(endpoint) = of_slice(index, service, slice, listed) else { continue };
            endpoints
                .entry(endpoint.name.clone())
                .and_modify(|known| add_ports(known, &endpoint))
                .or_insert(endpoint);
        }
    }
    // An instance that has none of the Service's ports can't be reached through it.
    endpoints.into_values().filter(|endpoint| !endpoint.ports.is_empty()).collect()
}

/// The endpoint a selected Workload makes.
pub(super) fn of_workload(index: &Index, service: &Service, entry: &WorkloadEntry) -> Endpoint {
    let workload = &entry.workload;
    let ports = service.ports.iter().filter_map(|port| {
        Some(EndpointPort { service_port: port.port, target_port: target_of(workload, port)? })
    });
    Endpoint {
        service: service.name.clone(),
        name: workload.name.name.clone(),
        address: workload.address,
        ports: ports.collect(),
        transport: transport(index, workload),
        locality: locality(workload),
        weight: weight(workload),
        health: if workload.is_ready {
            EndpointHealth::Ready
        } else if entry.is_leaving {
            EndpointHealth::Draining
        } else {
            EndpointHealth::NotReady
        },
    }
}

/// The port of a Workload behind a port of a Service: by number, or by the name the Workload gives one of its ports.
/// Behind a sidecar a number must be among the announced ports, since the sidecar serves no others; without a sidecar,
/// or with no port announced at all, any number will do.
pub(super) fn target_of(workload: &Workload, port: &ServicePort) -> Option<Port> {
    match &port.target {
        TargetPort::Name(name) => {
            workload.ports.iter().find(|known| known.name.as_ref() == Some(name)).map(|known| known.port)
        }
        TargetPort::Number(number) => {
            let is_open = workload.inbound_port.is_none() || workload.ports.is_empty();
            (is_open || workload.ports.iter().any(|known| known.port == *number)).then_some(*number)
        }
    }
}

/// The Workload a slice's endpoint stands for.
pub(super) fn target_workload(endpoint: &SliceEndpoint) -> Option<WorkloadName> {
    let target = endpoint.target.as_ref().filter(|target| target.kind == "Workload")?;
    Some(WorkloadName::new(target.namespace.clone(), target.name.parse().ok()?))
}

fn of_slice(
    index: &Index,
    service: &Service,
    slice: &EndpointSlice,
    listed: &SliceEndpoint,
) -> Option<Endpoint> {
    let address = *listed.addresses.first()?;
    let workload = target_workload(listed).and_then(|name| index.workloads.get(&name));
    let ports = service.ports.iter().filter_map(|port| {
        let target = slice.ports.iter().find(|known| known.name == port.name)?;
        Some(EndpointPort { service_port: port.port, target_port: target.port })
    });
    Some(Endpoint {
        service: service.name.clone(),
        name: match workload {
            Some(entry) => entry.workload.name.name.clone(),
            None => name_of_address(address)?,
        },
        address,
        ports: ports.collect(),
        transport: workload.map_or(Transport::Plaintext, |entry| transport(index, &entry.workload)),
        locality: {
            let known = workload.map(|entry| locality(&entry.workload)).unwrap_or_default();
            Locality { zone: listed.zone.clone().or_else(|| known.zone.clone()), ..known }
        },
        weight: workload.map(|entry| weight(&entry.workload)).unwrap_or_default(),
        health: if listed.is_ready && workload.is_none_or(|entry| entry.workload.is_ready) {
            EndpointHealth::Ready
        } else if listed.is_terminating {
            EndpointHealth::Draining
        } else {
            EndpointHealth::NotReady
        },
    })
}

/// Two slices may list one instance with different ports.
fn add_ports(known: &mut Endpoint, more: &Endpoint) {
    for port in &more.ports {
        if known.target_port(port.service_port).is_none() {
            known.ports.push(*port);
        }
    }
    known.ports.sort_by_key(|port| port.service_port);
}

fn locality(workload: &Workload) -> Locality {
    let Workload { region, zone, subzone, .. } = workload;
    Locality { region: region.clone(), zone: zone.clone(), subzone: subzone.clone() }
}

/// Its share: the two types have one range.
fn weight(workload: &Workload) -> Weight {
    Weight::try_from(u32::from(workload.weight.get())).unwrap_or_default()
}

fn transport(index: &Index, workload: &Workload) -> Transport {
    match workload.inbound_port {
        None => Transport::Plaintext,
        Some(inbound_port) => Transport::MutualTls {
            inbound_port,
            identity: SpiffeId::new(
                index.trust_domain.clone(),
                workload.name.namespace.clone(),
                workload.service_account.clone(),
            ),
        },
    }
}

/// `ip-10-0-0-1`, `ip-fd00-0-0-0-0-0-0-1`.
fn name_of_address(address: IpAddr) -> Option<Subdomain> {
    let parts: Vec<String> = match address {
        IpAddr::V4(address) => address.octets().iter().map(ToString::to_string).collect(),
        IpAddr::V6(address) => address.segments().iter().map(|segment| format!("{segment:x}")).collect(),
    };
    format!("ip-{}", parts.join("-")).parse().ok()
}
