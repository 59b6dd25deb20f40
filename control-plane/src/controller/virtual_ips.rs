//! Which virtual addresses Services have. Pure: Services as they are stored enter, with the time; what each of them
//! should have leaves. [`super::writer`] stores it in `spec.clusterIP` and `spec.clusterIPs`, where `kubectl get
//! services` looks, where `kubectl apply` of the same manifest does not touch it, and from where it is read back after
//! a restart: the store is the only memory.
//!
//! A Service gets one number, and with it a pair: `240.240.x.y` and `fd6f:7574:7269::xy`. The search for a free number
//! begins at a hash of the Service's name, so that a Service deleted and made again finds its old addresses, and so that
//! two control planes with the same manifests give the same ones. What a Service has is never taken from it.
//!
//! ```text
//! no address ──assign──> held ──deleted or made headless──> resting, for the same name only ──an hour──> free
//! ```
//!
//! Addresses written by hand, also of other networks, are kept as they are. Two Services that name the same address: the
//! older one has it, and the other hears of it in its status.

use crate::translate::{Seniority, Verdict, virtual_networks, virtual_pair};
use manifests::kind::service::Service;
use mesh_names::ServiceName;
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How many pairs there are: all of the last 16 bits but the first and the last, which some take for the network's own.
const PAIRS: u16 = u16::MAX - 1;
/// How long addresses of a deleted Service are kept from others: connections and resolvers' caches outlive a Service by
/// minutes, badly written ones by an hour.
const REST: Duration = Duration::from_secs(3600);

/// What a Service should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// All its virtual addresses, the first one for `clusterIP`.
    pub addresses: Vec<IpAddr>,
    /// Whether they are its own, and why not.
    pub verdict: Verdict,
}

/// Who has which addresses. One owner: the index.
#[derive(Debug, Default)]
pub struct Allocator {
    held: BTreeMap<ServiceName, Held>,
    /// Who names an address; the first one has it.
    holders: BTreeMap<IpAddr, BTreeSet<Seniority>>,
    resting: BTreeMap<IpAddr, Rest>,
    /// The ends of rests, in order.
    ends: VecDeque<(Instant, IpAddr)>,
    /// Services for which there was no address.
    unserved: BTreeSet<ServiceName>,
    /// The last search found nothing, and nothing has come free since: another would look at every number for nothing.
    is_full: bool,
    /// Services to be judged again, since an address of theirs came free.
    again: BTreeSet<ServiceName>,
}

#[derive(Debug)]
struct Held {
    rank: Seniority,
    /// As the store says.
    stored: Vec<IpAddr>,
    /// Those, and what it was given and is not stored yet.
    addresses: Vec<IpAddr>,
    /// The store is known to say this, and that all is well.
    is_settled: bool,
}

#[derive(Debug)]
struct Rest {
    name: ServiceName,
    until: Instant,
}

impl Allocator {
    /// Takes in a Service as it is stored now; nothing: it is deleted.
    pub fn observe(&mut self, name: &ServiceName, service: Option<&Service>, now: Instant) {
        self.end_rests(now);
        let Some(service) = service.filter(|service| !service.is_headless) else {
            self.unserved.remove(name);
            if let Some(gone) = self.held.remove(name) {
                self.drop_addresses(&gone.rank, &gone.addresses, now);
            }
            return;
        };
        let rank = Seniority::of(service);
        let mut next = service.cluster_ips.clone();
        let mut is_settled = false;
        if let Some(before) = self.held.remove(name) {
            is_settled = before.is_settled && before.stored == service.cluster_ips;
            // Given and not stored yet, or taken out by hand: it has them all the same.
            for address in &before.addresses {
                if next.iter().all(|other| other.is_ipv4() != address.is_ipv4()) {
                    next.push(*address);
                }
            }
            let (kept, gone): (Vec<_>, Vec<_>) =
                before.addresses.iter().copied().partition(|address| next.contains(address));
            self.drop_addresses(&before.rank, &gone, now);
            for address in kept.into_iter().filter(|_| before.rank != rank) {
                self.holders.entry(address).or_default().remove(&before.rank);
            }
        }
        for address in &next {
            self.hold(&rank, *address);
        }
        let stored = service.cluster_ips.clone();
        self.held.insert(name.clone(), Held { rank, stored, addresses: next, is_settled });
    }

    /// What these Services should have, where the store may say something else; others too whose case has changed.
    /// Call it when all that is stored has been observed, else an address that is stored may be given a second time.
    pub fn assign(
        &mut self,
        names: impl IntoIterator<Item = ServiceName>,
        now: Instant,
    ) -> Vec<(ServiceName, Assignment)> {
        let mut names: BTreeSet<ServiceName> = names.into_iter().collect();
        names.append(&mut self.again);
        names.into_iter().filter_map(|name| Some((name.clone(), self.assign_one(&name, now)?))).collect()
    }

