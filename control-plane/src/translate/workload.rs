//! A Workload resource: what its own sidecar serves, and which Services lead to each port.

use super::endpoint::target_of;
use super::index::Index;
use super::limits;
use super::mtls::inbound_mtls;
use mesh_names::{AppProtocol, WorkloadName};
use mesh_protocol::workload::{Workload, WorkloadPort};

/// Policies that ask one port whether it is well: one for each Service that leads there, and more than a few do so by
/// mistake. Those of later Services, by name, are left out.
const HEALTH_CHECKS_MAX: usize = 8;

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
        let mut health_checks = Vec::new();
        for service in index.selecting(entry) {
            let leading = || service.ports.iter().filter(|port| leads_here(port));
            let protocols: Vec<_> = leading().map(|port| port.app_protocol).collect();
            for check in leading().filter_map(|port| index.policies.health_check(service, port)) {
                if !health_checks.contains(&check) && health_checks.len() < HEALTH_CHECKS_MAX {
                    health_checks.push(check);
                }
            }
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
        let name = port.name.clone().unwrap_or_default();
        WorkloadPort { port: port.port, name, app_protocol, services, health_checks }
    });
    Some(Workload {
        name: name.clone(),
        service_account: workload.service_account.clone(),
        ports: ports.collect(),
        mtls: inbound_mtls(index, workload),
        limits: limits::of_workload(index, entry),
    })
}
