//! Files in PEM. What enters is a path; what leaves is a checked value, or an error that names the file, the problem
//! and the way out. Reads with blocking I/O: at start and on the control thread, never on a data runtime.

use crate::{KeyError, PrivateKey, TrustBundle, TrustBundleError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::{fs, io};

const LINE: usize = 64;

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PemFileError {
    /// It could not be read.
    #[error("{} can't be read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It holds no usable trust bundle.
    #[error("{} is not a trust bundle: {source}; it must hold the mesh's CA certificates in PEM (the control plane writes them to DATA-DIR/ca.crt)", path.display())]
    TrustBundle {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: TrustBundleError,
    },
    /// It holds no certificate.
    #[error("{} holds no certificate in PEM", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// It holds broken PEM.
    #[error("{} is broken PEM: {source}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Where it breaks.
        source: rustls_pki_types::pem::Error,
    },
    /// It holds no usable private key.
    #[error("{} is not a private key: {source}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
}

/// Reads a trust bundle.
///
/// # Errors
/// [`PemFileError`] names the file and the problem.
pub fn read_trust_bundle(path: &Path) -> Result<TrustBundle, PemFileError> {
    TrustBundle::from_pem(&read(path)?)
        .map_err(|source| PemFileError::TrustBundle { path: path.to_owned(), source })
}

/// Reads a certificate chain, leaf first, as DER; at least one.
///
/// # Errors
/// [`PemFileError`] names the file and the problem.
pub fn read_certificates(path: &Path) -> Result<Vec<Vec<u8>>, PemFileError> {
    let chain = certificates(&read(path)?)
        .map_err(|source| PemFileError::Broken { path: path.to_owned(), source })?;
    if chain.is_empty() {
        return Err(PemFileError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

/// Reads a private key.
///
/// # Errors
/// [`PemFileError`] names the file and the problem, never what is in it.
pub fn read_key(path: &Path) -> Result<PrivateKey, PemFileError> {
    PrivateKey::from_pem(&read(path)?).map_err(|source| PemFileError::Key { path: path.to_owned(), source })
}

/// The certificates of a PEM text, as DER; other sections are skipped.
pub(crate) fn certificates(text: &str) -> Result<Vec<Vec<u8>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(text.as_bytes()).map(|der| der.map(|der| der.to_vec())).collect()
}

/// One PEM section (RFC 7468).
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

fn read(path: &Path) -> Result<String, PemFileError> {
    fs::read_to_string(path).map_err(|source| PemFileError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(content: Option<&str>, read: impl Fn(&Path) -> PemFileError) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        read(&path).to_string().replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn errors_name_the_file_and_the_problem() {
        let bundle = |path: &Path| read_trust_bundle(path).unwrap_err();
        assert_eq!(problem(None, bundle), "FILE can't be read: No such file or directory (os error 2)");
        assert!(
            problem(Some("hello"), bundle)
                .starts_with("FILE is not a trust bundle: there is no certificate in it; it must hold")
        );
        let nonsense = encode("CERTIFICATE", b"nonsense");
        assert!(
            problem(Some(&nonsense), bundle).contains("certificate 1 of it is not an X.509 certificate"),
            "{}",
            problem(Some(&nonsense), bundle)
        );
        let key = |path: &Path| read_key(path).unwrap_err();
        assert_eq!(problem(Some(""), key), "FILE is not a private key: there is no private key in it");
        let chain = |path: &Path| read_certificates(path).unwrap_err();
        assert_eq!(problem(Some(""), chain), "FILE holds no certificate in PEM");
    }
}
