//! What an IP address means to the mesh: the answer to a sidecar that holds a captured connection to it. An address of
//! which nothing is known has no resource; asking for it is answered with an error, and with the resource should it ever
//! come to be.

use crate::endpoint::Endpoint;
use crate::error::{DecodeError, address, field};
use crate::external::ExternalService;
use crate::wire::v1 as wire;
use mesh_names::ServiceName;
use prost::Message;
use std::net::IpAddr;

/// What is at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The address, never an IPv4 one mapped into IPv6.
    pub address: IpAddr,
    /// Set: it is a virtual address of this Service, and what follows does not count.
    pub service: Option<ServiceName>,
    /// The endpoints that are there, of whatever Service, by Service and name. Instances that share a machine share its
    /// address and differ in their ports.
    pub endpoints: Vec<Endpoint>,
    /// The ExternalServices that name the address, the oldest first.
    pub external_services: Vec<ExternalService>,
}

impl Address {
    /// The resource's name.
    pub fn resource_name(&self) -> String {
        crate::resource::address_name(self.address)
    }

    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        wire::Address {
            address: self.address.to_string(),
            service: self.service.as_ref().map(ToString::to_string).unwrap_or_default(),
            endpoints: self.endpoints.iter().map(Endpoint::to_wire).collect(),
            external_services: self.external_services.iter().map(ExternalService::to_wire).collect(),
        }
        .encode_to_vec()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`DecodeError`] with the first field that breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let message = wire::Address::decode(bytes)?;
        let address = address("address", &message.address)?.to_canonical();
        let service = Some(message.service).filter(|name| !name.is_empty());
        let endpoints = message.endpoints.into_iter().map(|endpoint| {
            let endpoint = Endpoint::of_wire(endpoint)?;
            if endpoint.address.to_canonical() == address {
                Ok(endpoint)
            } else {
                Err(DecodeError::value("endpoints.address", "it is not the address that was asked for"))
            }
        });
        let external_services = message.external_services.into_iter().map(ExternalService::of_wire);
        Ok(Self {
            address,
            service: service.map(|name| field("service", &name)).transpose()?,
            endpoints: endpoints.collect::<Result<_, _>>()?,
            external_services: external_services.collect::<Result<_, _>>()?,
        })
    }
}
