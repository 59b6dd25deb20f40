//! The control plane's own certificate, one for all its listeners: host names and addresses for people and `kubectl`,
//! the control plane's SPIFFE ID for sidecars. Renewed here from half-life, as sidecars renew theirs; running
//! connections go on.

use super::authority::{Authority, timestamp};
use super::sign::{Profile, SVID_LIFETIME, SignError};
use mesh_mtls::{
    Identity, KeyError, PrivateKey, Svid, SvidError, TrustBundle, TrustBundleError, control_plane_id,
};
use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Where Linux tells the host name.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";
/// How often the wall clock is looked at. Timers stand still while a machine is suspended, certificates do not.
const RECHECK: Duration = Duration::from_secs(60);
/// The shortest pause between renewals, when one fails or the CA itself is about to expire.
const RENEWAL_MIN: Duration = Duration::from_secs(60);

/// The host names and addresses by which the control plane is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServingNames {
    hosts: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

/// Why there is no serving certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// The CA did not sign it.
    #[error("the certificate of the control plane's listeners is not signed: {0}")]
    Sign(#[from] SignError),
    /// No key.
    #[error("the key of the control plane's listeners can't be made: {0}")]
    Key(#[from] KeyError),
    /// The new certificate is not usable.
    #[error("the certificate of the control plane's listeners is not usable: {0}")]
    Svid(#[from] SvidError),
    /// The CA's certificates can't be used to verify.
    #[error("the CA certificate can't be used as a trust bundle: {0}")]
    TrustBundle(#[from] TrustBundleError),
}

impl ServingNames {
    /// What the listeners at these addresses are reached by: `localhost`, `127.0.0.1`, `::1`, the addresses themselves
    /// unless they stand for all, and this machine's host name.
    pub fn of_listeners(listeners: &[SocketAddr]) -> Self {
        let mut names = Self::default();
        names.hosts.insert("localhost".to_owned());
        if let Ok(host) = std::fs::read_to_string(HOST_NAME_FILE) {
            names.add(host.trim());
        }
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let own = listeners.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
        names.addresses.extend(loopback.into_iter().chain(own));
        names
    }

    /// Adds a host name or an IP address, such as that of a load balancer. What is neither is left out.
    pub fn add(&mut self, name: &str) {
        let is_host = |name: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            !name.is_empty() && name.len() <= 253 && name.bytes().all(allowed)
        };
        match name.parse() {
            Ok(address) => drop(self.addresses.insert(address)),
            Err(_) if is_host(name) => drop(self.hosts.insert(name.to_ascii_lowercase())),
            Err(_) => {}
        }
    }
}

impl Authority {
    /// Makes a key and a certificate for the control plane's listeners.
    ///
    /// # Errors
    /// [`ServingError`].
    pub fn serving_svid(&self, names: &ServingNames, now: SystemTime) -> Result<Svid, ServingError> {
        let key = PrivateKey::generate()?;
        let pair = KeyPair::from_pem(&key.to_pem()).map_err(SignError::Make)?;
        let id = control_plane_id(self.trust_domain()).to_string().try_into().map_err(SignError::Make)?;
        let mut sans = vec![SanType::URI(id)];
        for host in &names.hosts {
            sans.push(SanType::DnsName(host.as_str().try_into().map_err(SignError::Make)?));
        }
        sans.extend(names.addresses.iter().copied().map(SanType::IpAddress));
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, "Outrigger control plane");
        let purposes = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let profile = Profile { subject, names: sans, purposes, lifetime: SVID_LIFETIME };
        let signed = self.issue(&pair, profile, now)?;
        Ok(Svid::new(signed.chain, key)?)
    }

    /// The identity of the control plane's listeners, with its first certificate in it.
    ///
    /// # Errors
    /// [`ServingError`].
    pub fn serving_identity(&self, names: &ServingNames, now: SystemTime) -> Result<Identity, ServingError> {
        let identity = Identity::new(TrustBundle::from_der(self.trust_bundle().iter().cloned())?);
        identity.set_svid(self.serving_svid(names, now)?);
        Ok(identity)
    }
}

/// Renews the certificate in `identity` at half its life, for ever. Run it as a task; ended by dropping it.
pub async fn keep_renewed(authority: Arc<Authority>, names: ServingNames, identity: Identity) {
    loop {
        let now = SystemTime::now();
        let pause = until_half_life(&identity, now);
        if !pause.is_zero() {
            tokio::time::sleep(pause.min(RECHECK)).await;
            continue;
        }
        match authority.serving_svid(&names, now) {
            Ok(svid) => {
                tracing::info!(until = %timestamp(svid.not_after()), "renewed the certificate of our listeners");
                identity.set_svid(svid);
            }
            Err(error) => tracing::error!(%error, "cannot renew the certificate of our listeners"),
        }
        tokio::time::sleep(RENEWAL_MIN).await;
    }
}

/// Zero when it is time to renew: also when the clock was set back to before the certificate, which nobody takes then.
fn until_half_life(identity: &Identity, now: SystemTime) -> Duration {
    let Some(svid) = identity.svid().filter(|svid| svid.not_before() <= now) else { return Duration::ZERO };
    let life = svid.not_after().duration_since(svid.not_before()).unwrap_or_default();
    (svid.not_before() + life / 2).duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_names::TrustDomain;

    fn authority() -> (tempfile::TempDir, Arc<Authority>) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), &TrustDomain::default(), SystemTime::now()).unwrap();
        (dir, Arc::new(authority))
    }

    #[test]
    fn a_certificate_of_a_clock_that_was_set_back_is_renewed_at_once() {
        let (_dir, authority) = authority();
        let identity = Identity::new(
            mesh_mtls::TrustBundle::from_der(authority.trust_bundle().iter().cloned()).unwrap(),
        );
        let now = SystemTime::now();
        identity.set_svid(authority.serving_svid(&ServingNames::default(), now).unwrap());
        assert!(until_half_life(&identity, now) > Duration::from_secs(3600));
        assert_eq!(until_half_life(&identity, now - Duration::from_secs(3600)), Duration::ZERO);
    }

    #[test]
    fn a_listener_is_reached_by_its_own_address_and_by_those_of_loopback() {
        let listeners = ["10.0.0.7:15443".parse().unwrap(), "0.0.0.0:15012".parse().unwrap()];
        let names = ServingNames::of_listeners(&listeners);
        let addresses: Vec<String> = names.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.7", "127.0.0.1", "::1"]);
        assert!(names.hosts.contains("localhost"));
    }

    #[test]
    fn names_are_added_as_what_they_are() {
        let mut names = ServingNames::default();
        for name in ["Mesh.Example", "192.0.2.1", "", "a b", "*.x"] {
            names.add(name);
        }
        assert_eq!(names.hosts.iter().collect::<Vec<_>>(), ["mesh.example"]);
        assert_eq!(names.addresses.len(), 1);
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_certificate_is_due_at_half_its_life() {
        let (_dir, authority) = authority();
        let now = SystemTime::now();
        let identity = authority.serving_identity(&ServingNames::default(), now).unwrap();
        let left = until_half_life(&identity, now).as_secs_f64() / 3600.0;
        assert!((11.9..12.1).contains(&left), "{left} h");
        assert!(!until_half_life(&identity, now + 11 * HOUR).is_zero());
        assert!(until_half_life(&identity, now + 12 * HOUR).is_zero());
        assert!(until_half_life(&identity, now + 30 * HOUR).is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_that_is_due_is_renewed_at_once() {
        let (_dir, authority) = authority();
        let (names, now) = (ServingNames::of_listeners(&[]), SystemTime::now());
        let identity =
            Identity::new(TrustBundle::from_der(authority.trust_bundle().iter().cloned()).unwrap());
        let old = Profile {
            subject: DistinguishedName::new(),
            names: vec![SanType::URI(
                control_plane_id(authority.trust_domain()).to_string().try_into().unwrap(),
            )],
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth],
            lifetime: Duration::from_secs(30),
        };
        let key = PrivateKey::generate().unwrap();
        let chain = authority.issue(&KeyPair::from_pem(&key.to_pem()).unwrap(), old, now).unwrap().chain;
        identity.set_svid(Svid::new(chain, key).unwrap());
        let mut changes = identity.changed();
        let begin = tokio::time::Instant::now();
        tokio::select! {
            () = keep_renewed(authority, names, identity.clone()) => {}
            () = changes.changed() => {}
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert!(until_half_life(&identity, now) > 11 * HOUR);
    }
}
