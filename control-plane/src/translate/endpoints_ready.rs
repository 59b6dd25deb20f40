//! Whether anything behind a Service takes traffic: without this word, a selector with a typing error would be a riddle.

use super::index::Index;
use super::route::Verdict;
use mesh_names::ServiceName;
use mesh_protocol::endpoint::{Endpoint, EndpointHealth};

/// Judges what is behind a Service, its compiled endpoints; nothing if there is no such Service. How many are ready is not said: it would be
/// another write with each that comes and goes, and the EndpointSlices say it.
pub fn judge_endpoints(index: &Index, name: &ServiceName, endpoints: &[Endpoint]) -> Option<Verdict> {
    let service = index.services.get(name)?;
    if endpoints.iter().any(|endpoint| endpoint.health == EndpointHealth::Ready) {
        let message = "it has endpoints that take traffic".to_owned();
        return Some(Verdict { holds: true, reason: "Ready", message });
    }
    if !endpoints.is_empty() {
        let message =
            "none of its endpoints takes traffic now: see the conditions of its workloads".to_owned();
        return Some(Verdict { holds: false, reason: "NoneReady", message });
    }
    let namespace = &name.namespace;
    let message = if service.selector.is_empty() {
        format!("it has no selector, and no EndpointSlice in namespace `{namespace}` is labelled as its own")
    } else if index.selected(service).next().is_some() {
        "no selected workload has one of its target ports".to_owned()
    } else {
        let labels = service.selector.iter().map(|(label, value)| format!("{label}={value}"));
        let labels = labels.collect::<Vec<_>>().join(",");
        format!("no workload in namespace `{namespace}` has the labels it selects: {labels}")
    };
    Some(Verdict { holds: false, reason: "NoEndpoints", message })
}
