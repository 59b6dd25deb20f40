//! What holds for the mesh as a whole, for every sidecar.

use crate::error::DecodeError;
use crate::wire::v1 as wire;
use prost::Message;

/// The mesh's configuration, as far as sidecars need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// What becomes of connections to places the mesh does not know.
    pub egress: EgressPolicy,
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
    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        let egress = match self.egress {
            EgressPolicy::Allow => wire::EgressPolicy::Allow,
            EgressPolicy::RegisteredOnly => wire::EgressPolicy::RegisteredOnly,
        };
        wire::Mesh { egress: egress.into() }.encode_to_vec()
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
        Ok(Self { egress })
    }
}
