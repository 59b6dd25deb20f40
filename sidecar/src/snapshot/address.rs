//! What captured connections read: what is at the address an application dialled.

use super::LastUsed;
use mesh_names::{Namespace, Port, ServiceName};
use mesh_protocol::endpoint::Endpoint;
use mesh_protocol::external::ExternalService;
use std::sync::Arc;

/// What the control plane says of an address.
#[derive(Debug, Clone)]
pub struct AddressView {
    /// The answer.
    pub state: AddressState,
    /// When a worker last used it; carried over from view to view.
    pub last_used: Arc<LastUsed>,
}

/// What is at an address.
#[derive(Debug, Clone)]
pub enum AddressState {
    /// A service: it is one of its virtual addresses. The service itself is subscribed to with the address, and is in the
    /// snapshot now or soon.
    Service(ServiceName),
    /// Places the mesh knows, by port.
    Registered(Arc<Registered>),
    /// Nothing the mesh knows.
    Unknown,
}

/// What the mesh knows at one address. Other ports of the same address may be anything.
#[derive(Debug)]
pub struct Registered {
    /// Endpoints of services, whatever their health, by service and name.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The ExternalServices that name the address, the oldest first.
    pub external_services: Vec<Arc<ExternalService>>,
}

impl Registered {
    /// The endpoint whose application listens on `port` here, and the port of its service that leads there. An instance
    /// of several services is found as that of the first by name: it is the same instance, with the same identity.
    pub fn endpoint(&self, port: Port) -> Option<(&Arc<Endpoint>, Port)> {
        self.endpoints.iter().find_map(|endpoint| {
            let found = endpoint.ports.iter().find(|known| known.target_port == port)?;
            Some((endpoint, found.service_port))
        })
    }

    /// The ExternalService a workload in `namespace` means by `port` here: of those that have the port its own
    /// namespace's, else the oldest.
    pub fn external(&self, port: Port, namespace: &Namespace) -> Option<&Arc<ExternalService>> {
        let with_port = || self.external_services.iter().filter(|service| service.port(port).is_some());
        with_port().find(|service| service.name.namespace == *namespace).or_else(|| with_port().next())
    }
}
