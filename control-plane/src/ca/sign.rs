//! From a certificate request to an SVID. Of the request only the public key is used, and the signature that proves
//! its sender has the private one; whom the certificate names is the caller's word.

use super::authority::{Authority, CLOCK_SKEW};
use super::random::{self, NoRandomness};
use mesh_names::SpiffeId;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber, SubjectPublicKeyInfo,
};
use std::time::{Duration, SystemTime};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// A day: short enough that a stolen certificate is soon worthless without any revocation list, long enough that a
/// control plane may be away for half of it before anybody notices (sidecars renew from half-life).
pub const SVID_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Requests are a few hundred bytes; beyond this they are refused unread.
const CSR_MAX_BYTES: usize = 16 * 1024;
const RSA_MIN_BITS: usize = 2048;

/// A signed certificate.
#[derive(Debug, Clone)]
pub struct Signed {
    /// DER, leaf first, with what is needed to reach the trust bundle.
    pub chain: Vec<Vec<u8>>,
    /// Until when the leaf is valid.
    pub not_after: SystemTime,
}

/// Why a request was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Too long to be a request.
    #[error("the certificate request has {0} bytes, at most {CSR_MAX_BYTES} are read")]
    TooLong(usize),
    /// Not a request.
    #[error("the certificate request is not PKCS #10 in DER")]
    Malformed,
    /// The sender does not prove to have the private key.
    #[error("the certificate request is not signed by the key it names")]
    BadSignature,
    /// A key of a kind or strength that is not accepted.
    #[error(
        "the key in the certificate request is not accepted: use P-256, P-384, Ed25519, or RSA of at least {RSA_MIN_BITS} bits"
    )]
    UnsupportedKey,
    /// The CA's own certificate is not valid at this time.
    #[error(
        "the CA certificate of the control plane has expired: replace ca.crt and ca.key in its data directory"
    )]
    AuthorityExpired,
    /// The certificate could not be made.
    #[error("the certificate can't be made")]
    Make(#[from] rcgen::Error),
    /// No random bytes for the serial number.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// What a certificate says, apart from its key.
pub(crate) struct Profile {
    pub(crate) subject: DistinguishedName,
    pub(crate) names: Vec<SanType>,
    pub(crate) purposes: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) lifetime: Duration,
}

impl Authority {
    /// Signs an SVID for the key in `csr` (PKCS #10, DER) that names `identity` and nobody else.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, csr: &[u8], identity: &SpiffeId, now: SystemTime) -> Result<Signed, SignError> {
        let key = proven_key(csr)?;
        let profile = Profile {
            subject: DistinguishedName::new(),
            names: vec![SanType::URI(identity.to_string().try_into()?)],
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            lifetime: SVID_LIFETIME,
        };
        self.issue(&key, profile, now)
    }

    /// Signs a leaf. Never a CA, never valid for longer than the CA itself.
    pub(crate) fn issue(
        &self,
        key: &impl PublicKeyData,
        profile: Profile,
        now: SystemTime,
    ) -> Result<Signed, SignError> {
        if now >= self.not_after || now < self.not_before {
            return Err(SignError::AuthorityExpired);
        }
        let not_after = (now + profile.lifetime).min(self.not_after);
        let mut params = CertificateParams::default();
        params.distinguished_name = profile.subject;
        params.subject_alt_names = profile.names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = profile.purposes;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&random::bytes::<16>()?));
        params.not_before = (now - CLOCK_SKEW).max(self.not_before).into();
        params.not_after = not_after.into();
        let leaf = params.signed_by(key, &self.issuer)?;
        let chain = [leaf.der().to_vec()].into_iter().chain(self.intermediates.iter().cloned()).collect();
        Ok(Signed { chain, not_after })
    }
}

