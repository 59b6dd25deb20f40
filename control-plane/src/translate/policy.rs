//! TrafficPolicies by what they are for. What enters is their changes and those of Services; what leaves is the policy in
//! force for a port, as its Service's resource carries it, and a verdict for each target (Gateway API, GEP-713): of
//! several policies for one target the oldest is in force, and one for a port is in force there instead of one for the
//! whole Service. What those for routes say is put together with the rest in [`super::attempts`].

use super::attempts::{self, Attempts};
use super::index::{Dirty, Index, Link, RouteName, link, replace};
use super::limits;
use super::route::Verdict;
use super::seniority::created;
use manifests::kind::service::{Service, ServicePort};
use manifests::kind::traffic_policy as written;
use manifests::kind::traffic_policy::{Target, TrafficPolicy};
use mesh_names::{Namespace, ServiceName, Subdomain};
use mesh_protocol::health::{Asks, HealthCheck};
use mesh_protocol::policy as resource;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A TrafficPolicy: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficPolicyName {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
}

/// What a policy's status should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStatus {
    /// The policy's generation this is about.
    pub generation: i64,
    /// One for each target.
    pub targets: Vec<(Target, Verdict)>,
}

/// Of those for the same target the least is in force.
pub(super) type Rank = (jiff::Timestamp, TrafficPolicyName);

/// All TrafficPolicies, and what they are for.
#[derive(Debug, Default)]
pub struct Policies {
    by_name: BTreeMap<TrafficPolicyName, Arc<TrafficPolicy>>,
    by_target: BTreeMap<Target, BTreeSet<Rank>>,
    by_service: BTreeMap<ServiceName, BTreeSet<TrafficPolicyName>>,
    by_route: BTreeMap<RouteName, BTreeSet<TrafficPolicyName>>,
}

impl Policies {
    /// Takes in a policy as it is now; nothing: it is deleted. Returned are the routes it is for, or was.
    pub(super) fn set(
        &mut self,
        name: &TrafficPolicyName,
        policy: Option<Arc<TrafficPolicy>>,
        dirty: &mut BTreeSet<Dirty>,
    ) -> BTreeSet<RouteName> {
        let old = replace(&mut self.by_name, name, policy.clone());
        for (policy, links) in [(&old, Link::Cut), (&policy, Link::Made)] {
            let Some(policy) = policy else { continue };
            let rank = (created(&policy.metadata), name.clone());
            for target in &policy.targets {
                link(&mut self.by_target, target, &rank, links);
                match target {
                    Target::Service { service, .. } => link(&mut self.by_service, service, name, links),
                    Target::Route { .. } => {}
                }
                if let Some(route) = route_of(target) {
                    link(&mut self.by_route, &route, name, links);
                }
            }
        }
        let mut routes = BTreeSet::new();
        for target in [old, policy].iter().flatten().flat_map(|policy| &policy.targets) {
            match target {
                Target::Service { service, .. } => {
                    dirty.insert(Dirty::Service(service.clone()));
                    self.service_changed(service, dirty);
                }
                Target::Route { .. } => {}
            }
            if let Some(route) = route_of(target) {
                self.route_changed(&route, dirty);
                routes.insert(route);
            }
        }
        dirty.insert(Dirty::Policy(name.clone()));
        routes
    }

    /// Marks what is said of the policies for a route.
    pub(super) fn route_changed(&self, route: &RouteName, dirty: &mut BTreeSet<Dirty>) {
        let policies = self.by_route.get(route).into_iter().flatten();
        dirty.extend(policies.cloned().map(Dirty::Policy));
    }

    /// Marks what is said of the policies for a Service.
    pub(super) fn service_changed(&self, service: &ServiceName, dirty: &mut BTreeSet<Dirty>) {
        let policies = self.by_service.get(service).into_iter().flatten();
        dirty.extend(policies.cloned().map(Dirty::Policy));
    }

    /// Every status there is to compile.
    pub(super) fn everything(&self) -> impl Iterator<Item = Dirty> {
        self.by_name.keys().cloned().map(Dirty::Policy)
    }

    /// The policy in force for a port, as a resource.
    pub(super) fn compile(&self, service: &Service, port: &ServicePort) -> Option<resource::TrafficPolicy> {
        let ((_, name), rules) = self.in_force(service, port)?;
        Some(compile(&name, rules))
    }

    /// The policy in force for a port, and its place among others.
    pub(super) fn in_force(&self, service: &Service, port: &ServicePort) -> Option<(Rank, &written::Rules)> {
        let name = self.name_of_port(service, port)?;
        let policy = self.by_name.get(name)?;
        Some(((created(&policy.metadata), name.clone()), &policy.rules))
    }

    /// The Services that a policy is for.
    pub(super) fn services(&self, name: &TrafficPolicyName) -> BTreeSet<ServiceName> {
        let targets = self.by_name.get(name).into_iter().flat_map(|policy| &policy.targets);
        let services = targets.filter_map(|target| match target {
            Target::Service { service, .. } => Some(service.clone()),
            Target::Route { .. } => None,
        });
        services.collect()
    }

