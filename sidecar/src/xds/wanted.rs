//! What this sidecar needs configuration of: services named by `--upstream`, those its traffic asked for, those whose
//! virtual addresses it asked for, and the backends of their routes; and the addresses and hosts traffic asked for. Enters: demand
//! from workers, and when each was last used. Leaves: the sets the session subscribes to. Pure: the time is an argument.

use crate::xds::held::Held;
use crate::xds::recent::Recent;
use crate::xds::session::Wants;
use mesh_names::{HostPattern, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Most services traffic may ask for. A client that tries names at random must not make this process grow: beyond it
/// the oldest name that turned out not to exist makes room, and if there is none the demand is refused.
pub(crate) const DEMANDED_MAX: usize = 10_000;
/// A service no request has used for this long is unsubscribed: ten minutes outlasts most periodic jobs' pauses.
pub(crate) const IDLE: Duration = Duration::from_secs(600);
/// A name that does not exist is forgotten after this long: the next request for it asks again.
pub(crate) const MISSING: Duration = Duration::from_secs(60);

/// Most addresses kept, of which the one used longest ago makes room. An application that walks through networks must not
/// make this process grow; one that calls more of them than this in ten minutes waits for an answer now and then.
pub(crate) const ADDRESSES_MAX: usize = 2_000;

/// Most hosts kept, in the same way. Each is a handful of subscriptions: itself and the domains above it.
pub(crate) const HOSTS_MAX: usize = 500;

/// What became of a demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It was wanted already.
    Already,
    /// It is wanted now.
    New,
    /// There is no room.
    Full,
}

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    pinned: BTreeSet<ServiceName>,
    demanded: BTreeMap<ServiceName, Instant>,
    addresses: Recent<IpAddr>,
    hosts: Recent<Arc<str>>,
}

impl Wanted {
    /// Starts with services that stay for the life of the process.
    pub(crate) fn new(pinned: impl IntoIterator<Item = ServiceName>) -> Self {
        Self {
            pinned: pinned.into_iter().collect(),
            demanded: BTreeMap::new(),
            addresses: Recent::new(ADDRESSES_MAX),
            hosts: Recent::new(HOSTS_MAX),
        }
    }

    /// Traffic needs `service`.
    pub(crate) fn ask(&mut self, service: &ServiceName, now: Instant, held: &Held) -> Asked {
        if let Some(used) = self.demanded.get_mut(service) {
            *used = now;
            return Asked::Already;
        }
        if self.demanded.len() >= DEMANDED_MAX && !self.evict_missing(held) {
            return Asked::Full;
        }
        self.demanded.insert(service.clone(), now);
        if self.pinned.contains(service) { Asked::Already } else { Asked::New }
    }

    /// Traffic needs to know what is at `address`. True if that was not wanted yet.
    pub(crate) fn ask_address(&mut self, address: IpAddr, now: Instant) -> bool {
        self.addresses.ask(&address, now)
    }

    /// Traffic needs to know what `host` is. True if that was not wanted yet.
    pub(crate) fn ask_host(&mut self, host: &Arc<str>, now: Instant) -> bool {
        self.hosts.ask(host, now)
    }

    /// Traffic used what is known of `host` at `when`.
    pub(crate) fn used_host(&mut self, host: &Arc<str>, when: Instant) {
        self.hosts.used(host, when);
    }

    /// Traffic used what is known of `address` at `when`.
    pub(crate) fn used_address(&mut self, address: IpAddr, when: Instant) {
        self.addresses.used(&address, when);
    }

    /// Traffic used `service` at `when`.
    pub(crate) fn used(&mut self, service: &ServiceName, when: Instant) {
        if let Some(used) = self.demanded.get_mut(service) {
            *used = when.max(*used);
        }
    }

    /// Drops what is idle for too long. True if anything was dropped.
    pub(crate) fn expire(&mut self, now: Instant, held: &Held) -> bool {
        let before = self.demanded.len();
        self.demanded.retain(|service, used| {
            let keep = if held.missing.contains_key(service) { MISSING } else { IDLE };
            now.saturating_duration_since(*used) < keep
        });
        self.addresses.expire(IDLE, now) | self.hosts.expire(IDLE, now) | (self.demanded.len() != before)
    }

    /// Everything to subscribe to.
    pub(crate) fn wants(&self, held: &Held) -> Wants {
        Wants {
            services: self.services(held),
            addresses: self.addresses.names().copied().collect(),
            hosts: self.hosts.names().flat_map(|host| HostPattern::candidates(host)).collect(),
        }
    }

