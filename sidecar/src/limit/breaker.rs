//! How much this sidecar has under way with one port of a service at most: a circuit breaker in Envoy's sense. What enters
//! is each request, session and retry; what leaves is a [`Place`] that it holds until its end, or a refusal with the numbers.
//!
//! ```text
//! enter ─┬─ fewer than `requests` under way, and nobody waits ──> a place
//!        ├─ fewer than `pending` wait ──> waits, in order ─┬─ one has ended ──> a place
//!        │                                                 └─ `pending_time` is over ──> refused: pending_timeout
//!        └─ else ──> refused at once: request_limit
//! ```
//!
//! The numbers are one sidecar's, not one worker's: a limit of 10 split among workers would refuse the sixth request of a
//! connection while the other workers idle. So the workers count together, in atomics, and only where a policy sets a limit.
//! What is counted outlives a change of the policy: the numbers that hold are new, what is under way is not forgotten.

use crate::refusal::{Reason, Refusal};
use mesh_protocol::limits::CircuitBreaker;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;

/// Requests that wait, unless the policy says otherwise: Envoy's.
const PENDING: u32 = 1_024;

/// How long they do, unless the policy says otherwise. Longer than most requests take, shorter than most clients wait.
const PENDING_TIME: Duration = Duration::from_secs(1);

/// The limits of one port.
#[derive(Debug)]
pub struct Breaker {
    policy: Arc<str>,
    told: CircuitBreaker,
    usage: Arc<Usage>,
}

/// What all workers have under way.
#[derive(Debug, Default)]
struct Usage {
    connections: AtomicU32,
    requests: AtomicU32,
    pending: AtomicU32,
    retries: AtomicU32,
    /// A request has ended.
    ended: Notify,
}

/// A place under one of the limits; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    usage: Arc<Usage>,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Connection,
    Request,
    Retry,
}

/// One limit and how much of it is used; `limit` is none where nothing is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Which limit.
    pub name: &'static str,
    /// The limit.
    pub limit: Option<u32>,
    /// What is under way.
    pub used: u32,
}

impl Usage {
    fn of(&self, what: What) -> &AtomicU32 {
        match what {
            What::Connection => &self.connections,
            What::Request => &self.requests,
            What::Retry => &self.retries,
        }
    }
}

/// Adds one if that is at most `most`; how many there were before.
fn add(count: &AtomicU32, most: u32) -> Option<u32> {
    count.fetch_update(SeqCst, SeqCst, |count| (count < most).then(|| count + 1)).ok()
}

