//! How often requests are let in at one port of the application. What enters is a request's head and who calls; what leaves
//! is yes, or a refusal that says when to come again. The law is `mesh_balance`'s token bucket; here is whose bucket it is.
//!
//! All workers share the buckets, behind a lock that is held for one look at one bucket: a client's connection stays on one
//! worker, so that a part of the rate for each would be too little for everybody. Buckets are bounded: [`CLIENTS_MAX`] for
//! each limit, and what comes beyond shares one.

use crate::refusal::{Reason, Refusal};
use crate::route::{AnyOf, PatternError, RequestHead};
use http::{HeaderMap, HeaderName};
use mesh_balance::{Burst, ClientRates, HashKey, Nanos, OutOfRange, Rate, Requests, TokenBucket, Unit};
use mesh_protocol::limits::{RateLimit as Told, RateLimitKey, RateUnit};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Clients with a bucket of their own, for each limit: about half a MiB. One that keeps to its rate needs none for long.
const CLIENTS_MAX: usize = 10_000;

/// A limit that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// A number is out of range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A header can't have this name.
    #[error("`{0}` is not the name of a header")]
    HeaderName(String),
    /// A match can't be compiled.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// One limit of a rate.
#[derive(Debug)]
pub struct RateLimit {
    told: Told,
    fits: AnyOf,
    key: Key,
    rate: Rate,
    burst: Burst,
    buckets: Arc<Buckets>,
}

#[derive(Debug)]
enum Key {
    Everybody,
    Client,
    Header(HeaderName),
}

#[derive(Debug)]
struct Buckets {
    all: Mutex<Kept>,
    /// What the law's time counts from.
    epoch: OnceLock<Instant>,
}

#[derive(Debug)]
enum Kept {
    One(TokenBucket),
    Each(ClientRates),
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// As limits tell clients apart: made with a secret, so that nobody can choose whose bucket to share.
    pub(crate) key: HashKey,
    /// The same for other texts of the request.
    pub(crate) secret: HashKey,
    /// As a refusal calls it.
    pub(crate) name: &'a str,
}

impl RateLimit {
    /// The limit that a policy sets.
    ///
    /// # Errors
    /// [`LimitError`] with the first part that can't be used.
    pub fn compile(told: &Told) -> Result<Self, LimitError> {
        let unit = match told.unit {
            RateUnit::Second => Unit::Second,
            RateUnit::Minute => Unit::Minute,
            RateUnit::Hour => Unit::Hour,
        };
        let rate = Rate { requests: Requests::new(told.requests.get())?, unit };
        let burst = Burst::new(told.burst.unwrap_or(told.requests).get())?;
        let key = match &told.key {
            None => Key::Everybody,
            Some(RateLimitKey::ClientIdentity) => Key::Client,
            Some(RateLimitKey::Header(name)) => {
                Key::Header(name.parse().map_err(|_| LimitError::HeaderName(name.clone()))?)
            }
        };
        let kept = match key {
            Key::Everybody => Kept::One(TokenBucket::full(Nanos(0))),
            Key::Client | Key::Header(_) => Kept::Each(ClientRates::new(rate, burst, CLIENTS_MAX, Nanos(0))),
        };
        let buckets = Arc::new(Buckets { all: Mutex::new(kept), epoch: OnceLock::new() });
        let fits = AnyOf::compile(&told.matches)?;
        Ok(Self { told: told.clone(), fits, key, rate, burst, buckets })
    }

    /// Takes the buckets of the same limit among these, if it is there. Another one begins with full buckets.
    pub fn carry_over(&mut self, before: &[Self]) {
        if let Some(same) = before.iter().find(|before| before.told == self.told) {
            self.buckets = same.buckets.clone();
        }
    }

    /// Takes a token for this request, if the limit is for it.
    ///
    /// # Errors
    /// `rate_limited`, with when to come again.
    pub(crate) fn take(&self, head: RequestHead<'_>, caller: Caller<'_>) -> Result<(), Refusal> {
        if !self.fits.fit(head) {
            return Ok(());
        }
        let whose = match &self.key {
            Key::Everybody => HashKey::new(0),
            Key::Client => caller.key,
            Key::Header(name) => header(head.headers, name, caller.secret),
        };
        self.buckets.take(self.rate, self.burst, whose, Instant::now()).map_err(|wait| {
            let refusal = Refusal::because(Reason::RateLimited, self.sentence(wait, caller.name));
            refusal.retry_after(wait)
        })
    }

    fn sentence(&self, wait: Duration, name: &str) -> String {
        let whom = match &self.key {
            Key::Everybody => "all clients together".to_owned(),
            Key::Client => format!("each client, and {name} has used them up"),
            Key::Header(header) => format!("each value of the header {header}"),
        };
        format!(
            "the TrafficPolicy {} lets in {} requests per {}, {} at once, of {whom}: come again in {} ms",
            self.told.policy,
            self.rate.requests.number(),
            self.unit(),
            self.burst.number(),
            wait.as_millis().max(1),
        )
    }

    /// What the rate is measured in.
    pub fn unit(&self) -> &'static str {
        match self.told.unit {
            RateUnit::Second => "second",
            RateUnit::Minute => "minute",
            RateUnit::Hour => "hour",
        }
    }

    /// As the policy says it.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// How many clients have a bucket of their own now; nothing where all share one.
    pub fn clients(&self) -> Option<usize> {
        match &*self.buckets.all.lock().unwrap_or_else(PoisonError::into_inner) {
            Kept::One(_) => None,
            Kept::Each(rates) => Some(rates.len()),
        }
    }
}

