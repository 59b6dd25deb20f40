//! A TrafficPolicy as requests read it: the balancer's settings, what a request's key is made of, how it is attempted. Pure;
//! every range is checked here, by the laws themselves, so that what can't be used is refused by name and the last good one
//! stays.

use super::{Faults, locality};
use crate::http::cookie;
use crate::limit::Breaker;
use crate::retry::AttemptPolicy;
use crate::route::PatternError;
use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_balance::{
    Aggression, BadTableSize, ByFailureShare, ByLatency, BySuccessRate, Choices, Detection, Deviations,
    EjectedShare, FailureShare, FailuresInARow, HashKey, LeastPeers, LeastRequests, LeastWarmth, LoadBound,
    OutOfRange, Overprovisioning, PanicThreshold, Points, Policy, RingSize, Settings, SlowStart, Slowness,
    TableSize,
};
use mesh_protocol::health::HealthCheck;
use mesh_protocol::policy::{self as told, Algorithm, HashSource, LocalityMode};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Between two comparisons of the endpoints, unless a policy says otherwise: Envoy's.
const INTERVAL: Duration = Duration::from_secs(10);

/// How requests to a port are spread over its endpoints.
#[derive(Debug)]
pub struct TrafficPolicy {
    /// The object that says so, `namespace/name`.
    pub name: Arc<str>,
    /// What the balancer goes by.
    pub settings: Settings,
    /// From one comparison of the endpoints with each other to the next.
    pub interval: Duration,
    /// How much is under way at most; none: no limit.
    pub breaker: Option<Arc<Breaker>>,
    /// Failures made on purpose.
    pub faults: Option<Arc<Faults>>,
    /// How long an attempt waits for a connection; none: as long as opening one may take.
    pub connect_timeout: Option<Duration>,
    /// How endpoints without a sidecar are asked whether they are well; none: they are not.
    pub health_check: Option<HealthCheck>,
    /// How requests are attempted that no rule is for.
    pub(crate) attempts: AttemptPolicy,
    /// Which endpoints come first, and which are left out.
    pub locality: Option<LocalityMode>,
    /// What a request's key is: the first of these that it has.
    hash_on: Vec<HashOn>,
}

/// What every request from one client has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfSource {
    /// The identity of the workload that calls.
    Identity,
    /// The client's address.
    Address,
}

/// Where a request's key is.
#[derive(Debug)]
enum HashOn {
    Header(HeaderName),
    QueryParameter(Box<str>),
    Cookie(Box<str>, Option<Session>),
    Source(OfSource),
}

/// A cookie that is given to who has none.
#[derive(Debug)]
struct Session {
    ttl: Duration,
    path: Box<str>,
}

/// What decides on a request's endpoint.
#[derive(Debug, Default)]
pub struct Affinity {
    /// Its key, if it has one.
    pub key: Option<HashKey>,
    /// The cookie that the client is given, so that its next request has the same key.
    pub cookie: Option<Box<HeaderValue>>,
}