impl Drop for Place {
    fn drop(&mut self) {
        self.usage.of(self.what).fetch_sub(1, SeqCst);
        // Whoever waits has counted itself before it looked for a place: one of both sees the other.
        if matches!(self.what, What::Request) && self.usage.pending.load(SeqCst) > 0 {
            self.usage.ended.notify_one();
        }
    }
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Breaker {
    /// The limits that this policy sets. Nothing is under way yet.
    pub fn new(policy: Arc<str>, told: CircuitBreaker) -> Self {
        Self { policy, told, usage: Arc::default() }
    }

    /// What is under way under `before` is under way under these limits from now on.
    pub fn carry_over(&mut self, before: &Self) {
        self.usage = before.usage.clone();
    }

    fn place(&self, what: What, most: u32) -> Option<Place> {
        add(self.usage.of(what), most).map(|_| Place { usage: self.usage.clone(), what })
    }

    /// A place for a request to `service`, at once or after a wait; nothing where requests are not limited.
    ///
    /// # Errors
    /// `request_limit`, `pending_timeout`.
    ///
    /// # Cancel safety
    /// No place is lost.
    pub(crate) async fn enter(self: Arc<Self>, service: &str) -> Result<Option<Place>, Refusal> {
        let Some(most) = self.told.requests.map(std::num::NonZeroU32::get) else { return Ok(None) };
        if self.usage.pending.load(SeqCst) == 0
            && let Some(place) = self.place(What::Request, most)
        {
            return Ok(Some(place));
        }
        let Some(others) = add(&self.usage.pending, self.most_pending()) else {
            return Err(Refusal::because(Reason::RequestLimit, self.sentence(service, "")));
        };
        let _waiting = Waiting(&self.usage.pending);
        let patience = self.told.pending_time.unwrap_or(PENDING_TIME);
        match tokio::time::timeout(patience, self.turn(most, others)).await {
            Ok(place) => Ok(Some(place)),
            Err(_elapsed) => {
                let waited = format!("; it has waited {} ms", patience.as_millis());
                Err(Refusal::because(Reason::PendingTimeout, self.sentence(service, &waited)))
            }
        }
    }

    /// Waits for a place behind `others`. Those who wait are woken in the order in which they came.
    async fn turn(&self, most: u32, others: u32) -> Place {
        let mut is_next = others == 0;
        loop {
            let mut ended = pin!(self.usage.ended.notified());
            // From here on an end is not missed. One that was told to nobody is told to the first of those who wait, who
            // looks for a place at once; the others would overtake it.
            ended.as_mut().enable();
            if is_next && let Some(place) = self.place(What::Request, most) {
                // Two ends that nobody waited for are told as one.
                if self.usage.pending.load(SeqCst) > 1 && self.usage.requests.load(SeqCst) < most {
                    self.usage.ended.notify_one();
                }
                return place;
            }
            ended.await;
            is_next = true;
        }
    }

    /// A place for a session that has a connection to `service` of its own; nothing where they are not limited.
    ///
    /// # Errors
    /// `connection_limit`.
    pub(crate) fn connect(&self, service: &str) -> Result<Option<Place>, Refusal> {
        let Some(most) = self.told.connections.map(std::num::NonZeroU32::get) else { return Ok(None) };
        let Some(place) = self.place(What::Connection, most) else {
            let sentence = format!(
                "the TrafficPolicy {} allows this sidecar {most} connections to {service} at once, and as many are open",
                self.policy
            );
            return Err(Refusal::because(Reason::ConnectionLimit, sentence));
        };
        Ok(Some(place))
    }

    /// A place for a request that is tried again; nothing where they are not limited.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn retry(&self) -> Result<Option<Place>, OverLimit> {
        let Some(most) = self.told.retries else { return Ok(None) };
        self.place(What::Retry, most).map(Some).ok_or(OverLimit)
    }

    fn most_pending(&self) -> u32 {
        self.told.pending.unwrap_or(PENDING)
    }

    fn sentence(&self, service: &str, more: &str) -> String {
        let [_, requests, pending, _] = self.levels();
        format!(
            "the TrafficPolicy {} allows this sidecar {} requests to {service} at once: {} are under way and {} of at most \
             {} wait{more}",
            self.policy,
            requests.limit.unwrap_or_default(),
            requests.used,
            pending.used,
            pending.limit.unwrap_or_default(),
        )
    }

    /// Each limit and what is under way now.
    pub fn levels(&self) -> [Level; 4] {
        let Self { told, usage, .. } = self;
        let used = |count: &AtomicU32| count.load(SeqCst);
        let requests = told.requests.map(std::num::NonZeroU32::get);
        [
            Level {
                name: "connections",
                limit: told.connections.map(std::num::NonZeroU32::get),
                used: used(&usage.connections),
            },
            Level { name: "requests", limit: requests, used: used(&usage.requests) },
            Level {
                name: "pending",
                limit: requests.map(|_| self.most_pending()),
                used: used(&usage.pending),
            },
            Level { name: "retries", limit: told.retries, used: used(&usage.retries) },
        ]
    }
}

