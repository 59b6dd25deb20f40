//! A place outside of the mesh as a cluster: its endpoints are the addresses that are written down, or those DNS
//! has for its name.

use super::{Cluster, View};
use crate::connect::{Place, Security};
use crate::refusal::{Reason, Refusal};
use crate::resolve::NameState;
use crate::snapshot::Pinned;
use crate::telemetry::Direction;
use crate::worker::Worker;
use mesh_balance::{HashKey, Health, Member};
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
    /// Where DNS says that this name is.
    Name(Arc<str>),
}

impl Cluster {
    /// Takes over what is known of a place outside.
    pub(super) fn take_over_outside(&self, worker: &Worker, pinned: &Pinned, outside: &Rc<Outside>) -> View {
        let addresses = match &outside.at {
            At::Addresses(addresses) => addresses,
            At::Name(name) => match pinned.resolved.name(name) {
                None => return View::Asked,
                Some(view) => {
                    *self.last_used.borrow_mut() = Some(view.last_used.clone());
                    match &view.state {
                        NameState::Addresses(addresses) => addresses,
                        NameState::Refused(sentence) => {
                            let refusal = Refusal::because(Reason::NameNotResolved, sentence.to_string());
                            return View::Refused(Box::new(refusal));
                        }
                    }
                }
            },
        };
        let mut known = self.addresses.borrow_mut();
        if known.as_ref() != Some(addresses) {
            self.rebuild(worker, outside.places(addresses));
            *known = Some(addresses.clone());
        }
        self.generation.set(pinned.generation);
        View::Ready
    }
}

impl Outside {
    /// Asks for what is not known.
    pub(super) fn ask(&self, worker: &Worker) {
        match &self.at {
            At::Addresses(_) => {}
            At::Name(name) => worker.shared.config.names.ask(name),
        }
    }

    fn places(&self, addresses: &[IpAddr]) -> Vec<(Place, Member)> {
        let place = |address: &IpAddr| {
            let address = SocketAddr::new(*address, self.port.number());
            let security = self.security.clone();
            let place = Place { address, security, direction: Direction::Outbound, caller: None };
            (place, Member::new(Health::Ready, HashKey::of_address(address)))
        };
        addresses.iter().map(place).collect()
    }
}
