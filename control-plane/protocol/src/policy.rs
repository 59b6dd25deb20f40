//! How requests to a port are spread over its endpoints, as a TrafficPolicy says it. What it does not say is `None`: the
//! defaults are the sidecar's alone, and so are the ranges, which it checks when it compiles the Service; what it can't
//! use it refuses by name.

use crate::attempts::{Hedging, RetryPolicy, Timeouts};
use crate::error::DecodeError;
use crate::health::HealthCheck;
use crate::limits::{CircuitBreaker, FaultRule};
use crate::service::{duration, millis};
use crate::wire::v1 as wire;
use std::num::NonZeroU32;
use std::time::Duration;

/// What a TrafficPolicy says of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// The object, `namespace/name`, for people.
    pub name: String,
    /// How an endpoint is chosen.
    pub load_balancing: Option<LoadBalancing>,
    /// Endpoints by where they are; none: that does not matter.
    pub locality: Option<LocalityRules>,
    /// The ramp of new endpoints.
    pub slow_start: Option<SlowStart>,
    /// The share of healthy endpoints below which others are used too, in percent.
    pub panic_threshold: Option<NonZeroU32>,
    /// Who is left out for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// How much is under way at most; none: no limit.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Failures made on purpose: the first that fits a request is for it.
    pub fault_rules: Vec<FaultRule>,
    /// How long requests may take that no rule is for.
    pub timeouts: Timeouts,
    /// Their retries; none: those that are always safe.
    pub retry: Option<RetryPolicy>,
    /// Their second attempts; none: there are none.
    pub hedging: Option<Hedging>,
    /// How long an attempt waits for a connection to an endpoint.
    pub connect_timeout: Option<Duration>,
    /// How callers ask endpoints without a sidecar whether they are well; none: they don't. Others are asked by their own
    /// sidecars, whose [`Workload`](crate::workload::Workload) says how.
    pub health_check: Option<HealthCheck>,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancing {
    /// The law.
    pub algorithm: Algorithm,
    /// What a request's key is: the first of these that it has. Only where the law hashes.
    pub hash_on: Vec<HashSource>,
    /// How much more than its part an endpoint may have under way, in percent of it; none: any. Only where the law hashes.
    pub load_bound: Option<NonZeroU32>,
}

/// The law by which an endpoint is chosen.
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
        least: Option<NonZeroU32>,
        /// Most points.
        most: Option<NonZeroU32>,
    },
    /// By the request's key, in a table.
    Maglev {
        /// Places, a prime number.
        table_size: Option<NonZeroU32>,
    },
}

/// Where a request's key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashSource {
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
    /// The SPIFFE ID of the workload that calls.
    Identity,
    /// The address of the client; on loopback the workload's name stands for it.
    Address,
}

/// A cookie that the sidecar gives to clients that have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// For how long, in whole seconds; zero: until the browser is closed.
    pub ttl: Duration,
    /// The paths it is for.
    pub path: String,
}

/// Endpoints by where they are, seen from the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalityRules {
    /// Which come first, and which at all.
    pub mode: LocalityMode,
    /// How much more than its part a level can carry, in percent.
    pub overprovisioning: Option<NonZeroU32>,
    /// How many times as much a nearer endpoint may cost as one of the next level, in percent; none: however much.
    pub transfer_cost: Option<NonZeroU32>,
}

/// Which endpoints come first, and which at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalityMode {
    /// Those in the caller's zone, then all others alike.
    PreferSameZone,
    /// The nearest; other regions in this order, where one is given for the caller's.
    Failover(Vec<RegionFailover>),
    /// Those in the caller's zone, and no others.
    SameZoneOnly,
    /// Those in the caller's region, and no others.
    SameRegionOnly,
}

/// Where requests go when a region can't carry them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionFailover {
    /// The region of the caller.
    pub from: String,
    /// The regions that come after it, before all that are not named.
    pub to: Vec<String>,
}