    fn assign_one(&mut self, name: &ServiceName, now: Instant) -> Option<Assignment> {
        let held = self.held.get(name)?;
        let has = |is_ipv4: bool| held.addresses.iter().any(|address| address.is_ipv4() == is_ipv4);
        let wants = |address: &IpAddr| !has(address.is_ipv4());
        let mut is_exhausted = false;
        let mut given = Vec::new();
        if !(has(true) && has(false)) {
            let found = if self.is_full { None } else { self.find(name, wants, now) };
            match found {
                Some(number) => {
                    given.extend(virtual_pair(number).into_iter().filter(|address| wants(address)))
                }
                None => is_exhausted = true,
            }
        }
        let rank = held.rank.clone();
        for address in &given {
            self.hold(&rank, *address);
        }
        if is_exhausted {
            self.is_full = true;
            self.unserved.insert(name.clone());
        } else {
            self.unserved.remove(name);
        }
        let held = self.held.get_mut(name)?;
        held.addresses.append(&mut given);
        let (addresses, is_settled) = (held.addresses.clone(), held.is_settled);
        let verdict = if is_exhausted { exhausted() } else { self.judge(&rank, &addresses) };
        let held = self.held.get_mut(name)?;
        held.is_settled = verdict.holds && held.stored == held.addresses;
        let is_news = !(is_settled && held.is_settled);
        is_news.then_some(Assignment { addresses, verdict })
    }

    /// A number whose addresses, as far as they are wanted, nobody has. When there is none but those at rest, one of them:
    /// a living Service counts more.
    fn find(&self, name: &ServiceName, wants: impl Fn(&IpAddr) -> bool, now: Instant) -> Option<u16> {
        let start = hash(name) % u64::from(PAIRS);
        let numbers = || {
            (0..u64::from(PAIRS))
                .filter_map(move |step| u16::try_from((start + step) % u64::from(PAIRS) + 1).ok())
        };
        let is_rested = |address: &IpAddr| {
            self.resting.get(address).is_none_or(|rest| rest.name == *name || rest.until <= now)
        };
        let fits = |number: &u16, fits: &dyn Fn(&IpAddr) -> bool| {
            virtual_pair(*number).iter().filter(|address| wants(address)).all(fits)
        };
        numbers()
            .find(|number| fits(number, &|address| !self.holders.contains_key(address) && is_rested(address)))
            .or_else(|| numbers().find(|number| fits(number, &|it| !self.holders.contains_key(it))))
    }

    fn judge(&self, rank: &Seniority, addresses: &[IpAddr]) -> Verdict {
        let owner = |address: &IpAddr| self.holders.get(address).and_then(BTreeSet::first);
        let taken = addresses.iter().find_map(|it| Some((it, owner(it).filter(|owner| *owner != rank)?)));
        match taken {
            None => Verdict { holds: true, reason: "Assigned", message: "its addresses are its own".into() },
            Some((address, owner)) => Verdict {
                holds: false,
                reason: "AddressTaken",
                message: format!(
                    "{address} belongs to the older service `{}`; take `clusterIP` and `clusterIPs` away, and this \
                     service is given addresses of its own",
                    owner.name()
                ),
            },
        }
    }

    fn hold(&mut self, rank: &Seniority, address: IpAddr) {
        self.resting.remove(&address);
        let holders = self.holders.entry(address).or_default();
        if holders.insert(rank.clone()) {
            self.again.extend(holders.iter().filter(|it| *it != rank).map(|it| it.name().clone()));
        }
    }

    fn drop_addresses(&mut self, rank: &Seniority, addresses: &[IpAddr], now: Instant) {
        for address in addresses {
            let Some(holders) = self.holders.get_mut(address) else { continue };
            holders.remove(rank);
            self.again.extend(holders.iter().map(|it| it.name().clone()));
            if holders.is_empty() {
                self.holders.remove(address);
                self.is_full = false;
                if virtual_networks().any(|network| network.contains(*address)) {
                    let until = now + REST;
                    self.resting.insert(*address, Rest { name: rank.name().clone(), until });
                    self.ends.push_back((until, *address));
                }
            }
            self.again.extend(self.unserved.iter().cloned());
        }
    }

    fn end_rests(&mut self, now: Instant) {
        while let Some((until, address)) = self.ends.front().copied().filter(|(until, _)| *until <= now) {
            self.ends.pop_front();
            if self.resting.get(&address).is_some_and(|rest| rest.until == until) {
                self.resting.remove(&address);
            }
        }
    }
}

fn exhausted() -> Verdict {
    let message = format!(
        "all {PAIRS} virtual addresses are in use; delete services that nobody needs, or write `clusterIP: None` for \
         those that are reached without one"
    );
    Verdict { holds: false, reason: "Exhausted", message }
}

/// Never to change: the addresses of Services made again depend on it.
fn hash(name: &ServiceName) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(name.to_string().as_bytes());
    hasher.finish()
}

#[cfg(test)]
#[path = "virtual_ips_tests.rs"]
mod tests;