/// A policy that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A number is out of range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A table can't have this size.
    #[error(transparent)]
    TableSize(#[from] BadTableSize),
    /// A header can't have this name.
    #[error("`{0}` is not the name of a header")]
    HeaderName(String),
    /// A cookie can't have this name or path.
    #[error("the cookie `{0}` can't be written: its name or path has characters that no header may have")]
    Cookie(String),
    /// A match can't be compiled.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl TrafficPolicy {
    /// Compiles a policy.
    ///
    /// # Errors
    /// [`PolicyError`] with the first part that can't be used.
    pub fn compile(policy: &told::TrafficPolicy) -> Result<Self, PolicyError> {
        let mut settings = Settings::default();
        let mut hash_on = Vec::new();
        if let Some(balancing) = &policy.load_balancing {
            settings.policy = law(balancing)?;
            hash_on = balancing.hash_on.iter().map(HashOn::compile).collect::<Result<_, _>>()?;
        }
        if let Some(locality) = &policy.locality {
            settings.locality = locality::preference(locality)?;
            settings.overprovisioning = number(locality.overprovisioning, Overprovisioning::new)?;
        }
        settings.slow_start = policy.slow_start.map(slow_start).transpose()?;
        settings.panic = number(policy.panic_threshold, PanicThreshold::new)?;
        if let Some(outliers) = &policy.outlier_detection {
            settings.detection = detection(outliers)?;
        }
        let interval = policy.outlier_detection.as_ref().and_then(|it| it.interval);
        let interval = interval.unwrap_or(INTERVAL);
        let name: Arc<str> = policy.name.as_str().into();
        let breaker = policy.circuit_breaker.map(|told| Arc::new(Breaker::new(name.clone(), told)));
        let faults = Faults::compile(&policy.fault_rules)?.map(Arc::new);
        let attempts = AttemptPolicy::compile(policy.timeouts, policy.retry.as_ref(), policy.hedging);
        let connect_timeout = policy.connect_timeout;
        let locality = policy.locality.as_ref().map(|it| it.mode.clone());
        Ok(Self {
            name,
            settings,
            interval,
            breaker,
            faults,
            connect_timeout,
            health_check: policy.health_check.clone(),
            attempts,
            locality,
            hash_on,
        })
    }

    /// What is under way under `before` is under way under this policy's limits from now on.
    pub fn carry_over(&mut self, before: &Self) {
        let breaker = self.breaker.as_mut().and_then(Arc::get_mut);
        if let (Some(breaker), Some(before)) = (breaker, &before.breaker) {
            breaker.carry_over(before);
        }
    }

    /// What decides on the endpoint of a request with these headers and this query, whose source has the key that `keyed`
    /// says. The same in every sidecar. A client without the cookie that it should have is given the one that `random` makes.
    pub fn affinity(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        keyed: impl Fn(OfSource) -> HashKey,
        random: impl FnOnce() -> u64,
    ) -> Affinity {
        for source in &self.hash_on {
            let key = match source {
                HashOn::Header(name) => {
                    let keys = headers.get_all(name).iter().map(|value| HashKey::of(value.as_bytes()));
                    keys.reduce(HashKey::and)
                }
                HashOn::QueryParameter(name) => query.and_then(|query| parameter(query, name)),
                HashOn::Cookie(name, session) => match (cookie::value(headers, name), session) {
                    (Some(value), _) => Some(HashKey::of(value)),
                    (None, Some(session)) => return session.begin(name, random()),
                    (None, None) => None,
                },
                HashOn::Source(of) => Some(keyed(*of)),
            };
            if key.is_some() {
                return Affinity { key, cookie: None };
            }
        }
        Affinity::default()
    }
}

impl TrafficPolicy {
    /// What decides on the endpoint of opaque bytes, which have nothing but a source; nothing if that is not asked for.
    pub fn of_source(&self) -> Option<OfSource> {
        self.hash_on.iter().find_map(|source| match source {
            HashOn::Source(of) => Some(*of),
            HashOn::Header(_) | HashOn::QueryParameter(_) | HashOn::Cookie(..) => None,
        })
    }
}

impl Session {
    fn begin(&self, name: &str, value: u64) -> Affinity {
        // The names were tried when the policy was compiled.
        let cookie = cookie::set(name, value, self.ttl, &self.path).ok();
        let key = HashKey::of(format!("{value:016x}").as_bytes());
        Affinity { key: Some(key), cookie: cookie.map(Box::new) }
    }
}

/// The key that the first value of a query parameter makes.
fn parameter(query: &str, name: &str) -> Option<HashKey> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(it, _)| *it == name).map(|(_, value)| HashKey::of(value.as_bytes()))
}

impl HashOn {
    fn compile(source: &HashSource) -> Result<Self, PolicyError> {
        Ok(match source {
            HashSource::Header(name) => {
                let parsed = name.parse().map_err(|_| PolicyError::HeaderName(name.clone()))?;
                Self::Header(parsed)
            }
            HashSource::QueryParameter(name) => Self::QueryParameter(name.as_str().into()),
            HashSource::Cookie { name, session } => {
                let session =
                    session.as_ref().map(|it| Session { ttl: it.ttl, path: it.path.as_str().into() });
                if let Some(Session { ttl, path }) = &session
                    && cookie::set(name, 0, *ttl, path).is_err()
                {
                    return Err(PolicyError::Cookie(name.clone()));
                }
                Self::Cookie(name.as_str().into(), session)
            }
            HashSource::Identity => Self::Source(OfSource::Identity),
            HashSource::Address => Self::Source(OfSource::Address),
        })
    }
}

