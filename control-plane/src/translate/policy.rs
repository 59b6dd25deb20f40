//! TrafficPolicies by what they are for. What enters is their changes and those of Services; what leaves is the policy in
//! force for a port, as its Service's resource carries it, and a verdict for each target (Gateway API, GEP-713): of
//! several policies for one target the oldest is in force, and one for a port is in force there instead of one for the
//! whole Service.

use super::index::{Dirty, Index, Link, link, replace};
use super::limits;
use super::route::Verdict;
use super::seniority::created;
use manifests::kind::service::{Service, ServicePort};
use manifests::kind::traffic_policy as written;
use manifests::kind::traffic_policy::{Target, TrafficPolicy};
use mesh_names::{Namespace, ServiceName, Subdomain};
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
}

impl Policies {
    /// Takes in a policy as it is now; nothing: it is deleted.
    pub(super) fn set(
        &mut self,
        name: &TrafficPolicyName,
        policy: Option<Arc<TrafficPolicy>>,
        dirty: &mut BTreeSet<Dirty>,
    ) {
        let old = replace(&mut self.by_name, name, policy.clone());
        for (policy, links) in [(&old, Link::Cut), (&policy, Link::Made)] {
            let Some(policy) = policy else { continue };
            let rank = (created(&policy.metadata), name.clone());
            for target in &policy.targets {
                link(&mut self.by_target, target, &rank, links);
                link(&mut self.by_service, &target.service, name, links);
            }
        }
        for target in [old, policy].iter().flatten().flat_map(|policy| &policy.targets) {
            dirty.insert(Dirty::Service(target.service.clone()));
            self.service_changed(&target.service, dirty);
        }
        dirty.insert(Dirty::Policy(name.clone()));
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
        let name = self.first_of_port(&service.name, port).or_else(|| self.first(&service.name, None))?;
        let policy = self.by_name.get(name)?;
        Some(((created(&policy.metadata), name.clone()), &policy.rules))
    }

    /// The Services that a policy is for.
    pub(super) fn services(&self, name: &TrafficPolicyName) -> BTreeSet<ServiceName> {
        let targets = self.by_name.get(name).into_iter().flat_map(|policy| &policy.targets);
        targets.map(|target| target.service.clone()).collect()
    }

    /// The oldest policy for exactly this target.
    fn first(&self, service: &ServiceName, section: Option<&String>) -> Option<&TrafficPolicyName> {
        let target = Target { service: service.clone(), section: section.cloned() };
        self.by_target.get(&target)?.first().map(|(_, name)| name)
    }

    /// The oldest policy for this port alone.
    fn first_of_port(&self, service: &ServiceName, port: &ServicePort) -> Option<&TrafficPolicyName> {
        if port.name.is_empty() { None } else { self.first(service, Some(&port.name)) }
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
    let Some(service) = index.services.get(&target.service) else {
        let Target { service, .. } = target;
        let message = format!(
            "namespace `{}` has no service `{}`; create it, or mend the name",
            service.namespace, service.name
        );
        return no("TargetNotFound", message);
    };
    if let Some(section) = &target.section
        && service.ports.iter().all(|port| port.name != *section)
    {
        let names: Vec<_> = service.ports.iter().map(|port| format!("`{}`", port.name)).collect();
        let message =
            format!("service `{}` has ports named {}; mend `sectionName`", service.name, names.join(", "));
        return no("TargetNotFound", message);
    }
    match index.policies.first(&target.service, target.section.as_ref()) {
        Some(first) if first != name => {
            let message = format!(
                "the older TrafficPolicy `{first}` is for the same target and is in force there; take the target out of \
                 one of both"
            );
            no("Conflicted", message)
        }
        Some(_) | None => {
            Verdict { holds: true, reason: "Accepted", message: in_force(index, target, service) }
        }
    }
}

/// That it is in force, and where not.
fn in_force(index: &Index, target: &Target, service: &Service) -> String {
    let others = service.ports.iter().filter_map(|port| {
        let other = index.policies.first_of_port(&service.name, port).filter(|_| target.section.is_none())?;
        Some(format!("port `{}`, which has `{other}`", port.name))
    });
    let others: Vec<_> = others.collect();
    let except = if others.is_empty() { String::new() } else { format!(", but for {}", others.join(", ")) };
    format!("the policy is in force{except}")
}

fn compile(name: &TrafficPolicyName, rules: &written::Rules) -> resource::TrafficPolicy {
    resource::TrafficPolicy {
        name: name.to_string(),
        load_balancing: rules.load_balancing.as_ref().map(load_balancing),
        locality: rules.locality.map(|it| resource::Locality { overprovisioning: it.overprovisioning }),
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
