//! Whether the Workloads a Service selects have the ports it leads to: without this word, an instance that is there and
//! gets no traffic would be a riddle.

use super::backend::list;
use super::endpoint::target_of;
use super::index::Index;
use super::route::Verdict;
use manifests::kind::service::TargetPort;
use mesh_names::ServiceName;

/// Most Workloads named in the message.
const NAMED_MAX: usize = 3;

/// Judges a Service's target ports; nothing if there is no such Service.
pub fn judge_target_ports(index: &Index, name: &ServiceName) -> Option<Verdict> {
    let service = index.services.get(name)?;
    let mut problems = Vec::new();
    for entry in index.selected(service) {
        let workload = &entry.workload;
        for port in service.ports.iter().filter(|port| target_of(workload, port).is_none()) {
            let numbers: Vec<_> = workload.ports.iter().map(|port| port.port).collect();
            let target = match &port.target {
                TargetPort::Number(number) => format!("port {number}"),
                TargetPort::Name(name) => format!("port named `{name}`"),
            };
            problems.push(format!(
                "workload `{}` has no {target}, where port {} of the service leads; it has {}",
                workload.name.name,
                port.port,
                list(&numbers)
            ));
        }
    }
    if problems.is_empty() {
        let message = "every selected workload has the ports".to_owned();
        return Some(Verdict { holds: true, reason: "Resolved", message });
    }
    let more = problems.len().saturating_sub(NAMED_MAX);
    problems.truncate(NAMED_MAX);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    let mend = "mend `targetPort` of the service, or `--inbound` of the sidecar";
    let message = format!("{}; {mend}", problems.join("; "));
    Some(Verdict { holds: false, reason: "PortNotFound", message })
}
