//! The CA's key and certificate in DATA-DIR. What enters: two files, or none; what leaves: an [`Authority`] that can
//! sign, or an error that says which file is wrong and how to mend it.
//!
//! On the first start a P-256 root for ten years is made. To plug in an intermediate of your own PKI, place its key as
//! `ca.key` and, as `ca.crt`, its certificate first, then those above it up to the root.
//!
//! The first certificate in `ca.crt` signs, every root in it is trusted. So roots are rotated in three steps, with a day
//! or more between them, and no connection is refused: (1) append the new root's certificate, which is noticed as it is
//! written; (2) when every sidecar trusts both, put the new certificate first and its key in `ca.key`, and restart;
//! (3) when every certificate has been renewed, remove the old root's, which is noticed too.

use mesh_mtls::pem::{self, PemFileError};
use mesh_names::TrustDomain;
use mesh_process::file;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::random::{self, NoRandomness};

/// The CA's private key in DATA-DIR.
pub const KEY_FILE: &str = "ca.key";
/// The CA's certificate, which is the trust bundle sidecars are started with, in DATA-DIR.
pub const CERTIFICATE_FILE: &str = "ca.crt";

/// Ten years: long enough that nobody is surprised by it, and rotation is there for the rest.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Clocks of other machines may be this far behind.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What signs every identity of one trust domain.
pub struct Authority {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// What goes between a leaf and the trust bundle; empty for a root.
    pub(crate) intermediates: Vec<Vec<u8>>,
    /// Replaced when the file changes; held for a copy of the pointer.
    trust_bundle: RwLock<Arc<[Vec<u8>]>>,
}

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file can't be read or holds no PEM of the right kind.
    #[error(transparent)]
    File(#[from] PemFileError),
    /// A file can't be read or written.
    #[error("{0}")]
    Io(io::Error),
    /// The certificate is there, its key is not.
    #[error(
        "{} exists but {} does not: restore the key from a backup, or remove both to begin a new trust (every sidecar then needs the new {CERTIFICATE_FILE})",
        certificate.display(), key.display()
    )]
    KeyMissing {
        /// The file that is there.
        certificate: PathBuf,
        /// The file that is not.
        key: PathBuf,
    },
    /// The key is of no kind that signs certificates.
    #[error("{} is not a private key that can sign certificates: {source}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What the reader said.
        source: rcgen::Error,
    },
    /// The first certificate is not the key's.
    #[error(
        "{} is not the key of the first certificate in {}: put the issuing certificate first, or restore the key that belongs to it",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A certificate that can't be read.
    #[error("certificate {number} in {} is not an X.509 certificate", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Which certificate in it, from 1.
        number: usize,
    },
    /// The first certificate may not sign others.
    #[error("the first certificate in {} is not a CA: it must have the basic constraint CA and the key usage keyCertSign", path.display())]
    NotACa {
        /// Which file.
        path: PathBuf,
    },
    /// The first certificate is not valid now.
    #[error("the first certificate in {} is valid from {not_before} to {not_after}, which is not now: replace it, or set the clock", path.display())]
    NotInForce {
        /// Which file.
        path: PathBuf,
        /// From when.
        not_before: jiff::Timestamp,
        /// Until when.
        not_after: jiff::Timestamp,
    },
    /// The CA was made for another trust domain.
    #[error("{} is the CA of the trust domain {found}, not {wanted}: start with --trust-domain {found}, or with another --data-dir", path.display())]
    OtherTrustDomain {
        /// Which file.
        path: PathBuf,
        /// The certificate's.
        found: String,
        /// The one asked for.
        wanted: TrustDomain,
    },
    /// A new CA can't be made.
    #[error("a new CA can't be made")]
    Make(#[source] rcgen::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

impl Authority {
    /// Opens the CA in `data_dir`, or makes one if there is none yet. Blocks.
    ///
    /// # Errors
    /// [`AuthorityError`] names the file, the problem and the way out.
    pub fn open(
        data_dir: &Path,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let (key, certificate) = (data_dir.join(KEY_FILE), data_dir.join(CERTIFICATE_FILE));
        match (key.exists(), certificate.exists()) {
            (false, true) => return Err(AuthorityError::KeyMissing { certificate, key }),
            (false, false) => {
                let pair = KeyPair::generate().map_err(AuthorityError::Make)?;
                file::write_private(&key, pair.serialize_pem().as_bytes()).map_err(AuthorityError::Io)?;
                write_root(&pair, &certificate, trust_domain, now)?;
            }
            // Killed between the two writes of a first start: nothing has been signed with this key.
            (true, false) => write_root(&read_key(&key)?, &certificate, trust_domain, now)?,
            (true, true) => {}
        }
        Self::load(&key, &certificate, trust_domain, now)
    }

    fn load(
        key: &Path,
        path: &Path,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let pair = read_key(key)?;
        let chain = pem::read_certificates(path)?;
        let mut read = Vec::with_capacity(chain.len());
        for (index, der) in chain.iter().enumerate() {
            let (_, certificate) = X509Certificate::from_der(der)
                .map_err(|_| AuthorityError::Unreadable { path: path.to_owned(), number: index + 1 })?;
            read.push((certificate, der));
        }
        let Some(((issuing, issuing_der), _)) = read.split_first() else {
            return Err(PemFileError::NoCertificate { path: path.to_owned() }.into());
        };
        if issuing.public_key().raw != pair.subject_public_key_info() {
            return Err(AuthorityError::Mismatch { key: key.to_owned(), certificate: path.to_owned() });
        }
        let (not_before, not_after) = check(issuing, path, trust_domain, now)?;
        let issuer = Issuer::from_ca_cert_der(&(*issuing_der).clone().into(), pair)
            .map_err(|_| AuthorityError::Unreadable { path: path.to_owned(), number: 1 })?;

        let is_root = |certificate: &X509Certificate<'_>| certificate.subject() == certificate.issuer();
        let pick = |wanted: bool| {
            read.iter()
                .filter(move |(certificate, _)| is_root(certificate) == wanted)
                .map(|(_, der)| (*der).clone())
        };
        let mut trust_bundle: Vec<_> = pick(true).collect();
        if trust_bundle.is_empty() {
            // An intermediate without its root is trusted itself.
            trust_bundle.push((*issuing_der).clone());
        }
        let intermediates = if is_root(issuing) { Vec::new() } else { pick(false).collect() };
        let trust_domain = trust_domain.clone();
        let trust_bundle = RwLock::new(trust_bundle.into());
        Ok(Self { trust_domain, issuer, not_before, not_after, intermediates, trust_bundle })
    }

    /// The trust domain whose identities it signs.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Until when it can sign. Nothing it signs is valid for longer.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The SHA-256 of each CA certificate to trust, in hex.
    pub fn fingerprints(&self) -> Vec<String> {
        self.trust_bundle().iter().map(|der| fingerprint(der)).collect()
    }

    /// The CA certificates to trust, in DER; never none.
    pub fn trust_bundle(&self) -> Arc<[Vec<u8>]> {
        Arc::clone(&self.trust_bundle.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the roots to trust anew. What signs stays what it was until a restart. Returns whether they changed. Blocks.
    ///
    /// # Errors
    /// As for [`Authority::open`]; the roots stay as they were.
    pub fn reread_roots(&self, data_dir: &Path, now: SystemTime) -> Result<bool, AuthorityError> {
        let (key, certificate) = (data_dir.join(KEY_FILE), data_dir.join(CERTIFICATE_FILE));
        let read = Self::load(&key, &certificate, &self.trust_domain, now)?.trust_bundle();
        if read == self.trust_bundle() {
            return Ok(false);
        }
        *self.trust_bundle.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(true)
    }
}

/// The SHA-256 of some bytes, in hex.
pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The issuing certificate is a CA, in force, and of this trust domain; from when until when.
fn check(
    certificate: &X509Certificate<'_>,
    path: &Path,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<(SystemTime, SystemTime), AuthorityError> {
    let signs = certificate.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
    if !certificate.is_ca() || !signs {
        return Err(AuthorityError::NotACa { path: path.to_owned() });
    }
    let moment = |time: x509_parser::time::ASN1Time| {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
    };
    let validity = certificate.validity();
    let (not_before, not_after) = (moment(validity.not_before), moment(validity.not_after));
    if now < not_before || now >= not_after {
        return Err(AuthorityError::NotInForce {
            path: path.to_owned(),
            not_before: timestamp(not_before),
            not_after: timestamp(not_after),
        });
    }
    let names = certificate.subject_alternative_name().ok().flatten();
    let domains = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("spiffe://"),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::DNSName(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    });
    let found: Vec<&str> = domains.map(|domain| domain.split('/').next().unwrap_or_default()).collect();
    match found.first() {
        Some(first) if !found.contains(&trust_domain.as_str()) => Err(AuthorityError::OtherTrustDomain {
            path: path.to_owned(),
            found: (*first).to_owned(),
            wanted: trust_domain.clone(),
        }),
        _ => Ok((not_before, not_after)),
    }
}

/// A point in time as people read it; the epoch when it is beyond what can be written.
pub(crate) fn timestamp(time: SystemTime) -> jiff::Timestamp {
    jiff::Timestamp::try_from(time).unwrap_or_default()
}

fn read_key(path: &Path) -> Result<KeyPair, AuthorityError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| PemFileError::Read { path: path.to_owned(), source })?;
    KeyPair::from_pem(&text).map_err(|source| AuthorityError::Key { path: path.to_owned(), source })
}

fn write_root(
    pair: &KeyPair,
    path: &Path,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<(), AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Outrigger root CA");
    // X509-SVID §3: a signing certificate has its trust domain as SPIFFE ID, without a path.
    let id = format!("spiffe://{trust_domain}").try_into().map_err(AuthorityError::Make)?;
    params.subject_alt_names = vec![SanType::URI(id)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&random::bytes::<16>()?));
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + LIFETIME).into();
    let certificate = params.self_signed(pair).map_err(AuthorityError::Make)?;
    file::write_public(path, certificate.pem().as_bytes()).map_err(AuthorityError::Io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn open(dir: &Path) -> Result<Authority, AuthorityError> {
        Authority::open(dir, &TrustDomain::default(), SystemTime::now())
    }

    fn problem(dir: &Path) -> String {
        open(dir).unwrap_err().to_string().replace(&dir.display().to_string(), "DIR")
    }

    #[test]
    fn the_first_start_makes_a_ca_and_the_second_reuses_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap();
        let second = open(dir.path()).unwrap();
        assert_eq!(first.trust_bundle(), second.trust_bundle());
        let years =
            second.not_after().duration_since(SystemTime::now()).unwrap().as_secs() / (365 * 24 * 3600);
        assert_eq!(years, 9);
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(KEY_FILE), mode(CERTIFICATE_FILE)), (0o600, 0o644));
    }

    #[test]
    fn a_first_start_that_was_cut_short_is_finished_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        let key = fs::read(dir.path().join(KEY_FILE)).unwrap();
        fs::remove_file(dir.path().join(CERTIFICATE_FILE)).unwrap();
        open(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap(), key);
    }

    #[test]
    fn files_that_are_no_ca_are_refused_with_the_way_out() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        open(dir.path()).unwrap();
        open(other.path()).unwrap();
        let key = dir.path().join(KEY_FILE);

        fs::remove_file(&key).unwrap();
        assert!(
            problem(dir.path()).starts_with("DIR/ca.crt exists but DIR/ca.key does not: restore the key")
        );

        fs::copy(other.path().join(KEY_FILE), &key).unwrap();
        assert!(
            problem(dir.path())
                .starts_with("DIR/ca.key is not the key of the first certificate in DIR/ca.crt")
        );

        fs::write(&key, "hello").unwrap();
        assert!(
            problem(dir.path()).starts_with("DIR/ca.key is not a private key that can sign certificates")
        );

        fs::write(dir.path().join(CERTIFICATE_FILE), "hello").unwrap();
        fs::copy(other.path().join(KEY_FILE), &key).unwrap();
        assert_eq!(problem(dir.path()), "DIR/ca.crt holds no certificate in PEM");
    }

    fn place(dir: &Path, params: &CertificateParams) {
        let pair = KeyPair::generate().unwrap();
        fs::write(dir.join(KEY_FILE), pair.serialize_pem()).unwrap();
        fs::write(dir.join(CERTIFICATE_FILE), params.self_signed(&pair).unwrap().pem()).unwrap();
    }

    #[test]
    fn a_certificate_that_may_not_sign_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        place(dir.path(), &CertificateParams::default());
        assert!(problem(dir.path()).starts_with("the first certificate in DIR/ca.crt is not a CA"));
    }

    #[test]
    fn an_expired_ca_is_refused_with_its_dates() {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        place(dir.path(), &params);
        assert!(
            problem(dir.path())
                .contains("is valid from 2020-01-01T00:00:00Z to 2021-01-01T00:00:00Z, which is not now")
        );
    }

    #[test]
    fn the_ca_of_another_trust_domain_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        let wanted = "other.example".parse().unwrap();
        let error = Authority::open(dir.path(), &wanted, SystemTime::now()).unwrap_err().to_string();
        assert!(error.contains("is the CA of the trust domain mesh.internal, not other.example"), "{error}");
    }
}