/// The ramp of new endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// From the moment an endpoint is ready until it gets its full share.
    pub window: Duration,
    /// The bend of the ramp in percent.
    pub aggression: Option<NonZeroU32>,
    /// Where it begins, in percent of the full share.
    pub minimum: Option<NonZeroU32>,
}

/// Who is left out for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failures of any kind in a row; 0: this detector is off.
    pub failures: Option<u32>,
    /// Failures in a row that mean the endpoint and not the request; 0: this detector is off.
    pub gateway_failures: Option<u32>,
    /// By success rate; its threshold is a number of standard deviations, in thousandths. None: off, as the next two.
    pub success_rate: Option<Comparison>,
    /// By the share of failures, in percent.
    pub failure_share: Option<Comparison>,
    /// By latency, in percent of the median of the others.
    pub latency: Option<Comparison>,
    /// How much slower than the median of the others, too.
    pub latency_excess: Option<Duration>,
    /// The first ejection.
    pub shortest: Option<Duration>,
    /// The longest ejection.
    pub longest: Option<Duration>,
    /// How many endpoints may be out together, in percent.
    pub ejected_share: Option<u32>,
    /// From one comparison to the next.
    pub interval: Option<Duration>,
}

/// A detector that compares endpoints with each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Comparison {
    /// From where on an endpoint is an outlier.
    pub threshold: Option<NonZeroU32>,
    /// Endpoints with enough requests that it needs.
    pub peers: Option<NonZeroU32>,
    /// Requests of an endpoint in an interval without which it is not judged.
    pub requests: Option<NonZeroU32>,
}

impl TrafficPolicy {
    pub(crate) fn to_wire(&self) -> wire::TrafficPolicy {
        wire::TrafficPolicy {
            name: self.name.clone(),
            load_balancing: self.load_balancing.as_ref().map(LoadBalancing::to_wire),
            locality: self.locality.as_ref().map(LocalityRules::to_wire),
            slow_start: self.slow_start.as_ref().map(|it| wire::SlowStart {
                window_ms: millis(Some(it.window)),
                aggression: number(it.aggression),
                minimum: number(it.minimum),
            }),
            panic_threshold: number(self.panic_threshold),
            outlier_detection: self.outlier_detection.as_ref().map(OutlierDetection::to_wire),
            circuit_breaker: self.circuit_breaker.map(CircuitBreaker::to_wire),
            fault_rules: self.fault_rules.iter().map(FaultRule::to_wire).collect(),
            timeouts: (self.timeouts != Timeouts::default()).then(|| self.timeouts.to_wire()),
            retry: self.retry.as_ref().map(RetryPolicy::to_wire),
            hedging: self.hedging.map(Hedging::to_wire),
            connect_timeout_ms: millis(self.connect_timeout),
            health_check: self.health_check.as_ref().map(HealthCheck::to_wire),
        }
    }

    pub(crate) fn of_wire(message: wire::TrafficPolicy) -> Result<Self, DecodeError> {
        let slow_start = message.slow_start.map(SlowStart::of_wire).transpose()?;
        Ok(Self {
            name: message.name,
            load_balancing: message.load_balancing.map(LoadBalancing::of_wire).transpose()?,
            locality: message.locality.map(LocalityRules::of_wire).transpose()?,
            slow_start,
            panic_threshold: NonZeroU32::new(message.panic_threshold),
            outlier_detection: message.outlier_detection.map(OutlierDetection::of_wire),
            circuit_breaker: message.circuit_breaker.map(CircuitBreaker::of_wire),
            fault_rules: message.fault_rules.into_iter().map(FaultRule::of_wire).collect::<Result<_, _>>()?,
            timeouts: message.timeouts.map(Timeouts::of_wire).unwrap_or_default(),
            retry: message.retry.map(RetryPolicy::of_wire).transpose()?,
            hedging: message.hedging.map(Hedging::of_wire),
            connect_timeout: duration(message.connect_timeout_ms),
            health_check: message.health_check.map(HealthCheck::of_wire).transpose()?,
        })
    }
}