    /// What the policy in force for a port says.
    pub(super) fn of_port(&self, service: &Service, port: &ServicePort) -> Option<&written::Rules> {
        Some(&self.by_name.get(self.name_of_port(service, port)?)?.rules)
    }

    /// What the policy in force for a route as a whole, or for the rule of it with this name, says.
    pub(super) fn of_route(&self, route: &RouteName, rule: Option<&String>) -> Option<&written::Rules> {
        if self.by_route.is_empty() {
            return None;
        }
        let RouteName { namespace, name } = route.clone();
        let name = self.first(&Target::Route { namespace, name, section: rule.cloned() })?;
        Some(&self.by_name.get(name)?.rules)
    }

    fn name_of_port(&self, service: &Service, port: &ServicePort) -> Option<&TrafficPolicyName> {
        let whole = || Target::Service { service: service.name.clone(), section: None };
        self.first_of_port(&service.name, port).or_else(|| self.first(&whole()))
    }

    /// How instances behind a port are asked whether they are well, by the policy in force there.
    pub(super) fn health_check(&self, service: &Service, port: &ServicePort) -> Option<HealthCheck> {
        let name = self.name_of_port(service, port)?;
        let check = self.by_name.get(name)?.rules.health_check.as_ref()?;
        Some(health_check(name, check))
    }

    /// The oldest policy for exactly this target.
    fn first(&self, target: &Target) -> Option<&TrafficPolicyName> {
        self.by_target.get(target)?.first().map(|(_, name)| name)
    }

    /// The oldest policy for this port alone.
    fn first_of_port(&self, service: &ServiceName, port: &ServicePort) -> Option<&TrafficPolicyName> {
        let section = Some(port.name.clone()).filter(|name| !name.is_empty())?;
        self.first(&Target::Service { service: service.clone(), section: Some(section) })
    }
}

/// The route that a target is, or is part of.
fn route_of(target: &Target) -> Option<RouteName> {
    match target {
        Target::Service { .. } => None,
        Target::Route { namespace, name, .. } => {
            Some(RouteName { namespace: namespace.clone(), name: name.clone() })
        }
    }
}

/// Compiles the status of a policy; nothing if there is none of that name.
pub fn compile_policy_status(index: &Index, name: &TrafficPolicyName) -> Option<PolicyStatus> {
    let policy = index.policies.by_name.get(name)?;
    let targets = policy.targets.iter().map(|target| (target.clone(), judge(index, name, target)));
    Some(PolicyStatus { generation: policy.metadata.generation, targets: targets.collect() })
}

fn judge(index: &Index, name: &TrafficPolicyName, target: &Target) -> Verdict {
    let no = |reason, message| Verdict { holds: false, reason, message };
    let except = match except(index, target) {
        Ok(except) => except,
        Err(message) => return no("TargetNotFound", message),
    };
    match index.policies.first(target) {
        Some(first) if first != name => {
            let message = format!(
                "the older TrafficPolicy `{first}` is for the same target and is in force there; take the target out of \
                 one of both"
            );
            no("Conflicted", message)
        }
        Some(_) | None => {
            let others =
                if except.is_empty() { String::new() } else { format!(", but for {}", except.join(", ")) };
            let message = format!("the policy is in force{others}");
            Verdict { holds: true, reason: "Accepted", message }
        }
    }
}

/// Where at its target a policy is not in force, or fully so, since others are more specific; or what is not there.
fn except(index: &Index, target: &Target) -> Result<Vec<String>, String> {
    match target {
        Target::Service { service: name, section } => {
            let Some(service) = index.services.get(name) else {
                return Err(format!(
                    "namespace `{}` has no service `{}`; create it, or mend the name",
                    name.namespace, name.name
                ));
            };
            let names = service.ports.iter().map(|port| port.name.as_str());
            has(section, names, "service", &name.to_string(), "port")?;
            let others = service.ports.iter().filter(|_| section.is_none()).filter_map(|port| {
                let other = index.policies.first_of_port(&service.name, port)?;
                Some(format!("port `{}`, which has `{other}`", port.name))
            });
            Ok(others.collect())
        }
        Target::Route { namespace, name, section } => {
            let key = RouteName { namespace: namespace.clone(), name: name.clone() };
            let Some(route) = index.routes.get(&key) else {
                return Err(format!(
                    "namespace `{namespace}` has no HTTPRoute `{name}`; create it, or mend the name"
                ));
            };
            let names = route.rules.iter().filter_map(|rule| rule.name.as_deref());
            has(section, names, "HTTPRoute", &key.to_string(), "rule")?;
            let others = route.rules.iter().filter(|_| section.is_none()).filter_map(|rule| {
                let section = Some(rule.name.clone()?);
                let target = Target::Route { namespace: namespace.clone(), name: name.clone(), section };
                let other = index.policies.first(&target)?;
                Some(format!("what `{other}` says of rule `{}`", rule.name.as_deref().unwrap_or_default()))
            });
            Ok(others.collect())
        }
    }
}

