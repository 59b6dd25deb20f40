//! What holds for the mesh as a whole, for every sidecar.

use crate::error::{DecodeError, field};
use crate::wire::v1 as wire;
use mesh_names::Network;
use prost::Message;
use std::net::IpAddr;

/// Most networks that virtual addresses are given from: one of each version of IP, and room for some from before a change.
pub const VIRTUAL_NETWORKS_MAX: usize = 16;

/// The mesh's configuration, as far as sidecars need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// What becomes of connections to places the mesh does not know.
    pub egress: EgressPolicy,
    /// The networks that virtual addresses are given from: whatever lies there is a Service's, or nobody's. At most
    /// [`VIRTUAL_NETWORKS_MAX`]; none from a control plane that does not say.
    pub virtual_networks: Vec<Network>,
}

/// What becomes of captured connections to places that are no Service, no endpoint and no ExternalService.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EgressPolicy {
    /// They go where they would have gone without the mesh.
    Allow,
    /// They are refused.
    RegisteredOnly,
}

impl Mesh {
    /// Whether nobody but a Service can be at this address.
    pub fn is_virtual(&self, address: IpAddr) -> bool {
        self.virtual_networks.iter().any(|network| network.contains(address))
    }

    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        let egress = match self.egress {
            EgressPolicy::Allow => wire::EgressPolicy::Allow,
            EgressPolicy::RegisteredOnly => wire::EgressPolicy::RegisteredOnly,
        };
        let virtual_networks = self.virtual_networks.iter().map(ToString::to_string).collect();
        wire::Mesh { egress: egress.into(), virtual_networks }.encode_to_vec()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`DecodeError`] with the first field that breaks a rule. A policy this version does not know is one: to take it
    /// for the default would open what someone meant to close.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let message = wire::Mesh::decode(bytes)?;
        let egress = match wire::EgressPolicy::try_from(message.egress) {
            Ok(wire::EgressPolicy::Allow) => EgressPolicy::Allow,
            Ok(wire::EgressPolicy::RegisteredOnly) => EgressPolicy::RegisteredOnly,
            Err(_) => return Err(DecodeError::value("egress", "this version knows no such policy")),
        };
        if message.virtual_networks.len() > VIRTUAL_NETWORKS_MAX {
            return Err(DecodeError::value("virtual_networks", "they are more than 16"));
        }
        let networks = message.virtual_networks.iter().map(|text| field("virtual_networks", text));
        Ok(Self { egress, virtual_networks: networks.collect::<Result<_, _>>()? })
    }
}