/// There is no place under a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverLimit;

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use tokio::time::Instant;

    fn breaker(requests: u32, pending: u32) -> Arc<Breaker> {
        let told = CircuitBreaker {
            requests: NonZeroU32::new(requests),
            pending: Some(pending),
            connections: NonZeroU32::new(1),
            retries: Some(1),
            ..CircuitBreaker::default()
        };
        Arc::new(Breaker::new("shop/web".into(), told))
    }

    async fn enter(breaker: &Arc<Breaker>) -> Result<Option<Place>, Refusal> {
        breaker.clone().enter("shop/web").await
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_limit_requests_wait_and_one_more_is_refused_at_once_with_the_numbers() {
        let breaker = breaker(2, 1);
        let held = [enter(&breaker).await.unwrap(), enter(&breaker).await.unwrap()];
        let mut waiting = pin!(enter(&breaker));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        let refusal = enter(&breaker).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::RequestLimit);
        assert_eq!(
            refusal.sentence,
            "the TrafficPolicy shop/web allows this sidecar 2 requests to shop/web at once: 2 are under way and 1 of at \
             most 1 wait"
        );
        drop(held);
        assert!(waiting.await.unwrap().is_some());
        assert!(breaker.levels().iter().all(|level| level.used == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_long_enough_is_refused_and_leaves_its_place() {
        let breaker = breaker(1, 1);
        let held = enter(&breaker).await.unwrap();
        let began = Instant::now();
        let refusal = enter(&breaker).await.unwrap_err();
        assert_eq!((refusal.reason, began.elapsed()), (Reason::PendingTimeout, PENDING_TIME));
        assert!(refusal.sentence.ends_with("it has waited 1000 ms"), "{}", refusal.sentence);
        drop(held);
        assert!(enter(&breaker).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_taken_in_order_and_nobody_overtakes() {
        let breaker = breaker(1, 5);
        let held = enter(&breaker).await.unwrap();
        let (mut first, mut second) = (pin!(enter(&breaker)), pin!(enter(&breaker)));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(held);
        let mut late = pin!(enter(&breaker));
        assert!(futures_util::poll!(late.as_mut()).is_pending(), "there is a place, but others were first");
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        let first = first.await.unwrap();
        drop(first);
        drop(second.await.unwrap());
        assert!(late.await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_away_just_as_it_is_woken_passes_its_turn_on() {
        let breaker = breaker(1, 5);
        let held = enter(&breaker).await.unwrap();
        let mut first = Box::pin(enter(&breaker));
        let mut second = pin!(enter(&breaker));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(held);
        drop(first);
        assert!(second.await.unwrap().is_some());
        assert!(breaker.levels().iter().all(|level| level.used == 0));
    }

    #[test]
    fn connections_and_retries_have_limits_of_their_own() {
        let breaker = breaker(1, 1);
        let connection = breaker.connect("shop/web").unwrap();
        let refusal = breaker.connect("shop/web").unwrap_err();
        assert_eq!(refusal.reason, Reason::ConnectionLimit);
        let retry = breaker.retry().unwrap();
        assert_eq!(breaker.retry().unwrap_err(), OverLimit);
        drop((connection, retry));
        assert!(breaker.connect("shop/web").unwrap().is_some() && breaker.retry().unwrap().is_some());
    }

    #[tokio::test]
    async fn what_is_under_way_is_not_forgotten_when_the_limits_change() {
        let before = breaker(2, 0);
        let held = enter(&before).await.unwrap();
        let told = CircuitBreaker { requests: NonZeroU32::new(1), pending: Some(0), ..Default::default() };
        let mut after = Breaker::new("shop/web".into(), told);
        after.carry_over(&before);
        let after = Arc::new(after);
        assert_eq!(enter(&after).await.unwrap_err().reason, Reason::RequestLimit);
        drop(held);
        assert!(enter(&after).await.unwrap().is_some());
    }

    #[test]
    fn workers_on_many_threads_never_have_more_under_way_than_the_limit_and_none_waits_for_ever() {
        let (breaker, inside) = (breaker(3, 1_000), Arc::new(AtomicU32::new(0)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (breaker, inside) = (breaker.clone(), inside.clone());
                std::thread::spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    runtime.block_on(async {
                        let one = || async {
                            for _ in 0..500 {
                                let place = enter(&breaker).await.unwrap();
                                assert!(inside.fetch_add(1, SeqCst) < 3);
                                tokio::task::yield_now().await;
                                inside.fetch_sub(1, SeqCst);
                                drop(place);
                            }
                        };
                        tokio::join!(one(), one(), one());
                    });
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(breaker.levels().iter().all(|level| level.used == 0));
    }
}
