//! A Workload resource: what its own sidecar serves, and which Services lead to each port.

use super::endpoint::target_of;
use super::index::Index;
use super::limits;
use super::mtls::inbound_mtls;
use mesh_names::{AppProtocol, WorkloadName};
use mesh_protocol::workload::{Workload, WorkloadPort};

/// Compiles a Workload; nothing if there is none of that name.
pub fn compile_workload(index: &Index, name: &WorkloadName) -> Option<Workload> {
    let entry = index.workloads.get(name)?;
    let workload = &entry.workload;
    let ports = workload.ports.iter().map(|port| {
        let leads_here = |target: &manifests::kind::service::ServicePort| {
            target_of(workload, target).is_some_and(|number| number == port.port)
        };
        let mut services = Vec::new();
        let mut declared = Vec::new();
        for service in index.selecting(entry) {
            let protocols: Vec<_> =
                service.ports.iter().filter(|port| leads_here(port)).map(|port| port.app_protocol).collect();
            if !protocols.is_empty() {
                services.push(service.name.clone());
            }
            declared.extend(protocols);
        }
        // What the workload says of its own port counts most; else what all Services that lead there agree on.
        let agreed = declared.first().copied().filter(|first| declared.iter().all(|it| it == first));
        let app_protocol = match port.app_protocol {
            AppProtocol::Detect => agreed.unwrap_or_default(),
            known @ (AppProtocol::Http | AppProtocol::H2c | AppProtocol::Grpc | AppProtocol::Tcp) => known,
        };
        WorkloadPort { port: port.port, name: port.name.clone().unwrap_or_default(), app_protocol, services }
    });
    Some(Workload {
        name: name.clone(),
        service_account: workload.service_account.clone(),
        ports: ports.collect(),
        mtls: inbound_mtls(index, workload),
        limits: limits::of_workload(index, entry),
    })
}
