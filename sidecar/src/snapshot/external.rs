//! What connections to hosts outside of the mesh read: the ExternalService a host belongs to.

use super::LastUsed;
use mesh_names::{HostPattern, Namespace, domains_above};
use mesh_protocol::external::{ExternalHost, ExternalService};
use std::collections::HashMap;
use std::sync::Arc;

/// The ExternalServices that name a host or domain, the oldest first; none: nobody names it.
type Named = Arc<[Arc<ExternalService>]>;

/// What is known of hosts, and of the domains above them.
#[derive(Debug, Clone, Default)]
pub struct ExternalHosts {
    hosts: HashMap<Arc<str>, (Named, Arc<LastUsed>)>,
    domains: HashMap<Arc<str>, Named>,
}

/// What a host is.
#[derive(Debug, Clone, Copy)]
pub struct ExternalAnswer<'a> {
    /// The ExternalService it belongs to; nothing: it belongs to none.
    pub service: Option<&'a Arc<ExternalService>>,
    /// When a worker last used the answer.
    pub last_used: &'a Arc<LastUsed>,
}

impl ExternalHosts {
    /// Takes in the ExternalServices that name a host or domain; nothing: there are none.
    pub fn set(&mut self, host: &HostPattern, known: Option<&ExternalHost>) {
        let services = known.iter().flat_map(|known| &known.services).cloned().map(Arc::new);
        let named: Named = services.collect();
        match host.domain() {
            Some(domain) => drop(self.domains.insert(domain.into(), named)),
            None => self.hosts.entry(host.as_str().into()).or_default().0 = named,
        }
    }

    /// Lets go of a host or domain.
    pub fn forget(&mut self, host: &HostPattern) {
        match host.domain() {
            Some(domain) => drop(self.domains.remove(domain)),
            None => drop(self.hosts.remove(host.as_str())),
        }
    }

    /// The hosts that were asked for, and when each was last used.
    pub fn asked(&self) -> impl Iterator<Item = (&Arc<str>, &LastUsed)> {
        self.hosts.iter().map(|(host, (_, last_used))| (host, &**last_used))
    }

    /// What a workload in `namespace` means by `host`. Nothing as long as a narrower answer than those at hand may come.
    pub fn answer(&self, host: &str, namespace: &Namespace) -> Option<ExternalAnswer<'_>> {
        let (named, last_used) = self.hosts.get(host)?;
        let above = domains_above(host).map(|domain| self.domains.get(domain));
        for named in std::iter::once(Some(named)).chain(above) {
            let named = named?;
            let own = named.iter().find(|service| service.name.namespace == *namespace);
            if let Some(service) = own.or_else(|| named.first()) {
                return Some(ExternalAnswer { service: Some(service), last_used });
            }
        }
        Some(ExternalAnswer { service: None, last_used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::external::Resolution;

    fn named(host: &str, services: &[&str]) -> ExternalHost {
        let service = |name: &&str| ExternalService {
            name: name.parse().unwrap(),
            ports: vec![],
            resolution: Resolution::Host,
        };
        ExternalHost { host: host.parse().unwrap(), services: services.iter().map(service).collect() }
    }

    fn set(hosts: &mut ExternalHosts, host: &str, services: &[&str]) {
        let known = named(host, services);
        hosts.set(&known.host, Some(&known).filter(|known| !known.services.is_empty()));
    }

    fn answer(hosts: &ExternalHosts, host: &str, namespace: &str) -> Option<String> {
        let answer = hosts.answer(host, &namespace.parse().unwrap())?;
        Some(answer.service.map_or("none".to_owned(), |service| service.name.to_string()))
    }

    #[test]
    fn the_narrowest_pattern_answers_once_no_narrower_one_can() {
        let mut hosts = ExternalHosts::default();
        let host = "api.example.com";
        assert_eq!(answer(&hosts, host, "shop"), None);
        set(&mut hosts, "*.com", &["shop/all"]);
        set(&mut hosts, host, &[]);
        assert_eq!(answer(&hosts, host, "shop"), None, "the domain between may still be named");
        set(&mut hosts, "*.example.com", &[]);
        assert_eq!(answer(&hosts, host, "shop").as_deref(), Some("shop/all"));
        set(&mut hosts, "*.example.com", &["billing/a", "shop/b"]);
        assert_eq!(answer(&hosts, host, "shop").as_deref(), Some("shop/b"), "its own namespace's");
        assert_eq!(answer(&hosts, host, "tour").as_deref(), Some("billing/a"), "else the oldest");
        set(&mut hosts, host, &["tour/exact"]);
        assert_eq!(answer(&hosts, host, "shop").as_deref(), Some("tour/exact"));
        hosts.forget(&"*.com".parse().unwrap());
        hosts.forget(&host.parse().unwrap());
        assert_eq!(answer(&hosts, host, "shop"), None);
    }

    #[test]
    fn a_host_nobody_names_is_known_to_belong_to_none_and_its_use_is_kept() {
        let mut hosts = ExternalHosts::default();
        for host in ["db.internal", "*.internal"] {
            set(&mut hosts, host, &[]);
        }
        assert_eq!(answer(&hosts, "db.internal", "shop").as_deref(), Some("none"));
        hosts.answer("db.internal", &"shop".parse().unwrap()).unwrap().last_used.touch(7);
        set(&mut hosts, "db.internal", &["shop/db"]);
        let asked: Vec<_> = hosts.asked().map(|(host, used)| (host.to_string(), used.second())).collect();
        assert_eq!(asked, [("db.internal".to_owned(), 7)]);
    }
}
