//! A place outside of the mesh as a cluster: its endpoints are the addresses that are written down.

use super::{Cluster, View};
use crate::connect::{Place, Security};
use crate::snapshot::Pinned;
use crate::telemetry::Direction;
use crate::worker::Worker;
use mesh_balance::Health;
use mesh_names::Port;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// Rounds of housekeeping, 5 s each, that a cluster outlives its last connection, so that the next one finds pooled
/// connections and what was learned of the addresses.
pub(super) const UNUSED_ROUNDS: u32 = 12;

/// A port of a place outside of the mesh: everything that makes two clusters the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Outside {
    /// `namespace/name` of its ExternalService, or the one word for all that is none.
    pub(crate) name: Arc<str>,
    /// Where it is.
    pub(crate) at: At,
    /// Its port there.
    pub(crate) port: Port,
    /// How connections to it are secured.
    pub(crate) security: Security,
}

/// Where a place is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// At these addresses.
    Addresses(Arc<[IpAddr]>),
}

impl Cluster {
    /// Takes over what is known of a place outside.
    pub(super) fn take_over_outside(&self, worker: &Worker, pinned: &Pinned, outside: &Rc<Outside>) -> View {
        match &outside.at {
            At::Addresses(addresses) => {
                // Another list is another cluster.
                if self.generation.get() == 0 {
                    self.rebuild(worker, outside.places(addresses));
                }
            }
        }
        self.generation.set(pinned.generation);
        View::Ready
    }
}

impl Outside {
    fn places(&self, addresses: &[IpAddr]) -> Vec<(Place, Health)> {
        let place = |address: &IpAddr| {
            let address = SocketAddr::new(*address, self.port.number());
            let place = Place { address, security: self.security.clone(), direction: Direction::Outbound };
            (place, Health::Ready)
        };
        addresses.iter().map(place).collect()
    }
}
