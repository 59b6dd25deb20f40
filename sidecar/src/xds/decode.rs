//! From a resource's bytes to a value the sidecar can use, or to a sentence that names the field. Everything that could
//! make a resource unusable later is found here (certificates that are none, patterns that do not compile), so that the
//! control plane hears of it and the last good one stays. Pure.

use crate::limit::{InboundLimits, LimitError};
use crate::snapshot::{CompileError, CompiledService, compile};
use mesh_names::Port;
use mesh_protocol::address::Address;
use mesh_protocol::endpoint::Endpoint;
use mesh_protocol::external::ExternalHost;
use mesh_protocol::mesh::Mesh;
use mesh_protocol::resource::{MESH, ResourceType};
use mesh_protocol::service::Service;
use mesh_protocol::trust_bundle::TrustBundle;
use mesh_protocol::workload::Workload;
use std::collections::HashMap;

/// A resource that can be used as it is.
#[derive(Debug)]
pub(crate) enum Checked {
    /// Whom to trust.
    TrustBundle(TrustBundle),
    /// What holds for every sidecar.
    Mesh(Mesh),
    /// The own workload, and what is let in at its ports compiled.
    Workload(Workload, HashMap<Port, InboundLimits>),
    /// A service, and its routes compiled.
    Service(Service, CompiledService),
    /// An endpoint of a service.
    Endpoint(Endpoint),
    /// What is at an address.
    Address(Address),
    /// The ExternalServices of a host or domain.
    ExternalHost(ExternalHost),
}

/// Why a resource is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// It breaks a rule of its type.
    #[error(transparent)]
    Decode(#[from] mesh_protocol::DecodeError),
    /// It came under another name than its own.
    #[error("it says that it is `{says}`")]
    OtherName {
        /// The name inside.
        says: String,
    },
    /// It came with another type than its own, or without content.
    #[error("it carries no message of its type")]
    OtherType,
    /// Its certificates are not certificates.
    #[error("field `certificates`: {0}")]
    Certificates(#[from] mesh_mtls::TrustBundleError),
    /// A route can't be compiled.
    #[error("{}", with_cause(.0))]
    Routes(#[from] CompileError),
    /// A limit of a port can't be compiled.
    #[error("limits of port {port}: {}", with_cause(.error))]
    Limits {
        /// The application's port.
        port: Port,
        /// What is wrong there.
        error: LimitError,
    },
}

impl Checked {
    /// Reads and checks one resource that was received as `name`.
    ///
    /// # Errors
    /// [`Unusable`], which names the field.
    pub(crate) fn decode(kind: ResourceType, name: &str, bytes: &[u8]) -> Result<Self, Unusable> {
        let (says, checked) = match kind {
            ResourceType::TrustBundle => {
                let bundle = TrustBundle::decode(bytes)?;
                checked_trust_bundle(&bundle)?;
                (bundle.trust_domain.to_string(), Self::TrustBundle(bundle))
            }
            ResourceType::Mesh => (MESH.to_owned(), Self::Mesh(Mesh::decode(bytes)?)),
            ResourceType::Workload => {
                let workload = Workload::decode(bytes)?;
                let limits = InboundLimits::compile(&workload.limits);
                let limits = limits.map_err(|(port, error)| Unusable::Limits { port, error })?;
                (workload.name.to_string(), Self::Workload(workload, limits))
            }
            ResourceType::Service => {
                let service = Service::decode(bytes)?;
                let compiled = compile(&service)?;
                (service.name.to_string(), Self::Service(service, compiled))
            }
            ResourceType::Endpoint => {
                let endpoint = Endpoint::decode(bytes)?;
                (endpoint.resource_name(), Self::Endpoint(endpoint))
            }
            ResourceType::Address => {
                let address = Address::decode(bytes)?;
                (address.resource_name(), Self::Address(address))
            }
            ResourceType::ExternalHost => {
                let host = ExternalHost::decode(bytes)?;
                (host.host.to_string(), Self::ExternalHost(host))
            }
        };
        if says == name { Ok(checked) } else { Err(Unusable::OtherName { says }) }
    }
}

/// The bundle as mutual TLS uses it.
///
/// # Errors
/// [`Unusable::Certificates`] if one of them is no certificate.
pub(crate) fn checked_trust_bundle(bundle: &TrustBundle) -> Result<mesh_mtls::TrustBundle, Unusable> {
    Ok(mesh_mtls::TrustBundle::from_der(bundle.certificates.iter().cloned())?)
}

/// The whole chain in one line: the control plane shows it to whoever wrote the route.
fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