impl LocalityRules {
    fn to_wire(&self) -> wire::Locality {
        use wire::LocalityMode as Mode;
        let (mode, failover) = match &self.mode {
            LocalityMode::PreferSameZone => (Mode::PreferSameZone, &[][..]),
            LocalityMode::Failover(order) => (Mode::Failover, order.as_slice()),
            LocalityMode::SameZoneOnly => (Mode::SameZoneOnly, &[][..]),
            LocalityMode::SameRegionOnly => (Mode::SameRegionOnly, &[][..]),
        };
        let failover =
            failover.iter().map(|it| wire::RegionFailover { from: it.from.clone(), to: it.to.clone() });
        wire::Locality {
            overprovisioning: number(self.overprovisioning),
            mode: mode.into(),
            failover: failover.collect(),
            transfer_cost: number(self.transfer_cost),
        }
    }

    fn of_wire(message: wire::Locality) -> Result<Self, DecodeError> {
        use wire::LocalityMode as Mode;
        // Taking it for another would send traffic where it may not go.
        let Ok(mode) = Mode::try_from(message.mode) else {
            return Err(DecodeError::value("policy.locality.mode", "this version knows no such mode"));
        };
        let failover = message.failover.into_iter().map(|it| RegionFailover { from: it.from, to: it.to });
        Ok(Self {
            mode: match mode {
                Mode::PreferSameZone => LocalityMode::PreferSameZone,
                Mode::Failover => LocalityMode::Failover(failover.collect()),
                Mode::SameZoneOnly => LocalityMode::SameZoneOnly,
                Mode::SameRegionOnly => LocalityMode::SameRegionOnly,
            },
            overprovisioning: NonZeroU32::new(message.overprovisioning),
            transfer_cost: NonZeroU32::new(message.transfer_cost),
        })
    }
}

impl SlowStart {
    fn of_wire(message: wire::SlowStart) -> Result<Self, DecodeError> {
        let window = duration(message.window_ms);
        let window =
            window.ok_or_else(|| DecodeError::value("policy.slow_start.window_ms", "it is missing"))?;
        let [aggression, minimum] = [message.aggression, message.minimum].map(NonZeroU32::new);
        Ok(Self { window, aggression, minimum })
    }
}

impl LoadBalancing {
    fn to_wire(&self) -> wire::LoadBalancing {
        use wire::LoadBalancingPolicy as Policy;
        let mut message = wire::LoadBalancing {
            load_bound: number(self.load_bound),
            hash_on: self.hash_on.iter().map(HashSource::to_wire).collect(),
            ..Default::default()
        };
        let policy = match self.algorithm {
            Algorithm::PeakEwma => Policy::PeakEwma,
            Algorithm::LeastRequest { choices } => {
                message.choices = number(choices);
                Policy::LeastRequest
            }
            Algorithm::RoundRobin => Policy::RoundRobin,
            Algorithm::Random => Policy::Random,
            Algorithm::RingHash { least, most } => {
                (message.ring_size_least, message.ring_size_most) = (number(least), number(most));
                Policy::RingHash
            }
            Algorithm::Maglev { table_size } => {
                message.table_size = number(table_size);
                Policy::Maglev
            }
        };
        message.set_policy(policy);
        message
    }

    fn of_wire(message: wire::LoadBalancing) -> Result<Self, DecodeError> {
        use wire::LoadBalancingPolicy as Policy;
        let Ok(policy) = Policy::try_from(message.policy) else {
            let rule = "this version knows no such policy";
            return Err(DecodeError::value("policy.load_balancing.policy", rule));
        };
        let algorithm = match policy {
            Policy::PeakEwma => Algorithm::PeakEwma,
            Policy::LeastRequest => Algorithm::LeastRequest { choices: NonZeroU32::new(message.choices) },
            Policy::RoundRobin => Algorithm::RoundRobin,
            Policy::Random => Algorithm::Random,
            Policy::RingHash => Algorithm::RingHash {
                least: NonZeroU32::new(message.ring_size_least),
                most: NonZeroU32::new(message.ring_size_most),
            },
            Policy::Maglev => Algorithm::Maglev { table_size: NonZeroU32::new(message.table_size) },
        };
        let hash_on = message.hash_on.into_iter().map(HashSource::of_wire).collect::<Result<_, _>>()?;
        Ok(Self { algorithm, hash_on, load_bound: NonZeroU32::new(message.load_bound) })
    }
}

