//! Our own kind TrafficPolicy, `outrigger.dev/v1alpha1`: how requests to a Service are spread over its instances, how they
//! are attempted, how many there may be, and which are made to fail. It is attached as the Gateway API attaches policies
//! (GEP-713, direct attachment): by `targetRefs`, in the target's own namespace; of two policies for the same target the
//! oldest is in force and the other's status says so; one for a port (`sectionName`) is in force there instead of one for the
//! whole Service. They are not merged: what one does not say is the default. One for an HTTPRoute, or for a rule of it, says
//! how its requests are attempted, and no more.
//!
//! What enters is YAML ([`TrafficPolicyManifest`] in `written`); what leaves is a [`TrafficPolicy`] in which every number
//! is in its range. Defaults are not here: what is not said is decided by the sidecar.

mod attempts;
mod faults;
mod health;
mod limits;
mod outliers;
mod written;

pub use attempts::{
    BackoffSpec, Budget, BudgetSpec, GrpcStatus, Hedging, HedgingSpec, RetryOn, RetryPolicy, RetrySpec,
    Timeouts, TimeoutsSpec,
};
pub use faults::{FaultAbortSpec, FaultAnswer, FaultDelaySpec, FaultInjectionSpec, FaultRule, FaultRuleSpec};
pub use health::{Asks, GrpcHealthSpec, HealthCheck, HealthCheckSpec, HttpHealthSpec, TcpHealthSpec};
pub use limits::{
    Adaptive, AdaptiveSpec, CircuitBreaker, CircuitBreakerSpec, Concurrency, ConcurrencySpec, RateLimit,
    RateLimitKey, RateLimitKeySpec, RateLimitKeyType, RateLimitRuleSpec, RateLimitSpec, RateUnit,
};
pub use outliers::{FailurePercentageSpec, LatencySpec, OutlierDetectionSpec, SuccessRateSpec};
pub use written::{
    AncestorRef, BalancingPolicy, HashOnSpec, HashOnType, LeastRequestSpec, LoadBalancingSpec, LocalityMode,
    LocalitySpec, MaglevSpec, PolicyStatus, PolicyTargetStatus, RegionFailoverSpec, RingHashSpec,
    SlowStartSpec, TargetRefSpec, TrafficPolicyManifest, TrafficPolicySpec,
};

use super::Metadata;
use mesh_names::{Namespace, ServiceName, Subdomain};
use std::num::NonZeroU32;
use std::time::Duration;

/// How requests to some Services are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// Its labels, generation and age: of two for the same target, the older one counts.
    pub metadata: Metadata,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
    /// What it is for, each once, never none.
    pub targets: Vec<Target>,
    /// What it says; boxed, since it is much larger than other kinds are.
    pub rules: Box<Rules>,
}

/// What a policy is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Requests to a Service.
    Service {
        /// The Service.
        service: ServiceName,
        /// Only the port with this name; none: every port.
        section: Option<String>,
    },
    /// Requests that fall under an HTTPRoute.
    Route {
        /// Where it lives.
        namespace: Namespace,
        /// Its name there.
        name: Subdomain,
        /// Only the rule with this name; none: every rule.
        section: Option<String>,
    },
}

/// What a policy says. What is `None` is the sidecar's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// How an instance is chosen.
    pub load_balancing: Option<LoadBalancing>,
    /// Instances by where they are.
    pub locality: Option<Locality>,
    /// The ramp of new instances.
    pub slow_start: Option<SlowStart>,
    /// The share of healthy instances below which others are used too, in percent.
    pub panic_threshold: Option<u32>,
    /// Who is left out for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// How instances are asked whether they are well.
    pub health_check: Option<HealthCheck>,
    /// How much a caller has under way at most.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How many requests an instance lets in at once.
    pub concurrency: Option<Concurrency>,
    /// How often an instance lets requests in.
    pub rate_limits: Vec<RateLimit>,
    /// Failures made on purpose: the first that fits a request is for it.
    pub fault_rules: Vec<FaultRule>,
    /// How long requests may take.
    pub timeouts: Option<Timeouts>,
    /// Which failed attempts are made again.
    pub retry: Option<RetryPolicy>,
    /// Second attempts when the first takes long.
    pub hedging: Option<Hedging>,
}

