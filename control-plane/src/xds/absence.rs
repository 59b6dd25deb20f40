//! Why a subscribed resource can't be had, in one sentence that a sidecar passes on to whoever asked for it.

use crate::snapshot::{Snapshot, nearest_services};
use mesh_names::{HostPattern, ServiceName, SpiffeId, TrustDomain, WorkloadName};
use mesh_protocol::resource::{MESH, ResourceType, address_of, collection_of};
use mesh_protocol::wire::discovery as wire;

/// Codes of `google.rpc.Code` as they are used in `resource_errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument = 3,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
}

/// An entry of `resource_errors`.
pub(super) fn resource_error(name: &str, code: Code, message: String) -> wire::ResourceError {
    wire::ResourceError {
        resource_name: Some(wire::ResourceName { name: name.to_owned() }),
        error_detail: Some(wire::Status { code: code as i32, message, details: Vec::new() }),
    }
}

/// The sentence for a well-formed name that no resource has.
pub(super) fn not_found(snapshot: &Snapshot, kind: ResourceType, name: &str) -> String {
    match kind {
        ResourceType::Service => match name.parse::<ServiceName>() {
            Ok(service) => no_service(snapshot, &service),
            Err(error) => error.to_string(),
        },
        ResourceType::Endpoint => format!("no endpoint `{name}`"),
        ResourceType::ExternalHost => format!("no ExternalService names the host `{name}`"),
        ResourceType::Mesh => format!("no mesh `{name}`: the one mesh is named `{MESH}`"),
        ResourceType::Address => format!("nothing in the mesh has the address {name}"),
        ResourceType::Workload => format!("workload `{name}` is no longer registered"),
        ResourceType::TrustBundle => {
            let known: Vec<_> =
                snapshot.with_prefix(ResourceType::TrustBundle, "").map(|(name, _)| &**name).collect();
            format!("no trust bundle for `{name}`; this mesh has: {}", known.join(", "))
        }
    }
}

fn no_service(snapshot: &Snapshot, asked: &ServiceName) -> String {
    let nearest = nearest_services(snapshot, asked);
    let sentence = format!("no service `{}` in namespace `{}`", asked.name, asked.namespace);
    if nearest.is_empty() { sentence } else { format!("{sentence}; nearest: {}", nearest.join(", ")) }
}

/// Why `name` is not a name of that type, if it is none.
pub(super) fn malformed(kind: ResourceType, name: &str) -> Option<String> {
    if name == "*" {
        return Some("there is no wildcard here: subscribe to the names that are needed".to_owned());
    }
    let error = match kind {
        ResourceType::TrustBundle => name.parse::<TrustDomain>().err(),
        ResourceType::Workload => name.parse::<WorkloadName>().err(),
        ResourceType::Service => name.parse::<ServiceName>().err(),
        ResourceType::ExternalHost => name.parse::<HostPattern>().err(),
        ResourceType::Mesh => None,
        ResourceType::Address if address_of(name).is_some() => None,
        ResourceType::Address => {
            return Some(format!(
                "`{}` is not the name of an address: it must be an IP address as RFC 5952 writes it",
                name.chars().take(300).collect::<String>()
            ));
        }
        ResourceType::Endpoint if collection_of(name).is_some() => None,
        ResourceType::Endpoint => {
            return Some(format!(
                "`{}` is not an endpoint's name: it must have the form `namespace/service/*`",
                name.chars().take(300).collect::<String>()
            ));
        }
    };
    error.map(|error| error.to_string())
}

/// Why `peer`, running `own`, may not have the Workload `name`, if it may not.
pub(super) fn forbidden_workload(peer: &SpiffeId, own: Option<&WorkloadName>, name: &str) -> Option<String> {
    match own {
        None => Some(format!("`{peer}` has announced no workload yet: announce it before subscribing to it")),
        Some(own) if own.to_string() == name => None,
        Some(own) => Some(format!("`{peer}` runs workload `{own}` and may not have `{name}`")),
    }
}
