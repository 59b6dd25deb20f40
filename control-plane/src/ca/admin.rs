//! The admin's way in: a client certificate for the API, in a kubeconfig that `kubectl` and `meshctl` use as it is.

use super::authority::Authority;
use super::sign::{Profile, SignError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mesh_mtls::pem;
use mesh_process::file;
use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The admin's kubeconfig in DATA-DIR.
pub const KUBECONFIG_FILE: &str = "kubeconfig";
/// The admin's name.
pub const ADMIN_NAME: &str = "admin";
/// The group that may do everything, as in Kubernetes.
pub const ADMIN_GROUP: &str = "system:masters";

/// A year, as kubeadm does; every start of the control plane writes a new one.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why there is no kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The admin certificate is not signed.
    #[error("the admin certificate is not signed: {0}")]
    Sign(#[from] SignError),
    /// It can't be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Writes DATA-DIR/kubeconfig (mode 0600) with a new admin certificate for the API at `api`, replacing an older one.
/// Blocks.
///
/// # Errors
/// [`KubeconfigError`].
pub fn write_kubeconfig(
    authority: &Authority,
    data_dir: &Path,
    api: SocketAddr,
    now: SystemTime,
) -> Result<PathBuf, KubeconfigError> {
    let path = data_dir.join(KUBECONFIG_FILE);
    file::write_private(&path, kubeconfig(authority, api, now)?.as_bytes())?;
    Ok(path)
}

fn kubeconfig(authority: &Authority, api: SocketAddr, now: SystemTime) -> Result<String, SignError> {
    let pair = KeyPair::generate()?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, ADMIN_NAME);
    subject.push(DnType::OrganizationName, ADMIN_GROUP);
    let purposes = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let profile = Profile { subject, names: Vec::new(), purposes, lifetime: LIFETIME };
    let signed = authority.issue(&pair, profile, now)?;

    let certificates = |chain: &[Vec<u8>]| -> String {
        let text: String = chain.iter().map(|der| pem::encode("CERTIFICATE", der)).collect();
        STANDARD.encode(text)
    };
    let server = reachable(api);
    let authority = certificates(&authority.trust_bundle());
    let certificate = certificates(&signed.chain);
    let key = STANDARD.encode(pair.serialize_pem());
    // Every value is a constant, an address or base64: nothing needs quoting.
    Ok(format!(
        "# Full rights over the mesh: keep it private. Rewritten when the control plane starts.
apiVersion: v1
kind: Config
clusters:
- name: outrigger
  cluster:
    server: https://{server}
    certificate-authority-data: {authority}
users:
- name: {ADMIN_NAME}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: outrigger
  context:
    cluster: outrigger
    user: {ADMIN_NAME}
    namespace: default
current-context: outrigger
"
    ))
}

/// A listener on all addresses is reached on this machine by loopback.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listener.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_names::TrustDomain;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_kubeconfig_is_private_and_names_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), &TrustDomain::default(), SystemTime::now()).unwrap();
        let api = "0.0.0.0:15443".parse().unwrap();
        let path = write_kubeconfig(&authority, dir.path(), api, SystemTime::now()).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let config: serde_yaml::Value =
            serde_yaml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://127.0.0.1:15443");
        assert_eq!(config["current-context"], config["contexts"][0]["name"]);
        let decoded = |value: &serde_yaml::Value| {
            String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
        };
        let user = &config["users"][0]["user"];
        let (chain, key) = (decoded(&user["client-certificate-data"]), decoded(&user["client-key-data"]));
        mesh_mtls::ClientCertificate::from_pem(&chain, &key).unwrap();
        let authority_data = decoded(&config["clusters"][0]["cluster"]["certificate-authority-data"]);
        assert_eq!(authority_data, std::fs::read_to_string(dir.path().join("ca.crt")).unwrap());
    }

    #[test]
    fn an_ipv6_listener_is_written_in_brackets() {
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("192.0.2.1:1".parse().unwrap()).to_string(), "192.0.2.1:1");
    }
}