fn law(balancing: &told::LoadBalancing) -> Result<Policy, PolicyError> {
    let bound = balancing.load_bound.map(|it| LoadBound::new(it.get())).transpose()?;
    Ok(match balancing.algorithm {
        Algorithm::PeakEwma => Policy::PeakEwma,
        Algorithm::LeastRequest { choices } => Policy::LeastRequest(number(choices, Choices::new)?),
        Algorithm::RoundRobin => Policy::RoundRobin,
        Algorithm::Random => Policy::Random,
        Algorithm::RingHash { least, most } => {
            let defaults = RingSize::default();
            let least = least.map_or(Ok(defaults.least()), |it| Points::new(it.get()))?;
            let most = most.map_or(Ok(defaults.most()), |it| Points::new(it.get()))?;
            Policy::RingHash(RingSize::new(least, most)?, bound)
        }
        Algorithm::Maglev { table_size } => {
            let size = table_size.map(|it| TableSize::new(it.get())).transpose()?;
            Policy::Maglev(size.unwrap_or_default(), bound)
        }
    })
}

fn slow_start(told: told::SlowStart) -> Result<SlowStart, PolicyError> {
    Ok(SlowStart {
        window: told.window,
        aggression: number(told.aggression, Aggression::new)?,
        least: number(told.minimum, LeastWarmth::new)?,
    })
}

fn detection(told: &told::OutlierDetection) -> Result<Detection, OutOfRange> {
    let default = Detection::default();
    let in_a_row = |said: Option<u32>, default| match said {
        None => Ok(default),
        Some(0) => Ok(None),
        Some(failures) => FailuresInARow::new(failures).map(Some),
    };
    let mut sentence = default.sentence;
    sentence.shortest = told.shortest.unwrap_or(sentence.shortest);
    sentence.longest = told.longest.unwrap_or(sentence.longest);
    Ok(Detection {
        failures: in_a_row(told.failures, default.failures)?,
        gateway_failures: in_a_row(told.gateway_failures, default.gateway_failures)?,
        success_rate: told.success_rate.map(success_rate).transpose()?,
        failure_share: told.failure_share.map(failure_share).transpose()?,
        latency: told.latency.map(|it| latency(it, told.latency_excess)).transpose()?,
        sentence,
        most: told.ejected_share.map_or(Ok(default.most), EjectedShare::new)?,
    })
}

fn success_rate(told: told::Comparison) -> Result<BySuccessRate, OutOfRange> {
    let default = BySuccessRate::default();
    Ok(BySuccessRate {
        deviations: or(told.threshold, Deviations::new, default.deviations)?,
        peers: or(told.peers, LeastPeers::new, default.peers)?,
        requests: or(told.requests, LeastRequests::new, default.requests)?,
    })
}

fn failure_share(told: told::Comparison) -> Result<ByFailureShare, OutOfRange> {
    let default = ByFailureShare::default();
    Ok(ByFailureShare {
        share: or(told.threshold, FailureShare::new, default.share)?,
        peers: or(told.peers, LeastPeers::new, default.peers)?,
        requests: or(told.requests, LeastRequests::new, default.requests)?,
    })
}

fn latency(told: told::Comparison, excess: Option<Duration>) -> Result<ByLatency, OutOfRange> {
    let default = ByLatency::default();
    Ok(ByLatency {
        slowness: or(told.threshold, Slowness::new, default.slowness)?,
        excess: excess.unwrap_or(default.excess),
        peers: or(told.peers, LeastPeers::new, default.peers)?,
        requests: or(told.requests, LeastRequests::new, default.requests)?,
    })
}

/// The number that is said, or this one.
fn or<T>(
    said: Option<NonZeroU32>,
    new: impl FnOnce(u32) -> Result<T, OutOfRange>,
    otherwise: T,
) -> Result<T, OutOfRange> {
    said.map_or(Ok(otherwise), |it| new(it.get()))
}

/// The number that is said, or the law's default.
fn number<T: Default>(
    said: Option<NonZeroU32>,
    new: impl FnOnce(u32) -> Result<T, OutOfRange>,
) -> Result<T, OutOfRange> {
    or(said, new, T::default())
}

#[cfg(test)]
mod tests;
