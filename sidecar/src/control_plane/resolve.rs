//! A host's addresses. Enters: a name or an address. Leaves: all its addresses in random order. The system's resolver
//! configuration and `/etc/hosts` are read anew for each look-up: it happens once a connection to the control plane, and
//! a laptop or a DHCP client changes its servers while it runs.

use crate::backoff::random;
use crate::bootstrap::Host;
use crate::dial::{Dial, Marked};
use hickory_resolver::config::ResolveHosts;
use std::net::IpAddr;
use std::time::Duration;

/// From the question to its answer, all servers and retries included.
const DEADLINE: Duration = Duration::from_secs(5);

/// Looks names up.
#[derive(Debug)]
pub(super) struct Resolver(Dial);

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The system's resolver configuration can't be used.
    #[error("the system's DNS configuration cannot be used: {0}")]
    Configuration(hickory_resolver::net::NetError),
    /// No DNS server gives an answer.
    #[error("`{name}` cannot be resolved: {source}")]
    Lookup {
        /// The name.
        name: String,
        /// What the resolver said.
        source: hickory_resolver::net::NetError,
    },
    /// There is no such name, or it has no addresses.
    #[error("`{0}` has no address in DNS or /etc/hosts")]
    Empty(String),
    /// No answer in time.
    #[error("`{name}` cannot be resolved: no answer within {} s", DEADLINE.as_secs())]
    Deadline {
        /// The name.
        name: String,
    },
}

impl Resolver {
    /// Asks over sockets opened so.
    pub(super) fn new(dial: Dial) -> Self {
        Self(dial)
    }

    /// All addresses of `host`, in random order; an address stands for itself.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub(super) async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, ResolveError> {
        let name = match host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let mut builder =
            hickory_resolver::Resolver::builder(Marked::new(self.0)).map_err(ResolveError::Configuration)?;
        builder.options_mut().use_hosts_file = ResolveHosts::Always;
        let resolver = builder.build().map_err(ResolveError::Configuration)?;
        let answer = tokio::time::timeout(DEADLINE, resolver.lookup_ip(name.as_str())).await;
        let answer = answer.map_err(|_elapsed| ResolveError::Deadline { name: name.clone() })?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_no_records_found() => return Err(ResolveError::Empty(name.clone())),
            Err(source) => return Err(ResolveError::Lookup { name: name.clone(), source }),
        };
        let mut addresses: Vec<IpAddr> = answer.iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(ResolveError::Empty(name.clone()));
        }
        shuffle(&mut addresses);
        Ok(addresses)
    }
}

/// Puts a short list in random order.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a short list"
)]
pub(super) fn shuffle<T>(list: &mut [T]) {
    for last in (1..list.len()).rev() {
        let other = (random() * (last + 1) as f64) as usize;
        list.swap(last, other.min(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_stands_for_itself_and_localhost_is_in_the_hosts_file() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let resolver = Resolver::new(Dial::default());
        assert_eq!(resolver.resolve(&Host::Address(address)).await.unwrap(), [address]);
        let local = resolver.resolve(&Host::Name("localhost".into())).await.unwrap();
        assert!(local.iter().all(IpAddr::is_loopback) && !local.is_empty());
    }
}
