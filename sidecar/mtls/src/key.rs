//! Private keys and the certificate requests made from them. A key never leaves the process that made it, and its
//! bytes are never shown by `Debug`.

use crate::provider;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::sign::SigningKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::sync::Arc;

/// A private key: P-256 when made here, since its signatures are the cheapest that everybody verifies.
pub struct PrivateKey(PrivateKeyDer<'static>);

/// A certificate request (PKCS #10, DER) signed by the key it asks a certificate for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr(Vec<u8>);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The random source or the algorithm failed.
    #[error("the key could not be made")]
    Generate(#[source] rcgen::Error),
    /// No PEM section with a private key.
    #[error("there is no private key in it")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// Not a key of a kind that TLS can sign with.
    #[error("it is not a private key of a known kind (P-256, P-384, Ed25519 and RSA are)")]
    Unsupported(#[source] rustls::Error),
    /// The key of another certificate.
    #[error("it is not the key of the certificate beside it")]
    NotOfCertificate(#[source] rustls::Error),
}

impl PrivateKey {
    /// Makes a new P-256 key.
    ///
    /// # Errors
    /// [`KeyError::Generate`] when the random source fails.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(KeyError::Generate)?;
        Ok(Self(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()))))
    }

    /// Reads the first private key of a PEM text (PKCS #8, SEC 1 or PKCS #1).
    ///
    /// # Errors
    /// [`KeyError::Pem`] when there is none, [`KeyError::Unsupported`] when it can't sign.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let key = Self(PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(KeyError::Pem)?);
        key.signing_key()?;
        Ok(key)
    }

    /// PKCS #8 in PEM, to be kept in a file that only its owner can read.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "another crate's enum: what is not named is of one kind"
    )]
    pub fn to_pem(&self) -> String {
        let label = match &self.0 {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        crate::pem::encode(label, self.0.secret_der())
    }

    /// A certificate request for this key. It names nobody: who the certificate is for is decided by how the request
    /// is authenticated.
    ///
    /// # Errors
    /// [`KeyError::Generate`] when the key is of a kind that can't sign a request.
    pub fn csr(&self) -> Result<Csr, KeyError> {
        let pair = KeyPair::try_from(self.0.secret_der()).map_err(KeyError::Generate)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let csr = params.serialize_request(&pair).map_err(KeyError::Generate)?;
        Ok(Csr(csr.der().to_vec()))
    }

    pub(crate) fn signing_key(&self) -> Result<Arc<dyn SigningKey>, KeyError> {
        let provider = provider::provider().key_provider;
        provider.load_private_key(self.0.clone_key()).map_err(KeyError::Unsupported)
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self(self.0.clone_key())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl Csr {
    /// The DER bytes, as sent to the CA.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Gives the DER bytes away.
    pub fn into_der(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_being_written_and_read() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.to_pem(), key.to_pem());
        assert!(key.to_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        assert_eq!(format!("{:?}", PrivateKey::generate().unwrap()), "PrivateKey(..)");
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        assert_eq!(PrivateKey::from_pem("hello").unwrap_err().to_string(), "there is no private key in it");
        let nonsense = crate::pem::encode("PRIVATE KEY", b"nonsense");
        assert!(matches!(PrivateKey::from_pem(&nonsense), Err(KeyError::Unsupported(_))));
    }
}
