//! A TrafficPolicy as requests read it: the balancer's settings, what a request's key is made of, how it is attempted. Pure; every range is
//! checked here, by the laws themselves, so that what can't be used is refused by name and the last good one stays.

use super::Faults;
use crate::http::cookie;
use crate::limit::Breaker;
use crate::retry::AttemptPolicy;
use crate::route::PatternError;
use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_balance::{
    Aggression, BadTableSize, ByFailureShare, ByLatency, BySuccessRate, Choices, Detection, Deviations,
    EjectedShare, FailureShare, FailuresInARow, HashKey, LeastPeers, LeastRequests, LeastWarmth, LoadBound,
    LocalityPreference, OutOfRange, Overprovisioning, PanicThreshold, Points, Policy, RingSize, Settings,
    SlowStart, Slowness, TableSize,
};
use mesh_protocol::policy::{self as told, Algorithm, HashSource};
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
    /// How requests are attempted that no rule is for.
    pub(crate) attempts: AttemptPolicy,
    /// What a request's key is: the first of these that it has.
    hash_on: Vec<HashOn>,
}

/// Where a request's key is.
#[derive(Debug)]
enum HashOn {
    Header(HeaderName),
    QueryParameter(Box<str>),
    Cookie(Box<str>, Option<Session>),
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
        if let Some(locality) = policy.locality {
            settings.locality = LocalityPreference::Nearest;
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
        Ok(Self { name, settings, interval, breaker, faults, connect_timeout, attempts, hash_on })
    }

    /// What is under way under `before` is under way under this policy's limits from now on.
    pub fn carry_over(&mut self, before: &Self) {
        let breaker = self.breaker.as_mut().and_then(Arc::get_mut);
        if let (Some(breaker), Some(before)) = (breaker, &before.breaker) {
            breaker.carry_over(before);
        }
    }

    /// What decides on the endpoint of a request with these headers and this query. The same in every sidecar. A client
    /// without the cookie that it should have is given the one that `random` makes.
    pub fn affinity(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
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
            };
            if key.is_some() {
                return Affinity { key, cookie: None };
            }
        }
        Affinity::default()
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
mod tests {
    use super::*;

    fn hashing(hash_on: Vec<HashSource>) -> TrafficPolicy {
        let algorithm = Algorithm::Maglev { table_size: None };
        let balancing = told::LoadBalancing { algorithm, hash_on, load_bound: None };
        TrafficPolicy::compile(&policy(Some(balancing))).unwrap()
    }

