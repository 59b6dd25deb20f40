//! Whom we trust: the CA certificates under which a peer's certificate must have been issued. Old and new stand side by
//! side while roots are rotated.

use crate::pem;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use std::fmt;

/// One or more CA certificates, read once.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustBundle {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// Why a text or a list of certificates is no trust bundle.
#[derive(Debug, thiserror::Error)]
pub enum TrustBundleError {
    /// Broken PEM.
    #[error("its PEM is broken: {0}")]
    Pem(rustls_pki_types::pem::Error),
    /// No certificate at all: nobody could ever be trusted.
    #[error("there is no certificate in it")]
    Empty,
    /// One of the certificates can't be read.
    #[error("certificate {number} of it is not an X.509 certificate")]
    NotACertificate {
        /// Which, from 1.
        number: usize,
        /// What the reader said.
        #[source]
        source: webpki::Error,
    },
}

impl TrustBundle {
    /// Reads every certificate of a PEM text; other sections are skipped.
    ///
    /// # Errors
    /// [`TrustBundleError`]: broken PEM, no certificate, not a certificate.
    pub fn from_pem(text: &str) -> Result<Self, TrustBundleError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        Self::from_certificates(certificates.map_err(TrustBundleError::Pem)?)
    }

    /// Reads certificates in DER.
    ///
    /// # Errors
    /// [`TrustBundleError`]: no certificate, not a certificate.
    pub fn from_der(
        certificates: impl IntoIterator<Item = impl Into<Vec<u8>>>,
    ) -> Result<Self, TrustBundleError> {
        Self::from_certificates(certificates.into_iter().map(|der| der.into().into()).collect())
    }

    fn from_certificates(certificates: Vec<CertificateDer<'static>>) -> Result<Self, TrustBundleError> {
        let mut anchors = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.iter().enumerate() {
            let anchor = webpki::anchor_from_trusted_cert(certificate)
                .map_err(|source| TrustBundleError::NotACertificate { number: index + 1, source })?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err(TrustBundleError::Empty);
        }
        Ok(Self { certificates, anchors })
    }

    /// PEM, as written to a trust bundle file.
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(|certificate| pem::encode("CERTIFICATE", certificate)).collect()
    }

    /// The certificates in DER; never none.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.certificates.iter().map(|certificate| certificate.as_ref())
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustBundle({} certificates)", self.certificates.len())
    }
}