/// Who is left out for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failures of any kind in a row; 0: this detector is off.
    pub consecutive_failures: Option<u32>,
    /// Failures in a row that mean the instance; 0: this detector is off.
    pub consecutive_gateway_failures: Option<u32>,
    /// By success rate, in thousandths of standard deviations. None: off, as the next two.
    pub success_rate: Option<Comparison>,
    /// By the share of failures, in percent.
    pub failure_percentage: Option<Comparison>,
    /// By latency, in percent of the median of the others.
    pub latency: Option<Comparison>,
    /// How much slower than the median of the others, too.
    pub latency_excess: Option<Duration>,
    /// From one comparison to the next.
    pub interval: Option<Duration>,
    /// How long the first time.
    pub base_ejection_time: Option<Duration>,
    /// How long at most.
    pub max_ejection_time: Option<Duration>,
    /// How many together, in percent.
    pub max_ejection_percent: Option<u32>,
}

/// A detector that compares instances with each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Comparison {
    /// From where on an instance is an outlier.
    pub threshold: Option<NonZeroU32>,
    /// Instances with enough requests that it needs.
    pub minimum_hosts: Option<NonZeroU32>,
    /// Requests of an instance in an interval without which it is not judged.
    pub request_volume: Option<NonZeroU32>,
}

/// How an instance is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancing {
    /// The law.
    pub algorithm: Algorithm,
    /// What a request is hashed by: the first that it has. Never empty where the algorithm hashes, else always.
    pub hash_on: Vec<HashOn>,
    /// How much more than its part an instance may have under way, in percent of it; only where the algorithm hashes.
    pub bounded_load: Option<NonZeroU32>,
}

/// The law by which an instance is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Expected latency times load, of two at random.
    PeakEwma,
    /// The fewest requests under way, of some at random.
    LeastRequest {
        /// How many.
        choices: Option<NonZeroU32>,
    },
    /// In turns.
    RoundRobin,
    /// At random.
    Random,
    /// By the request's key, on a ring.
    RingHash {
        /// Least points.
        minimum: Option<NonZeroU32>,
        /// Most points.
        maximum: Option<NonZeroU32>,
    },
    /// By the request's key, in a table.
    Maglev {
        /// Places, a prime number.
        table_size: Option<NonZeroU32>,
    },
}

/// What a request is hashed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The values of a header, its name in lower case.
    Header(String),
    /// The first value of a query parameter.
    QueryParameter(String),
    /// The first value of a cookie.
    Cookie {
        /// Its name.
        name: String,
        /// How clients get one that have none; none: they don't.
        session: Option<Session>,
    },
    /// The caller's SPIFFE ID.
    SourceIdentity,
    /// The client's IP address.
    SourceAddress,
}

/// A cookie that the sidecar gives to clients that have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// For how long; zero: until the browser is closed.
    pub ttl: Duration,
    /// The paths it is for.
    pub path: String,
}

/// Instances by where they are, seen from the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locality {
    /// Which come first, and which at all.
    pub mode: LocalityMode,
    /// The order of other regions, each `from` once; only for `Failover`.
    pub failover: Vec<RegionFailover>,
    /// How much more than its part a level can carry, in percent.
    pub overprovisioning: Option<NonZeroU32>,
    /// How many times as much a nearer instance may cost, in percent.
    pub transfer_cost: Option<NonZeroU32>,
}

/// Where requests go when a region can't carry them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionFailover {
    /// The region of the caller.
    pub from: String,
    /// The regions that come after it, each once and never the same.
    pub to: Vec<String>,
}

/// The ramp of new instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// From the moment an instance is ready until it gets its full share.
    pub window: Duration,
    /// The bend of the ramp in percent; 100 is a straight line.
    pub aggression: Option<NonZeroU32>,
    /// Where it begins, in percent of the full share.
    pub minimum: Option<NonZeroU32>,
}

impl Algorithm {
    /// Whether the request's key decides.
    pub fn hashes(self) -> bool {
        match self {
            Self::PeakEwma | Self::LeastRequest { .. } | Self::RoundRobin | Self::Random => false,
            Self::RingHash { .. } | Self::Maglev { .. } => true,
        }
    }
}