impl OutlierDetection {
    fn to_wire(&self) -> wire::OutlierDetection {
        let comparison = |it: Option<Comparison>| it.map(Comparison::to_wire);
        wire::OutlierDetection {
            failures: self.failures,
            gateway_failures: self.gateway_failures,
            success_rate: comparison(self.success_rate),
            failure_share: comparison(self.failure_share),
            latency: comparison(self.latency),
            latency_excess_ms: self
                .latency_excess
                .map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
            shortest_ms: millis(self.shortest),
            longest_ms: millis(self.longest),
            ejected_share: self.ejected_share,
            interval_ms: millis(self.interval),
        }
    }

    fn of_wire(message: wire::OutlierDetection) -> Self {
        Self {
            failures: message.failures,
            gateway_failures: message.gateway_failures,
            success_rate: message.success_rate.map(Comparison::of_wire),
            failure_share: message.failure_share.map(Comparison::of_wire),
            latency: message.latency.map(Comparison::of_wire),
            latency_excess: message.latency_excess_ms.map(Duration::from_millis),
            shortest: duration(message.shortest_ms),
            longest: duration(message.longest_ms),
            ejected_share: message.ejected_share,
            interval: duration(message.interval_ms),
        }
    }
}

impl Comparison {
    fn to_wire(self) -> wire::Comparison {
        let Self { threshold, peers, requests } = self;
        wire::Comparison { threshold: number(threshold), peers: number(peers), requests: number(requests) }
    }

    fn of_wire(message: wire::Comparison) -> Self {
        let wire::Comparison { threshold, peers, requests } = message;
        let [threshold, peers, requests] = [threshold, peers, requests].map(NonZeroU32::new);
        Self { threshold, peers, requests }
    }
}

impl HashSource {
    fn to_wire(&self) -> wire::HashSource {
        use wire::hash_source::Source;
        let source = match self {
            Self::Header(name) => Source::Header(name.clone()),
            Self::QueryParameter(name) => Source::QueryParameter(name.clone()),
            Self::Cookie { name, session } => Source::Cookie(wire::Cookie {
                name: name.clone(),
                ttl_seconds: session.as_ref().map(|it| it.ttl.as_secs()),
                path: session.as_ref().map(|it| it.path.clone()).unwrap_or_default(),
            }),
            Self::Identity => Source::OfSource(wire::OfSource::Identity.into()),
            Self::Address => Source::OfSource(wire::OfSource::Address.into()),
        };
        wire::HashSource { source: Some(source) }
    }

    fn of_wire(message: wire::HashSource) -> Result<Self, DecodeError> {
        use wire::hash_source::Source;
        // Passing over it would send a session to another place than sidecars that know it do.
        let unknown =
            || DecodeError::value("policy.load_balancing.hash_on", "this version knows no such source");
        match message.source {
            Some(Source::Header(name)) => Ok(Self::Header(name)),
            Some(Source::QueryParameter(name)) => Ok(Self::QueryParameter(name)),
            Some(Source::Cookie(wire::Cookie { name, ttl_seconds, path })) => {
                let session = ttl_seconds.map(|ttl| Session { ttl: Duration::from_secs(ttl), path });
                Ok(Self::Cookie { name, session })
            }
            Some(Source::OfSource(source)) => match wire::OfSource::try_from(source) {
                Ok(wire::OfSource::Identity) => Ok(Self::Identity),
                Ok(wire::OfSource::Address) => Ok(Self::Address),
                Ok(wire::OfSource::Unspecified) | Err(_) => Err(unknown()),
            },
            None => Err(unknown()),
        }
    }
}

/// On the wire 0 is what is not said.
fn number(number: Option<NonZeroU32>) -> u32 {
    number.map_or(0, NonZeroU32::get)
}
