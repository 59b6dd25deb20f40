//! From what is dirty to what follows: pure, so that many can be compiled at once.

use crate::controller::work::{Desired, Subject};
use crate::parallel;
use crate::translate::{
    DerivedSlice, Dirty, Index, Verdict, compile_endpoints, compile_external_host, compile_mesh,
    compile_policy_status, compile_route_status, compile_service, compile_workload, derive_slices,
    judge_endpoints, judge_external, judge_peer_authentication, judge_target_ports,
};
use mesh_names::ServiceName;
use mesh_protocol::endpoint::Endpoint;
use mesh_protocol::resource::{MESH, ResourceType};
use std::net::IpAddr;

/// From so many on, all processors compile: a start, or a storm.
const MANY: usize = 1_000;

/// What follows from one thing that is dirty.
pub(super) enum Outcome {
    /// A resource has these bytes, or is gone.
    Resource(ResourceType, String, Option<Vec<u8>>),
    /// What is behind a Service.
    Behind(Box<Behind>),
    /// An object's status should say this; nothing: it is gone.
    Status(Subject, Option<Desired>),
    /// What is at an address may be another thing.
    Address(IpAddr),
}

/// What is behind a Service.
pub(super) struct Behind {
    pub(super) service: ServiceName,
    pub(super) endpoints: Vec<Endpoint>,
    /// Whether the selected Workloads have the target ports; nothing: the Service is gone.
    pub(super) target_ports: Option<Verdict>,
    /// Whether endpoints take traffic; nothing: the Service is gone.
    pub(super) ready: Option<Verdict>,
    /// The derived slices it should have.
    pub(super) wanted: Vec<DerivedSlice>,
    /// Those that it has and should not.
    pub(super) unwanted: Vec<String>,
}

/// What follows from each, in their order.
pub(super) fn compile(index: &Index, dirty: Vec<Dirty>) -> Vec<Outcome> {
    if dirty.len() < MANY {
        return dirty.iter().map(|dirty| outcome(index, dirty)).collect();
    }
    parallel::map(&dirty, |dirty| outcome(index, dirty))
}

fn outcome(index: &Index, dirty: &Dirty) -> Outcome {
    use ResourceType as Type;
    match dirty {
        Dirty::Service(name) => {
            let bytes = compile_service(index, name).map(|it| it.encode());
            Outcome::Resource(Type::Service, name.to_string(), bytes)
        }
        Dirty::Workload(name) => {
            let bytes = compile_workload(index, name).map(|it| it.encode());
            Outcome::Resource(Type::Workload, name.to_string(), bytes)
        }
        Dirty::Endpoints(name) => Outcome::Behind(Box::new(behind(index, name))),
        Dirty::Route(name) => {
            let status = compile_route_status(index, name).map(Desired::Status);
            Outcome::Status(Subject::Status(name.clone()), status)
        }
        Dirty::Policy(name) => {
            let status = compile_policy_status(index, name).map(Desired::Policy);
            Outcome::Status(Subject::Policy(name.clone()), status)
        }
        Dirty::PeerAuthentication(name) => {
            let verdict = judge_peer_authentication(index, name).map(Desired::PeerAuthentication);
            Outcome::Status(Subject::PeerAuthentication(name.clone()), verdict)
        }
        Dirty::Mesh => Outcome::Resource(Type::Mesh, MESH.to_owned(), Some(compile_mesh(index).encode())),
        Dirty::External(name) => {
            let verdict = judge_external(index, name).map(Desired::External);
            Outcome::Status(Subject::External(name.clone()), verdict)
        }
        Dirty::ExternalHost(host) => {
            let bytes = compile_external_host(index, host).map(|it| it.encode());
            Outcome::Resource(Type::ExternalHost, host.as_str().to_owned(), bytes)
        }
        Dirty::Address(address) => Outcome::Address(*address),
    }
}

fn behind(index: &Index, service: &ServiceName) -> Behind {
    let endpoints = compile_endpoints(index, service);
    let (wanted, stored) = derive_slices(index, service);
    let is_unwanted = |name: &String| wanted.iter().all(|slice| slice.name != *name);
    let unwanted = stored.into_iter().filter(is_unwanted).collect();
    Behind {
        service: service.clone(),
        target_ports: judge_target_ports(index, service),
        ready: judge_endpoints(index, service, &endpoints),
        endpoints,
        wanted,
        unwanted,
    }
}