/// Whether an object has the part that is named, if one is.
fn has<'a>(
    section: &Option<String>,
    names: impl Iterator<Item = &'a str>,
    kind: &str,
    name: &str,
    part: &str,
) -> Result<(), String> {
    let Some(section) = section else { return Ok(()) };
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if names.contains(&format!("`{section}`")) {
        return Ok(());
    }
    let there = match names.as_slice() {
        [] => format!("no {part} with a name"),
        names => format!("{part}s named {}", names.join(", ")),
    };
    Err(format!("{kind} `{name}` has {there}; mend `sectionName`"))
}

fn compile(name: &TrafficPolicyName, rules: &written::Rules) -> resource::TrafficPolicy {
    let Attempts { timeouts, retry, hedging } = attempts::of_policy(rules);
    resource::TrafficPolicy {
        name: name.to_string(),
        load_balancing: rules.load_balancing.as_ref().map(load_balancing),
        locality: rules.locality.as_ref().map(locality),
        slow_start: rules.slow_start.map(|it| resource::SlowStart {
            window: it.window,
            aggression: it.aggression,
            minimum: it.minimum,
        }),
        // The default is 0.
        panic_threshold: rules.panic_threshold.and_then(NonZeroU32::new),
        outlier_detection: rules.outlier_detection.as_ref().map(outlier_detection),
        circuit_breaker: rules.circuit_breaker.as_ref().map(limits::circuit_breaker),
        fault_rules: rules.fault_rules.iter().map(limits::fault_rule).collect(),
        timeouts,
        retry,
        hedging,
        connect_timeout: rules.timeouts.and_then(|it| it.connect),
        health_check: rules.health_check.as_ref().map(|check| health_check(name, check)),
    }
}

fn health_check(name: &TrafficPolicyName, it: &written::HealthCheck) -> HealthCheck {
    HealthCheck {
        policy: name.to_string(),
        asks: match &it.asks {
            written::Asks::Http { path, host, statuses } => {
                Asks::Http { path: path.clone(), host: host.clone(), statuses: statuses.clone() }
            }
            written::Asks::Grpc { service } => Asks::Grpc { service: service.clone() },
            written::Asks::Tcp => Asks::Tcp,
        },
        interval: it.interval,
        timeout: it.timeout,
        healthy_threshold: it.healthy_threshold,
        unhealthy_threshold: it.unhealthy_threshold,
    }
}

fn locality(it: &written::Locality) -> resource::LocalityRules {
    use resource::LocalityMode as To;
    use written::LocalityMode as From;
    let failover = || {
        let order = it.failover.iter();
        order.map(|it| resource::RegionFailover { from: it.from.clone(), to: it.to.clone() }).collect()
    };
    resource::LocalityRules {
        mode: match it.mode {
            From::PreferSameZone => To::PreferSameZone,
            From::Failover => To::Failover(failover()),
            From::SameZoneOnly => To::SameZoneOnly,
            From::SameRegionOnly => To::SameRegionOnly,
        },
        overprovisioning: it.overprovisioning,
        transfer_cost: it.transfer_cost,
    }
}

fn load_balancing(it: &written::LoadBalancing) -> resource::LoadBalancing {
    use resource::Algorithm as To;
    use written::Algorithm as From;
    let algorithm = match it.algorithm {
        From::PeakEwma => To::PeakEwma,
        From::LeastRequest { choices } => To::LeastRequest { choices },
        From::RoundRobin => To::RoundRobin,
        From::Random => To::Random,
        From::RingHash { minimum, maximum } => To::RingHash { least: minimum, most: maximum },
        From::Maglev { table_size } => To::Maglev { table_size },
    };
    let hash_on = it.hash_on.iter().map(|source| match source {
        written::HashOn::Header(name) => resource::HashSource::Header(name.clone()),
        written::HashOn::QueryParameter(name) => resource::HashSource::QueryParameter(name.clone()),
        written::HashOn::Cookie { name, session } => resource::HashSource::Cookie {
            name: name.clone(),
            session: session.as_ref().map(|it| resource::Session { ttl: it.ttl, path: it.path.clone() }),
        },
        written::HashOn::SourceIdentity => resource::HashSource::Identity,
        written::HashOn::SourceAddress => resource::HashSource::Address,
    });
    resource::LoadBalancing { algorithm, hash_on: hash_on.collect(), load_bound: it.bounded_load }
}

fn outlier_detection(it: &written::OutlierDetection) -> resource::OutlierDetection {
    let comparison = |it: Option<written::Comparison>| {
        it.map(|it| resource::Comparison {
            threshold: it.threshold,
            peers: it.minimum_hosts,
            requests: it.request_volume,
        })
    };
    resource::OutlierDetection {
        failures: it.consecutive_failures,
        gateway_failures: it.consecutive_gateway_failures,
        success_rate: comparison(it.success_rate),
        failure_share: comparison(it.failure_percentage),
        latency: comparison(it.latency),
        latency_excess: it.latency_excess,
        shortest: it.base_ejection_time,
        longest: it.max_ejection_time,
        ejected_share: it.max_ejection_percent,
        interval: it.interval,
    }
}

impl fmt::Display for TrafficPolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
