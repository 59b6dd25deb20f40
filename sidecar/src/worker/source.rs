//! Who sends what this sidecar carries, and from where. Set once; what is hashed by the source of a request is hashed by it.

use crate::snapshot::OfSource;
use mesh_balance::HashKey;
use mesh_names::{SpiffeId, WorkloadName};
use mesh_protocol::Locality;
use std::net::{IpAddr, SocketAddr};

/// What all that a sidecar sends has in common.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where the workload runs, as far as that is known.
    pub locality: Locality,
    identity: HashKey,
    workload: HashKey,
}

impl Source {
    /// This workload, which runs there.
    pub fn new(workload: &WorkloadName, identity: &SpiffeId, locality: Locality) -> Self {
        let of = |text: String| HashKey::of(text.as_bytes());
        Self { locality, identity: of(identity.to_string()), workload: of(workload.to_string()) }
    }

    /// The key of a request from `client`. On loopback all clients have one address, in every sidecar: there the workload's
    /// name stands for it.
    pub(crate) fn key(&self, of: OfSource, client: IpAddr) -> HashKey {
        match of {
            OfSource::Identity => self.identity,
            OfSource::Address if client.to_canonical().is_loopback() => self.workload,
            OfSource::Address => HashKey::of_address(SocketAddr::new(client, 0)),
        }
    }
}

impl Default for Source {
    /// Nobody, nowhere: for what is never asked.
    fn default() -> Self {
        let nobody = HashKey::of(b"");
        Self { locality: Locality::default(), identity: nobody, workload: nobody }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_its_identity_its_address_or_on_loopback_its_name() {
        let source = |workload: &str, account: &str| {
            let identity = format!("spiffe://mesh.internal/ns/shop/sa/{account}").parse().unwrap();
            let (namespace, name) = workload.split_once('/').unwrap();
            let workload = WorkloadName::new(namespace.parse().unwrap(), name.parse().unwrap());
            Source::new(&workload, &identity, Locality::default())
        };
        let (first, second, other) =
            (source("shop/web-1", "web"), source("shop/web-2", "web"), source("shop/web-1", "cart"));
        let at = |text: &str| text.parse().unwrap();
        let local: IpAddr = at("127.0.0.1");
        assert_eq!(first.key(OfSource::Identity, local), second.key(OfSource::Identity, at("10.0.0.1")));
        assert_ne!(first.key(OfSource::Identity, local), other.key(OfSource::Identity, local));
        let address = |source: &Source, client: &str| source.key(OfSource::Address, at(client));
        assert_ne!(
            address(&first, "127.0.0.1"),
            address(&second, "127.0.0.1"),
            "two instances of one caller"
        );
        for local in ["127.0.0.2", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(address(&first, "127.0.0.1"), address(&first, local), "{local}");
        }
        assert_eq!(address(&first, "10.0.0.1"), address(&second, "::ffff:10.0.0.1"), "one client");
        assert_ne!(address(&first, "10.0.0.1"), address(&first, "10.0.0.2"));
    }
}
