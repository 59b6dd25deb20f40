//! An X.509-SVID: a certificate chain that names one workload, and the key that proves it is ours.

use crate::certificate::{BadCertificate, Leaf};
use crate::failure::BadIdentity;
use crate::key::{KeyError, PrivateKey};
use mesh_names::SpiffeId;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// A certificate chain, leaf first, with its private key; checked to belong together.
pub struct Svid {
    spiffe_id: SpiffeId,
    not_before: SystemTime,
    not_after: SystemTime,
    key: PrivateKey,
    certified: Arc<CertifiedKey>,
}

/// Why a chain and a key make no SVID.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    /// No certificate.
    #[error("the certificate chain is empty")]
    Empty,
    /// The first certificate can't be read.
    #[error("the first certificate of the chain can't be read")]
    Certificate(#[from] BadCertificate),
    /// The certificate names no workload.
    #[error("the certificate names no workload: {0}")]
    Identity(#[from] BadIdentity),
    /// The key can't be used.
    #[error("the private key can't be used")]
    Key(#[from] KeyError),
    /// The key is not the one the certificate was issued for.
    #[error("the private key does not belong to the certificate")]
    Mismatch(#[source] rustls::Error),
}

impl Svid {
    /// Puts a chain (DER, leaf first) and its key together.
    ///
    /// # Errors
    /// [`SvidError`]: no or unreadable leaf, not exactly one SPIFFE ID in it, or a key of somebody else.
    pub fn new(
        chain: impl IntoIterator<Item = impl Into<Vec<u8>>>,
        key: PrivateKey,
    ) -> Result<Self, SvidError> {
        let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(|der| der.into().into()).collect();
        let leaf = Leaf::read(chain.first().ok_or(SvidError::Empty)?)?;
        let spiffe_id = leaf.spiffe_id()?;
        let certified = CertifiedKey::new(chain, key.signing_key()?);
        certified.keys_match().map_err(SvidError::Mismatch)?;
        Ok(Self {
            spiffe_id,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            key,
            certified: Arc::new(certified),
        })
    }

    /// Who it names.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// From when it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The chain in DER, leaf first.
    pub fn chain(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.certified.cert.iter().map(|certificate| certificate.as_ref())
    }

    /// The chain in PEM, leaf first.
    pub fn chain_pem(&self) -> String {
        self.chain().map(|der| crate::pem::encode("CERTIFICATE", der)).collect()
    }

    /// The private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("spiffe_id", &self.spiffe_id)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