    fn policy(load_balancing: Option<told::LoadBalancing>) -> told::TrafficPolicy {
        let name = "shop/p".to_owned();
        told::TrafficPolicy { name, load_balancing, ..Default::default() }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn the_first_source_that_the_request_has_is_its_key() {
        let policy = hashing(vec![
            HashSource::Header("x-user".to_owned()),
            HashSource::QueryParameter("user".to_owned()),
        ]);
        let alice = Some(HashKey::of(b"alice"));
        let key = |pairs, query| policy.affinity(&headers(pairs), query, || panic!("not asked for")).key;
        assert_eq!(key(&[("x-user", "alice")], Some("user=bob")), alice);
        assert_eq!(key(&[], Some("user=alice")), alice, "the same text is the same key wherever it stands");
        assert_eq!(key(&[], Some("a=b&user=alice&user=bob")), alice, "the first of several");
        assert_eq!(key(&[], Some("users=alice&xuser=alice")), None);
        assert_eq!(key(&[], Some("user")), Some(HashKey::of(b"")));
        assert_eq!(key(&[], None), None);
        assert_ne!(key(&[("x-user", "alice"), ("x-user", "bob")], None), alice, "all values count");
    }

    #[test]
    fn who_has_no_cookie_is_given_one_and_comes_back_with_the_same_key() {
        let session = Some(told::Session { ttl: Duration::from_secs(60), path: "/".to_owned() });
        let policy = hashing(vec![
            HashSource::Header("x-user".to_owned()),
            HashSource::Cookie { name: "home".to_owned(), session },
        ]);
        let first = policy.affinity(&headers(&[]), None, || 7);
        assert_eq!(*first.cookie.unwrap(), "home=0000000000000007; Path=/; HttpOnly; Max-Age=60");
        let again = policy.affinity(&headers(&[("cookie", "home=0000000000000007")]), None, || 8);
        assert!(first.key.is_some() && again.key == first.key && again.cookie.is_none());
        let named = policy.affinity(&headers(&[("x-user", "alice")]), None, || 9);
        assert!(named.key == Some(HashKey::of(b"alice")) && named.cookie.is_none());
        let plain = hashing(vec![HashSource::Cookie { name: "home".to_owned(), session: None }]);
        let without = plain.affinity(&headers(&[]), None, || 10);
        assert!(without.key.is_none() && without.cookie.is_none(), "the application's to give");
    }

    #[test]
    fn what_is_not_said_is_the_balancers_default() {
        let compiled = TrafficPolicy::compile(&policy(None)).unwrap();
        assert_eq!(compiled.settings, Settings::default());
        let algorithm = Algorithm::RingHash { least: None, most: None };
        let balancing = told::LoadBalancing { algorithm, hash_on: vec![], load_bound: None };
        let compiled = TrafficPolicy::compile(&policy(Some(balancing))).unwrap();
        assert_eq!(compiled.settings.policy, Policy::RingHash(RingSize::default(), None));
    }

    /// The ranges `manifests` allows are these, so that what an API accepts no sidecar refuses.
    #[test]
    fn the_ends_of_every_range_are_taken_and_what_is_beyond_is_refused() {
        let said = |number| NonZeroU32::new(number);
        let law = |algorithm, bound| {
            let balancing = told::LoadBalancing { algorithm, hash_on: vec![], load_bound: said(bound) };
            TrafficPolicy::compile(&policy(Some(balancing))).is_ok()
        };
        let choices = |n| law(Algorithm::LeastRequest { choices: said(n) }, 0);
        assert_eq!([1, 2, 16, 17].map(choices), [false, true, true, false]);
        let most = |n| law(Algorithm::RingHash { least: said(1), most: said(n) }, 0);
        assert_eq!([1, 1_048_576, 1_048_577].map(most), [true, true, false]);
        assert!(!law(Algorithm::RingHash { least: said(70_000), most: None }, 0), "crossed");
        let table = |n| law(Algorithm::Maglev { table_size: said(n) }, 0);
        assert_eq!([1, 2, 4, 5_000_011, 5_000_012].map(table), [false, true, false, true, false]);
        let bound = |n| law(Algorithm::Maglev { table_size: None }, n);
        assert_eq!([100, 101, 1_000, 1_001].map(bound), [false, true, true, false]);
        let panic = |n| {
            let policy = told::TrafficPolicy { panic_threshold: said(n), ..policy(None) };
            TrafficPolicy::compile(&policy).is_ok()
        };
        assert_eq!([1, 100, 101].map(panic), [true, true, false]);
        let prefers = |n| {
            let locality = Some(told::Locality { overprovisioning: said(n) });
            let policy = told::TrafficPolicy { locality, ..policy(None) };
            TrafficPolicy::compile(&policy)
                .is_ok_and(|it| it.settings.locality == LocalityPreference::Nearest)
        };
        assert_eq!([0, 99, 100, 1_000, 1_001].map(prefers), [true, false, true, true, false]);
        let ramp = |aggression, minimum| {
            let window = std::time::Duration::from_secs(1);
            let ramp = told::SlowStart { window, aggression: said(aggression), minimum: said(minimum) };
            let policy = told::TrafficPolicy { slow_start: Some(ramp), ..policy(None) };
            TrafficPolicy::compile(&policy).is_ok()
        };
        assert_eq!([9, 10, 1_000, 1_001].map(|n| ramp(n, 0)), [false, true, true, false]);
        assert_eq!([1, 100, 101].map(|n| ramp(0, n)), [true, true, false]);
    }

    fn detecting(told: told::OutlierDetection) -> Result<TrafficPolicy, PolicyError> {
        TrafficPolicy::compile(&told::TrafficPolicy { outlier_detection: Some(told), ..policy(None) })
    }

    #[test]
    fn detectors_that_are_not_named_are_as_by_default_and_0_switches_one_off() {
        let named = told::OutlierDetection { failures: Some(3), ..Default::default() };
        let compiled = detecting(named).unwrap();
        let failures = Some(FailuresInARow::new(3).unwrap());
        assert_eq!(compiled.settings.detection, Detection { failures, ..Detection::default() });
        assert_eq!(compiled.interval, INTERVAL);
        let off = told::OutlierDetection { gateway_failures: Some(0), ..Default::default() };
        assert_eq!(detecting(off).unwrap().settings.detection, Detection::OFF);
        let compared = told::OutlierDetection {
            success_rate: Some(told::Comparison::default()),
            failure_share: Some(told::Comparison::default()),
            latency: Some(told::Comparison::default()),
            shortest: Some(Duration::from_secs(7)),
            interval: Some(Duration::from_secs(2)),
            ejected_share: Some(0),
            ..Default::default()
        };
        let compiled = detecting(compared).unwrap();
        let detection = compiled.settings.detection;
        assert_eq!(detection.success_rate, Some(BySuccessRate::default()));
        assert_eq!(detection.failure_share, Some(ByFailureShare::default()));
        assert_eq!(detection.latency, Some(ByLatency::default()));
        assert_eq!((detection.sentence.shortest.as_secs(), compiled.interval.as_secs()), (7, 2));
        assert_eq!(detection.most_ejected(10), 0);
    }

    /// As above, for the ranges of detectors.
    #[test]
    fn the_ends_of_every_range_of_a_detector_are_taken_and_what_is_beyond_is_refused() {
        let row = |n| {
            let failures = told::OutlierDetection { failures: Some(n), ..Default::default() };
            let gateway = told::OutlierDetection { gateway_failures: Some(n), ..Default::default() };
            let both = (detecting(failures).is_ok(), detecting(gateway).is_ok());
            assert_eq!(both.0, both.1);
            both.0
        };
        assert_eq!([0, 1_000, 1_001].map(row), [true, true, false]);
        let share =
            |n| detecting(told::OutlierDetection { ejected_share: Some(n), ..Default::default() }).is_ok();
        assert_eq!([0, 100, 101].map(share), [true, true, false]);
        let comparison = |threshold, peers, requests| told::Comparison {
            threshold: NonZeroU32::new(threshold),
            peers: NonZeroU32::new(peers),
            requests: NonZeroU32::new(requests),
        };
        let rate = |n| {
            let success_rate = Some(comparison(n, 0, 0));
            detecting(told::OutlierDetection { success_rate, ..Default::default() }).is_ok()
        };
        assert_eq!([99, 100, 10_000, 10_001].map(rate), [false, true, true, false]);
        let failures = |threshold, peers, requests| {
            let failure_share = Some(comparison(threshold, peers, requests));
            detecting(told::OutlierDetection { failure_share, ..Default::default() }).is_ok()
        };
        assert_eq!([1, 100, 101].map(|n| failures(n, 0, 0)), [true, true, false]);
        assert_eq!([1, 2, 1_000, 1_001].map(|n| failures(0, n, 0)), [false, true, true, false]);
        assert_eq!([1, 1_000_000, 1_000_001].map(|n| failures(0, 0, n)), [true, true, false]);
        let slow = |n| {
            let latency = Some(comparison(n, 0, 0));
            detecting(told::OutlierDetection { latency, ..Default::default() }).is_ok()
        };
        assert_eq!([109, 110, 10_000, 10_001].map(slow), [false, true, true, false]);
    }
}