/// The key of all values of a header; of none, the key of nothing.
fn header(headers: &HeaderMap, name: &HeaderName, secret: HashKey) -> HashKey {
    let values = headers.get_all(name).iter().map(|value| HashKey::of(value.as_bytes()));
    values.reduce(HashKey::and).map_or(HashKey::new(0), |key| key.and(secret))
}

impl Buckets {
    fn take(&self, rate: Rate, burst: Burst, whose: HashKey, now: Instant) -> Result<(), Duration> {
        let now = now.saturating_duration_since(*self.epoch.get_or_init(|| now));
        let now = Nanos(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        match &mut *self.all.lock().unwrap_or_else(PoisonError::into_inner) {
            Kept::One(bucket) => bucket.take(rate, burst, now),
            Kept::Each(rates) => rates.take(whose, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Method};
    use mesh_protocol::service::{PathMatch, RouteMatch};
    use std::num::NonZeroU32;

    fn told(key: Option<RateLimitKey>) -> Told {
        let requests = NonZeroU32::new(2).unwrap();
        let policy = "shop/web".to_owned();
        Told { policy, matches: vec![], key, requests, unit: RateUnit::Minute, burst: None }
    }

    fn take(limit: &RateLimit, path: &str, headers: &HeaderMap, client: u64) -> Result<(), Refusal> {
        let head = RequestHead { method: &Method::GET, path, query: None, headers };
        let (key, secret) = (HashKey::new(client), HashKey::new(7));
        limit.take(head, Caller { key, secret, name: "spiffe://mesh.internal/ns/shop/sa/one" })
    }

    fn passed(limit: &RateLimit, client: u64) -> usize {
        (0..10).filter(|_| take(limit, "/", &HeaderMap::new(), client).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn the_burst_passes_and_the_next_is_told_when_to_come_again() {
        let limit = RateLimit::compile(&told(Some(RateLimitKey::ClientIdentity))).unwrap();
        assert_eq!((passed(&limit, 1), passed(&limit, 2)), (2, 2), "each client has its own");
        tokio::time::advance(Duration::from_millis(10_500)).await;
        let refusal = take(&limit, "/", &HeaderMap::new(), 1).unwrap_err();
        assert_eq!(refusal.reason, Reason::RateLimited);
        assert_eq!(
            refusal.sentence,
            "the TrafficPolicy shop/web lets in 2 requests per minute, 2 at once, of each client, and \
             spiffe://mesh.internal/ns/shop/sa/one has used them up: come again in 19500 ms"
        );
        assert_eq!(refusal.terms.unwrap().retry_after, NonZeroU32::new(20), "in whole seconds, rounded up");
        tokio::time::advance(Duration::from_millis(19_500)).await;
        assert!(take(&limit, "/", &HeaderMap::new(), 1).is_ok());
        assert_eq!(limit.clients(), Some(2));
    }

    #[test]
    fn without_a_key_all_share_one_bucket_and_a_header_tells_apart_by_its_values() {
        let limit = RateLimit::compile(&told(None)).unwrap();
        assert_eq!((passed(&limit, 1), passed(&limit, 2)), (2, 0));
        let limit = RateLimit::compile(&told(Some(RateLimitKey::Header("x-user".to_owned())))).unwrap();
        let passed = |user: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers
                .extend(user.map(|user| (HeaderName::from_static("x-user"), HeaderValue::from_static(user))));
            (0..10).filter(|_| take(&limit, "/", &headers, 1).is_ok()).count()
        };
        assert_eq!([Some("a"), Some("b"), None, Some("a"), None].map(passed), [2, 2, 2, 0, 0]);
    }

    #[test]
    fn only_requests_that_fit_need_a_token() {
        let path = PathMatch::Prefix("/search".to_owned());
        let only = RouteMatch { rule: 0, path, method: None, headers: vec![], query_params: vec![] };
        let limit = RateLimit::compile(&Told { matches: vec![only], ..told(None) }).unwrap();
        assert_eq!(passed(&limit, 1), 10);
        let searches = (0..10).filter(|_| take(&limit, "/search/x", &HeaderMap::new(), 1).is_ok());
        assert_eq!(searches.count(), 2);
    }

    #[test]
    fn the_same_limit_keeps_its_buckets_and_another_begins_with_full_ones() {
        let before = RateLimit::compile(&told(None)).unwrap();
        assert_eq!(passed(&before, 1), 2);
        let mut same = RateLimit::compile(&told(None)).unwrap();
        let mut other = RateLimit::compile(&Told { unit: RateUnit::Hour, ..told(None) }).unwrap();
        for limit in [&mut same, &mut other] {
            limit.carry_over(std::slice::from_ref(&before));
        }
        assert_eq!((passed(&same, 1), passed(&other, 1)), (0, 2));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let many = NonZeroU32::new(1_000_001).unwrap();
        let error = |told: Told| RateLimit::compile(&told).unwrap_err().to_string();
        assert!(error(Told { requests: many, ..told(None) }).contains("from 1 to 1000000"));
        let key = Some(RateLimitKey::Header("x user".to_owned()));
        assert_eq!(error(told(key)), "`x user` is not the name of a header");
        let path = PathMatch::Regex("(".to_owned());
        let only = RouteMatch { rule: 0, path, method: None, headers: vec![], query_params: vec![] };
        assert_eq!(
            error(Told { matches: vec![only], ..told(None) }),
            "the regular expression `(` can't be used"
        );
    }
}
