//! One instance of a Service: where it is reached, and who it must prove to be.

use crate::error::{DecodeError, address, field, port};
use crate::wire::v1 as wire;
use crate::{Locality, Weight};
use mesh_names::{Port, ServiceName, SpiffeId, Subdomain};
use prost::Message;
use std::net::IpAddr;

/// One endpoint of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The Service it is an endpoint of.
    pub service: ServiceName,
    /// Its name among that Service's endpoints: the Workload's, or one made from the address.
    pub name: Subdomain,
    /// Where it is.
    pub address: IpAddr,
    /// For each port of the Service, the port of the application.
    pub ports: Vec<EndpointPort>,
    /// How traffic reaches it.
    pub transport: Transport,
    /// Where it runs, as far as that is said.
    pub locality: Locality,
    /// Its share among its Service's endpoints.
    pub weight: Weight,
    /// Whether it takes traffic.
    pub health: EndpointHealth,
}

/// How traffic reaches an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Through the sidecar there, by mutual TLS.
    MutualTls {
        /// The sidecar's inbound port.
        inbound_port: Port,
        /// The identity it must show, exactly.
        identity: SpiffeId,
    },
    /// There is no sidecar: in the clear, to the application's port.
    Plaintext,
}

/// A Service port's counterpart at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointPort {
    /// The port callers use.
    pub service_port: Port,
    /// The port the application listens on.
    pub target_port: Port,
}

/// Whether an endpoint takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointHealth {
    /// It takes new requests.
    Ready,
    /// It takes none: not ready, or its lease has ended.
    NotReady,
    /// It finishes what it has and takes nothing new.
    Draining,
}

impl Endpoint {
    /// The resource's name: `namespace/service/endpoint`.
    pub fn resource_name(&self) -> String {
        format!("{}/{}", self.service, self.name)
    }

    /// The application port behind `service_port` of the Service.
    pub fn target_port(&self, service_port: Port) -> Option<Port> {
        self.ports.iter().find(|p| p.service_port == service_port).map(|p| p.target_port)
    }

    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`DecodeError`] with the first field that breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::of_wire(wire::Endpoint::decode(bytes)?)
    }

    pub(crate) fn to_wire(&self) -> wire::Endpoint {
        let (inbound_port, identity) = match &self.transport {
            Transport::MutualTls { inbound_port, identity } => (inbound_port.number(), identity.to_string()),
            Transport::Plaintext => (0, String::new()),
        };
        let health = match self.health {
            EndpointHealth::Ready => wire::EndpointHealth::Ready,
            EndpointHealth::NotReady => wire::EndpointHealth::NotReady,
            EndpointHealth::Draining => wire::EndpointHealth::Draining,
        };
        let ports = self.ports.iter().map(|p| wire::EndpointPort {
            service_port: p.service_port.number().into(),
            target_port: p.target_port.number().into(),
        });
        let [region, zone, subzone] = self.locality.to_wire();
        wire::Endpoint {
            service: self.service.to_string(),
            name: self.name.to_string(),
            address: self.address.to_string(),
            ports: ports.collect(),
            inbound_port: inbound_port.into(),
            identity,
            zone,
            region,
            subzone,
            weight: self.weight.number().into(),
            health: health.into(),
        }
    }

    pub(crate) fn of_wire(message: wire::Endpoint) -> Result<Self, DecodeError> {
        let health = match message.health() {
            wire::EndpointHealth::Ready => EndpointHealth::Ready,
            wire::EndpointHealth::NotReady => EndpointHealth::NotReady,
            wire::EndpointHealth::Draining => EndpointHealth::Draining,
        };
        let transport = if message.inbound_port == 0 {
            Transport::Plaintext
        } else {
            Transport::MutualTls {
                inbound_port: port("inbound_port", message.inbound_port)?,
                identity: field("identity", &message.identity)?,
            }
        };
        let ports = message.ports.iter().map(|p| {
            Ok(EndpointPort {
                service_port: port("ports.service_port", p.service_port)?,
                target_port: port("ports.target_port", p.target_port)?,
            })
        });
        Ok(Self {
            service: field("service", &message.service)?,
            name: field("name", &message.name)?,
            address: address("address", &message.address)?,
            ports: ports.collect::<Result<_, DecodeError>>()?,
            transport,
            locality: Locality::of_wire([message.region, message.zone, message.subzone]),
            weight: Weight::of_wire(message.weight)?,
            health,
        })
    }
}