    /// The services to subscribe to. A backend's own routes do not apply to traffic another service's route sends there, so
    /// one step is all.
    pub(crate) fn services(&self, held: &Held) -> BTreeSet<ServiceName> {
        let mut all: BTreeSet<_> = self.pinned.iter().chain(self.demanded.keys()).cloned().collect();
        // Whoever asks for a virtual address needs its service next.
        all.extend(self.addresses.names().filter_map(|address| held.service_at(*address)).cloned());
        let asked: Vec<_> = all.iter().filter_map(|name| held.services.get(name)).collect();
        for service in asked {
            let rules = service.resource.value.ports.iter().flat_map(|port| &port.rules);
            let backends = rules.flat_map(|rule| &rule.backends).filter(|backend| backend.invalid.is_none());
            all.extend(backends.map(|backend| backend.service.clone()));
        }
        all
    }

    fn evict_missing(&mut self, held: &Held) -> bool {
        let missing = self.demanded.iter().filter(|(service, _)| held.missing.contains_key(service));
        let oldest = missing.min_by_key(|(_, used)| **used).map(|(service, _)| service.clone());
        oldest.is_some_and(|service| self.demanded.remove(&service).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::decode::Checked;
    use crate::xds::held::Changed;
    use mesh_protocol::address::Address;

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    #[test]
    fn an_idle_service_is_dropped_after_ten_minutes_unless_pinned() {
        let start = Instant::now();
        let held = Held::default();
        let mut wanted = Wanted::new([name("shop/pinned")]);
        assert_eq!(wanted.ask(&name("shop/orders"), start, &held), Asked::New);
        assert_eq!(wanted.ask(&name("shop/orders"), start, &held), Asked::Already);
        assert_eq!(wanted.ask(&name("shop/pinned"), start, &held), Asked::Already);
        assert!(!wanted.expire(start + IDLE - Duration::from_secs(1), &held));
        wanted.used(&name("shop/orders"), start + Duration::from_secs(10));
        wanted.expire(start + IDLE, &held);
        assert!(wanted.services(&held).contains(&name("shop/orders")));
        wanted.expire(start + IDLE + Duration::from_secs(10), &held);
        assert_eq!(wanted.services(&held), [name("shop/pinned")].into());
    }

    #[test]
    fn demand_is_bounded_and_names_that_do_not_exist_make_room() {
        let now = Instant::now();
        let mut held = Held::default();
        let mut wanted = Wanted::new([]);
        for number in 0..DEMANDED_MAX {
            assert_eq!(wanted.ask(&name(&format!("shop/s{number}")), now, &held), Asked::New);
        }
        assert_eq!(wanted.ask(&name("shop/more"), now, &held), Asked::Full);
        held.service_is_missing(&name("shop/s7"), "none".into(), &mut Changed::default());
        assert_eq!(wanted.ask(&name("shop/more"), now, &held), Asked::New);
        assert!(!wanted.services(&held).contains(&name("shop/s7")));
        assert_eq!(wanted.services(&held).len(), DEMANDED_MAX);
    }

    #[test]
    fn the_service_of_a_virtual_address_is_wanted_as_long_as_the_address_is() {
        let (start, mut held, mut wanted) = (Instant::now(), Held::default(), Wanted::new([]));
        let address: IpAddr = "240.240.0.9".parse().unwrap();
        assert!(wanted.ask_address(address, start));
        assert!(!wanted.ask_address(address, start));
        assert_eq!(wanted.wants(&held).addresses, [address].into());
        let known = Address {
            address,
            service: Some(name("shop/orders")),
            endpoints: vec![],
            external_services: vec![],
        };
        held.put("v", Checked::Address(known), &mut Changed::default());
        assert_eq!(wanted.wants(&held).services, [name("shop/orders")].into());
        wanted.used_address(address, start + Duration::from_secs(10));
        assert!(!wanted.expire(start + IDLE, &held));
        assert!(wanted.expire(start + IDLE + Duration::from_secs(10), &held));
        assert_eq!(wanted.wants(&held), Wants::default());
    }

    #[test]
    fn a_host_is_wanted_with_the_domains_above_it() {
        let (start, held, mut wanted) = (Instant::now(), Held::default(), Wanted::new([]));
        assert!(wanted.ask_host(&"api.example.com".into(), start));
        let pattern = |text: &str| text.parse::<HostPattern>().unwrap();
        let expected = ["api.example.com", "*.example.com", "*.com"].map(pattern);
        assert_eq!(wanted.wants(&held).hosts, expected.into());
        wanted.used_host(&"api.example.com".into(), start + Duration::from_secs(10));
        assert!(!wanted.expire(start + IDLE, &held));
        assert!(wanted.expire(start + IDLE + Duration::from_secs(10), &held));
    }

    #[test]
    fn a_missing_name_is_asked_for_again_after_a_minute() {
        let start = Instant::now();
        let mut held = Held::default();
        let mut wanted = Wanted::new([]);
        wanted.ask(&name("shop/ordrs"), start, &held);
        held.service_is_missing(&name("shop/ordrs"), "none".into(), &mut Changed::default());
        assert!(!wanted.expire(start + MISSING - Duration::from_secs(1), &held));
        assert!(wanted.expire(start + MISSING, &held));
        assert!(wanted.services(&held).is_empty());
    }
}
