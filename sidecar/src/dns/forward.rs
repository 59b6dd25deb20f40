//! Foreign names: from the cache, or from a server, asked once however many wait. Enters: a question that is not the
//! mesh's. Leaves: a reply; a stale one when no server answers (RFC 8767). Never here: which servers, or packets.
//!
//! Each question on its way is a task of its own, so that an answer that comes late is still kept. A question that comes
//! back to us, because the server asked asks us in turn, joins itself and ends with its own deadline: no loop multiplies.

use super::cache::{Cache, Found, Key, aged};
use super::question::Question;
use super::reply::Reply;
use super::upstream::{self, Outcome};
use super::upstreams::Upstreams;
use crate::dial::Dial;
use crate::telemetry::{DnsBound, DnsCacheResult, DnsMetrics};
use hickory_resolver::proto::op::ResponseCode;
use mesh_process::Tasks;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// Different questions on their way at once, those that wait for their turn included. One more fails.
pub(super) const FLIGHTS_MAX: usize = 512;
/// Different questions put to servers at once; the others wait for their turn, within their deadline. Each may hold three
/// sockets per server: this many of them leave most of the usual 1024 descriptors alone.
const ASKING_MAX: usize = 64;
/// From a question to giving out a stale answer instead (RFC 8767 §5, "client response timer").
const STALE_AFTER: Duration = Duration::from_millis(1800);

/// Forwards questions.
#[derive(Debug)]
pub(super) struct Forwarder {
    /// Guards cache and flights; held to look or note, never over an await.
    state: Mutex<State>,
    asking: Semaphore,
    upstreams: Upstreams,
    dial: Dial,
    tasks: Tasks,
    metrics: DnsMetrics,
}

#[derive(Debug, Default)]
struct State {
    cache: Cache,
    flights: HashMap<Key, Flight>,
}

/// A question on its way: nothing until it has landed.
type Flight = watch::Receiver<Option<Landed>>;

/// What came of it.
#[derive(Debug, Clone)]
struct Landed {
    reply: Arc<Reply>,
    result: Landing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Landing {
    Answered,
    Failed,
}

/// What to do for a question.
enum Step {
    Done(Reply),
    /// Wait; after a while give out this instead, if there is something.
    Wait(Flight, Option<Reply>),
}

impl Forwarder {
    pub(super) fn new(upstreams: Upstreams, dial: Dial, metrics: DnsMetrics) -> Self {
        Self {
            state: Mutex::default(),
            asking: Semaphore::new(ASKING_MAX),
            upstreams,
            dial,
            tasks: Tasks::new(),
            metrics,
        }
    }

    /// The reply to a question.
    ///
    /// # Cancel safety
    /// Safe: the question goes on its way, and its answer is kept.
    pub(super) async fn forward(self: &Arc<Self>, question: &Question) -> Reply {
        let key = Key {
            name: question.query.name().clone(),
            kind: question.query.query_type(),
            wishes: question.wishes,
        };
        let (flight, stale) = match self.step(key) {
            Step::Done(reply) => return reply,
            Step::Wait(flight, stale) => (flight, stale),
        };
        let Some(stale) = stale else { return fresh(&landed(flight).await) };
        match tokio::time::timeout(STALE_AFTER, landed(flight)).await {
            Ok(landed) if landed.result == Landing::Answered => fresh(&landed),
            Ok(_) | Err(_) => {
                self.metrics.cache(DnsCacheResult::Stale);
                stale
            }
        }
    }

    /// Ends what is on its way.
    pub(super) fn stop(&self) {
        self.tasks.abort();
    }

    fn step(self: &Arc<Self>, key: Key) -> Step {
        let mut state = self.state();
        let stale = match state.cache.find(&key, Instant::now()) {
            Found::Fresh(reply) => {
                self.metrics.cache(DnsCacheResult::Hit);
                return Step::Done(reply);
            }
            Found::StaleOnly(reply) => {
                self.metrics.cache(DnsCacheResult::Stale);
                return Step::Done(reply);
            }
            Found::Stale(reply) => Some(reply),
            Found::Nothing => None,
        };
        // A flight whose task is gone without a word is none.
        if let Some(flight) = state.flights.get(&key).filter(|flight| flight.has_changed().is_ok()) {
            self.metrics.cache(DnsCacheResult::Joined);
            return Step::Wait(flight.clone(), stale);
        }
        if state.flights.len() >= FLIGHTS_MAX {
            self.metrics.limited(DnsBound::Flights);
            return Step::Done(stale.unwrap_or_else(|| Reply::bare(ResponseCode::ServFail)));
        }
        self.metrics.cache(DnsCacheResult::Miss);
        let (sender, flight) = watch::channel(None);
        state.flights.insert(key.clone(), flight.clone());
        drop(state);
        let forwarder = Arc::clone(self);
        self.tasks.spawn("dns question", async move {
            let landed = forwarder.fly(key).await;
            // Nobody may be waiting any more.
            sender.send_replace(Some(landed));
        });
        Step::Wait(flight, stale)
    }

    async fn fly(&self, key: Key) -> Landed {
        let by = Instant::now() + upstream::DEADLINE;
        let asked = async {
            // The semaphore is never closed.
            let _turn = self.asking.acquire().await.ok();
            let servers = self.upstreams.list().await;
            upstream::ask(&key, servers, by, self.dial, &self.metrics).await
        };
        let outcome = tokio::time::timeout_at(by, asked).await;
        let outcome = outcome.unwrap_or_else(|_| Outcome::Failed(Reply::bare(ResponseCode::ServFail)));
        let now = Instant::now();
        let mut state = self.state();
        state.flights.remove(&key);
        let landed = match outcome {
            Outcome::Answered { reply, bytes, server } => {
                self.upstreams.answered(server);
                let reply = Arc::new(reply);
                state.cache.keep(key, reply.clone(), bytes, now);
                Landed { reply, result: Landing::Answered }
            }
            Outcome::Failed(reply) => {
                let reply = Arc::new(reply);
                state.cache.failed(key, reply.clone(), now);
                Landed { reply, result: Landing::Failed }
            }
        };
        self.metrics.kept(state.cache.len());
        landed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a flight; its task ends it.
async fn landed(mut flight: Flight) -> Landed {
    let landed = flight.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
    landed.unwrap_or_else(|| Landed {
        reply: Arc::new(Reply::bare(ResponseCode::ServFail)),
        result: Landing::Failed,
    })
}

fn fresh(landed: &Landed) -> Reply {
    aged(&landed.reply, Duration::ZERO)
}
