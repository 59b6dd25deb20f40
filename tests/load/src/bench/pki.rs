//! Certificates for the peers: an authority, and one P-256 certificate per proxy that names a SPIFFE ID, as a mesh's would,
//! and a DNS name for peers that know no other.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of one proxy.
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Both in one.
    pub(super) bundle: PathBuf,
}

/// Files of both proxies and of the authority they trust.
pub(super) struct Pki {
    pub(super) authority: PathBuf,
    pub(super) outbound: Identity,
    pub(super) inbound: Identity,
}

/// Identity of the proxy beside the client.
pub(super) const CLIENT: &str = "spiffe://bench.test/ns/bench/sa/client";
/// Identity of the proxy beside the origin.
pub(super) const ORIGIN: &str = "spiffe://bench.test/ns/bench/sa/origin";

/// DNS name of the proxy beside the client.
const CLIENT_NAME: &str = "client.bench.test";
/// DNS name of the proxy beside the origin.
pub(super) const ORIGIN_NAME: &str = "origin.bench.test";

/// Makes everything anew in `dir`.
pub(super) fn make(dir: &Path) -> Result<Pki> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "bench");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate()?;
    let authority = dir.join("ca.pem");
    fs::write(&authority, params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    Ok(Pki {
        authority,
        outbound: identity(&issuer, dir, CLIENT_NAME, CLIENT)?,
        inbound: identity(&issuer, dir, ORIGIN_NAME, ORIGIN)?,
    })
}

fn identity(issuer: &Issuer<'_, KeyPair>, dir: &Path, name: &str, spiffe_id: &str) -> Result<Identity> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into()?), SanType::DnsName(name.try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let pair = KeyPair::generate()?;
    let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let bundle = dir.join(format!("{name}.bundle.pem"));
    let signed = params.signed_by(&pair, issuer)?.pem();
    fs::write(&certificate, &signed)?;
    fs::write(&key, pair.serialize_pem())?;
    fs::write(&bundle, format!("{signed}{}", pair.serialize_pem()))?;
    Ok(Identity { certificate, key, bundle })
}
