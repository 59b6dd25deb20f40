//! Certificates for tests, good and bad. What enters: who a certificate shall name and what shall be wrong with it;
//! what leaves: chains and keys as the mesh's own types. Everything is made on the spot; nothing is kept.

#![allow(clippy::expect_used, reason = "a test that can't make its certificates has failed")]

use mesh_mtls::{PrivateKey, Svid, TrustBundle};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use std::path::Path;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

/// A certificate authority.
pub struct TestCa {
    certificate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate to be issued: an hour old, valid for one more, for both sides of a connection, naming nobody.
pub struct Leaf<'ca> {
    ca: &'ca TestCa,
    params: CertificateParams,
}

/// An issued certificate with its key.
pub struct Issued {
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The key of the leaf.
    pub key: PrivateKey,
}

impl TestCa {
    /// A new CA with a new key.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a CA certificate").der().to_vec();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A running control plane's own CA, taken from its data directory: what it signs is trusted by the mesh.
    pub fn stolen(data_dir: &Path) -> Self {
        let read = |name| std::fs::read_to_string(data_dir.join(name)).expect("the CA's files");
        let (certificate, key) = (read("ca.crt"), KeyPair::from_pem(&read("ca.key")).expect("the CA's key"));
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).expect("the CA's certificate");
        let bundle = TrustBundle::from_pem(&certificate).expect("the CA's certificate");
        let certificate = bundle.certificates().next().expect("a certificate").to_vec();
        Self { certificate, issuer }
    }

    /// The CA's certificate in PEM.
    pub fn pem(&self) -> String {
        mesh_mtls::pem::encode("CERTIFICATE", &self.certificate)
    }

    /// Trust in this CA.
    pub fn trust_bundle(&self) -> TrustBundle {
        Self::trust_in(&[self])
    }

    /// Trust in several CAs, as during a rotation.
    pub fn trust_in(authorities: &[&Self]) -> TrustBundle {
        TrustBundle::from_der(authorities.iter().map(|ca| ca.certificate.clone())).expect("a trust bundle")
    }

    /// Begins a certificate.
    pub fn leaf(&self) -> Leaf<'_> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = (SystemTime::now() - HOUR).into();
        params.not_after = (SystemTime::now() + HOUR).into();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Leaf { ca: self, params }
    }

    /// A good SVID for this SPIFFE ID.
    pub fn svid(&self, spiffe_id: &str) -> Svid {
        self.leaf().uri(spiffe_id).issue().svid()
    }
}

impl Leaf<'_> {
    /// Adds a URI name.
    pub fn uri(mut self, uri: &str) -> Self {
        self.params.subject_alt_names.push(SanType::URI(ia5(uri)));
        self
    }

    /// Adds a DNS name.
    pub fn dns(mut self, name: &str) -> Self {
        self.params.subject_alt_names.push(SanType::DnsName(ia5(name)));
        self
    }

    /// Sets the subject.
    pub fn subject(mut self, name: &str, organization: &str) -> Self {
        self.params.distinguished_name = common_name(name);
        self.params.distinguished_name.push(DnType::OrganizationName, organization);
        self
    }

    /// Sets the validity.
    pub fn valid(mut self, from: SystemTime, until: SystemTime) -> Self {
        self.params.not_before = from.into();
        self.params.not_after = until.into();
        self
    }

    /// Expired a minute ago.
    pub fn expired(self) -> Self {
        let now = SystemTime::now();
        self.valid(now - HOUR, now - Duration::from_secs(60))
    }

    /// Valid in an hour.
    pub fn not_yet_valid(self) -> Self {
        let now = SystemTime::now();
        self.valid(now + HOUR, now + 2 * HOUR)
    }

    /// For servers only.
    pub fn server_only(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// For clients only.
    pub fn client_only(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self
    }

    /// Signs it for a new key.
    pub fn issue(self) -> Issued {
        let key = PrivateKey::generate().expect("a key");
        let pair = KeyPair::from_pem(&key.to_pem()).expect("the key as rcgen reads it");
        let certificate = self.params.signed_by(&pair, &self.ca.issuer).expect("a certificate");
        Issued { chain: vec![certificate.der().to_vec()], key }
    }
}

impl Issued {
    /// As an SVID; only for certificates that are one.
    pub fn svid(self) -> Svid {
        Svid::new(self.chain, self.key).expect("an SVID")
    }

    /// The chain in PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| mesh_mtls::pem::encode("CERTIFICATE", der)).collect()
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().expect("names in certificates are ASCII")
}
