//! Whom to trust: the CA certificates of a trust domain. Two or more while roots are being rotated.

use crate::error::{DecodeError, field};
use crate::wire::v1 as wire;
use bytes::Bytes;
use mesh_names::TrustDomain;
use prost::Message;

/// The CA certificates under which identities of one trust domain are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// Whose.
    pub trust_domain: TrustDomain,
    /// The certificates, DER, never none.
    pub certificates: Vec<Bytes>,
}

impl TrustBundle {
    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        let trust_domain = self.trust_domain.to_string();
        wire::TrustBundle { trust_domain, certificates: self.certificates.clone() }.encode_to_vec()
    }

    /// Reads the wire form. That the certificates are certificates is for mutual TLS to find out.
    ///
    /// # Errors
    /// [`DecodeError`]: a bad trust domain, or no certificate at all, which would cut every connection.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let message = wire::TrustBundle::decode(bytes)?;
        if message.certificates.is_empty() {
            return Err(DecodeError::value("certificates", "a trust bundle needs at least one certificate"));
        }
        Ok(Self {
            trust_domain: field("trust_domain", &message.trust_domain)?,
            certificates: message.certificates,
        })
    }
}
