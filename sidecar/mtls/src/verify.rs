//! The judgement on a peer's certificate: a path to the trust bundle in force at this moment, issued for this purpose,
//! and naming exactly one identity. Host names play no part between sidecars.

use crate::certificate::Leaf;
use crate::failure::{BadIdentity, HandshakeFailure};
use crate::identity::Identity;
use crate::provider;
use crate::trust_bundle::TrustBundle;
use mesh_names::{SpiffeId, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

/// Judges a server: it must be `expected`, whatever name it was reached by.
#[derive(Debug)]
pub(crate) struct ServerIs {
    pub(crate) identity: Identity,
    pub(crate) expected: SpiffeId,
}

/// Judges a client.
#[derive(Debug)]
pub(crate) struct ClientIs {
    pub(crate) identity: Identity,
    pub(crate) who: Who,
}

/// Whom a server lets in; what they may do is decided later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Workloads of our trust domain only.
    Workload,
    /// Anyone; who shows a certificate must show one of our trust bundle.
    Anyone,
}

impl ServerCertVerifier for ServerIs {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let bundle = self.identity.trust_bundle();
        chain(&bundle, end_entity, intermediates, now, KeyUsage::server_auth())
            .and_then(|()| is_expected(&leaf(end_entity)?, &self.expected))
            .map_err(HandshakeFailure::into_tls)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for ClientIs {
    fn client_auth_mandatory(&self) -> bool {
        self.who == Who::Workload
    }

    /// None: a workload has one certificate, so hints would only make the handshake longer.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bundle = self.identity.trust_bundle();
        chain(&bundle, end_entity, intermediates, now, KeyUsage::client_auth())
            .and_then(|()| match self.who {
                Who::Workload => is_workload(&leaf(end_entity)?, &self.identity).map(drop),
                Who::Anyone => Ok(()),
            })
            .map_err(HandshakeFailure::into_tls)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The leaf a peer showed, read.
pub(crate) fn leaf(certificate: &CertificateDer<'_>) -> Result<Leaf, HandshakeFailure> {
    Leaf::read(certificate).map_err(|_| HandshakeFailure::UntrustedCertificate)
}

/// The leaf names `expected` and nobody else.
pub(crate) fn is_expected(leaf: &Leaf, expected: &SpiffeId) -> Result<(), HandshakeFailure> {
    let presented = leaf.spiffe_id().map_err(HandshakeFailure::BadIdentity)?;
    if presented == *expected {
        return Ok(());
    }
    Err(HandshakeFailure::WrongIdentity { expected: expected.clone(), presented })
}

/// The leaf names a workload of our own trust domain: that workload.
pub(crate) fn is_workload(leaf: &Leaf, identity: &Identity) -> Result<SpiffeId, HandshakeFailure> {
    let ours = identity.svid().ok_or(HandshakeFailure::NotReady)?;
    let presented = leaf.spiffe_id().map_err(HandshakeFailure::BadIdentity)?;
    let expected: &TrustDomain = &ours.spiffe_id().trust_domain;
    if presented.trust_domain == *expected {
        return Ok(presented);
    }
    let presented = presented.trust_domain;
    Err(HandshakeFailure::BadIdentity(BadIdentity::ForeignTrustDomain {
        expected: expected.clone(),
        presented,
    }))
}

/// A resumed session repeats no verification, so the certificate's validity is looked at here.
pub(crate) fn is_in_force(leaf: &Leaf) -> Result<(), HandshakeFailure> {
    let now = std::time::SystemTime::now();
    if now > leaf.not_after {
        return Err(HandshakeFailure::ExpiredCertificate);
    }
    if now < leaf.not_before {
        return Err(HandshakeFailure::NotYetValid);
    }
    Ok(())
}

/// A path of signatures to the trust bundle, every certificate of it in force, the first one for this purpose.
#[allow(clippy::wildcard_enum_match_arm, reason = "another crate's enum: what is not named is of one kind")]
fn chain(
    bundle: &TrustBundle,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    usage: KeyUsage,
) -> Result<(), HandshakeFailure> {
    let judge = |error| match error {
        webpki::Error::CertExpired { .. } => HandshakeFailure::ExpiredCertificate,
        webpki::Error::CertNotValidYet { .. } => HandshakeFailure::NotYetValid,
        _ => HandshakeFailure::UntrustedCertificate,
    };
    let algorithms = provider::provider().signature_verification_algorithms.all;
    EndEntityCert::try_from(end_entity)
        .map_err(judge)?
        .verify_for_usage(algorithms, bundle.anchors(), intermediates, now, usage, None, None)
        .map_err(judge)
        .map(drop)
}

fn signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, cert, dss, &provider::provider().signature_verification_algorithms)
}