/// The public key of a request whose sender has proved to hold the private key.
fn proven_key(csr: &[u8]) -> Result<SubjectPublicKeyInfo, SignError> {
    if csr.len() > CSR_MAX_BYTES {
        return Err(SignError::TooLong(csr.len()));
    }
    let (rest, request) = X509CertificationRequest::from_der(csr).map_err(|_| SignError::Malformed)?;
    if !rest.is_empty() {
        return Err(SignError::Malformed);
    }
    let info = &request.certification_request_info.subject_pki;
    let key = SubjectPublicKeyInfo::from_der(info.raw).map_err(|_| SignError::UnsupportedKey)?;
    let accepted = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
    let is_rsa = matches!(info.parsed(), Ok(PublicKey::RSA(rsa)) if rsa.key_size() >= RSA_MIN_BITS);
    if !is_rsa && !accepted.contains(&key.algorithm()) {
        return Err(SignError::UnsupportedKey);
    }
    request.verify_signature().map_err(|_| SignError::BadSignature)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_mtls::{PrivateKey, Svid};
    use mesh_names::TrustDomain;
    use rcgen::KeyPair;

    const ID: &str = "spiffe://mesh.internal/ns/shop/sa/orders";

    fn authority() -> (tempfile::TempDir, Authority) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), &TrustDomain::default(), SystemTime::now()).unwrap();
        (dir, authority)
    }

    fn sign(csr: &[u8]) -> Result<Signed, SignError> {
        authority().1.sign(csr, &ID.parse().unwrap(), SystemTime::now())
    }

    #[test]
    fn an_svid_lasts_a_day_and_starts_a_minute_ago() {
        let (_dir, authority) = authority();
        let (key, now) = (PrivateKey::generate().unwrap(), SystemTime::now());
        let signed = authority.sign(key.csr().unwrap().der(), &ID.parse().unwrap(), now).unwrap();
        let svid = Svid::new(signed.chain, key).unwrap();
        assert_eq!(svid.spiffe_id().to_string(), ID);
        let lasts = svid.not_after().duration_since(svid.not_before()).unwrap();
        assert_eq!(lasts, SVID_LIFETIME + CLOCK_SKEW);
        assert!(svid.not_before() <= now - Duration::from_secs(59));
    }

    #[test]
    fn what_the_request_claims_is_ignored() {
        let key = PrivateKey::generate().unwrap();
        let pair = KeyPair::from_pem(&key.to_pem()).unwrap();
        let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let claimed = "spiffe://mesh.internal/ns/bank/sa/vault".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(claimed));
        let csr = params.serialize_request(&pair).unwrap();

        let signed = sign(csr.der()).unwrap();

        let (_, leaf) = x509_parser::parse_x509_certificate(&signed.chain[0]).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        assert!(!leaf.is_ca());
        assert_eq!(Svid::new(signed.chain.clone(), key).unwrap().spiffe_id().to_string(), ID);
    }

    #[test]
    fn nothing_is_signed_past_the_expiry_of_the_ca() {
        let (_dir, authority) = authority();
        let csr = PrivateKey::generate().unwrap().csr().unwrap();
        let id = ID.parse().unwrap();
        let late = authority.not_after() - Duration::from_secs(3600);
        assert_eq!(authority.sign(csr.der(), &id, late).unwrap().not_after, authority.not_after());
        let too_late = authority.not_after();
        assert!(matches!(authority.sign(csr.der(), &id, too_late), Err(SignError::AuthorityExpired)));
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let mut csr = PrivateKey::generate().unwrap().csr().unwrap().into_der();
        let last = csr.len() - 1;
        csr[last] ^= 1;
        assert!(matches!(sign(&csr), Err(SignError::BadSignature | SignError::Malformed)));
    }

    #[test]
    fn the_accepted_kinds_of_key_are_those_named_and_no_other() {
        let csr = |pair: &KeyPair| CertificateParams::default().serialize_request(pair).unwrap();
        for algorithm in
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
        {
            sign(csr(&KeyPair::generate_for(algorithm).unwrap()).der()).unwrap();
        }
        let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        sign(csr(&rsa).der()).unwrap();
        let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        assert!(matches!(sign(csr(&p521).der()), Err(SignError::UnsupportedKey)));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(sign(b""), Err(SignError::Malformed)));
        assert!(matches!(sign(&vec![0; CSR_MAX_BYTES + 1]), Err(SignError::TooLong(_))));
        let mut trailing = PrivateKey::generate().unwrap().csr().unwrap().into_der();
        trailing.push(0);
        assert!(matches!(sign(&trailing), Err(SignError::Malformed)));
    }

    proptest::proptest! {
        #[test]
        fn a_mangled_request_is_judged_without_panic(edits in proptest::collection::vec((0usize..300, 0u8..), 1..6)) {
            let mut csr = PrivateKey::generate().unwrap().csr().unwrap().into_der();
            for (at, byte) in edits {
                if let Some(slot) = csr.get_mut(at) {
                    *slot = byte;
                }
            }
            drop(proven_key(&csr));
        }
    }

    #[test]
    fn two_certificates_of_one_key_have_different_serial_numbers() {
        let csr = PrivateKey::generate().unwrap().csr().unwrap();
        let serial = || {
            let chain = sign(csr.der()).unwrap().chain;
            x509_parser::parse_x509_certificate(&chain[0]).unwrap().1.raw_serial().to_vec()
        };
        assert_ne!(serial(), serial());
    }
}
