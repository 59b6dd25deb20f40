//! Reads what a leaf certificate says: whom it names and when it is valid. Strict: a certificate that could be read in
//! two ways is refused.

use crate::failure::BadIdentity;
use mesh_names::SpiffeId;
use rustls_pki_types::CertificateDer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// The bytes are not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not an X.509 certificate in DER")]
pub struct BadCertificate;

/// What a leaf certificate says.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// Its URI names, none, one or more.
    pub(crate) uris: Result<Vec<String>, BadIdentity>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
}

impl Leaf {
    pub(crate) fn read(der: &CertificateDer<'_>) -> Result<Self, BadCertificate> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| BadCertificate)?;
        if !rest.is_empty() {
            return Err(BadCertificate);
        }
        let subject = certificate.subject();
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().map(str::to_owned);
        Ok(Self {
            uris: uris(&certificate),
            not_before: moment(certificate.validity().not_before),
            not_after: moment(certificate.validity().not_after),
            common_name: subject.iter_common_name().find_map(|name| text(name).ok()).unwrap_or_default(),
            organizations: subject.iter_organization().filter_map(|name| text(name).ok()).collect(),
        })
    }

    /// The identity: exactly one URI name, and it is a SPIFFE ID of the form the mesh issues (X509-SVID §2).
    pub(crate) fn spiffe_id(&self) -> Result<SpiffeId, BadIdentity> {
        match self.uris.as_ref().map_err(Clone::clone)?.as_slice() {
            [] => Err(BadIdentity::NoUri),
            [uri] => uri.parse().map_err(BadIdentity::NotSpiffe),
            several => Err(BadIdentity::SeveralUris(several.len())),
        }
    }
}

/// An unreadable name is not skipped: what it hides could be a second identity.
#[allow(clippy::wildcard_enum_match_arm, reason = "another crate's enum: what is not named is of one kind")]
fn uris(certificate: &X509Certificate<'_>) -> Result<Vec<String>, BadIdentity> {
    let names = certificate.subject_alternative_name().map_err(|_| BadIdentity::Unreadable)?;
    let mut uris = Vec::new();
    for name in names.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::Invalid(..) => return Err(BadIdentity::Unreadable),
            _ => {}
        }
    }
    Ok(uris)
}

fn moment(time: ASN1Time) -> SystemTime {
    match u64::try_from(time.timestamp()) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => UNIX_EPOCH,
    }
}
