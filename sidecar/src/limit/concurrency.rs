//! How many requests are let in at once at one port of the application, and who comes next. What enters is each request
//! with its client; what leaves is a [`Turn`] that it holds until its end, or a refusal with the numbers. The laws are
//! `mesh_balance`'s: a limit that is fixed or follows latency, fair shares, a queue in which the client with least under way
//! is first.
//!
//! ```text
//! enter ─┬─ room, and nobody waits ──> a turn
//!        ├─ a place in the queue (its own, or the last of whoever has most there) ──> waits ─┬─ its turn comes
//!        │                                                    too long: concurrency_timeout ─┤
//!        │                                          driven out by others: concurrency_limit ─┘
//!        └─ none ──> refused at once: concurrency_limit
//! ```
//!
//! All workers share one state, behind a lock that is held for the few steps of a law and never over an await: a client's
//! connection stays on one worker, so that parts for each worker would be parts of nothing. Ports without a limit pay nothing.

use super::Level;
use crate::refusal::{Reason, Refusal};
use mesh_balance::{
    AdaptiveLimit, AdaptiveSettings, Concurrency, FairQueue, FairSettings, FairShare, HashKey, Joined, Mark,
    Nanos, OutOfRange, Sample, Ticket, Tolerance,
};
use mesh_protocol::limits::{AdaptiveConcurrency, ConcurrencyLimit as Told};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Requests that wait, unless the policy says otherwise.
const PENDING: u32 = 100;

/// How long they do, unless the policy says otherwise.
const PENDING_TIME: Duration = Duration::from_secs(1);

/// The limit of one port.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    policy: Arc<str>,
    law: Law,
    pending: u32,
    pending_time: Duration,
    state: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// What the laws' time counts from.
    epoch: OnceLock<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Law {
    Fixed(Concurrency),
    Adaptive(AdaptiveSettings),
}

#[derive(Debug)]
struct State {
    limit: Limit,
    fair: FairShare,
    queue: FairQueue<oneshot::Sender<Verdict>>,
}

#[derive(Debug)]
enum Limit {
    Fixed(Concurrency),
    Adaptive(AdaptiveLimit),
}

/// What one that waits is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Begin,
    DrivenOut,
}

/// The numbers of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The limit now.
    pub limit: u32,
    /// Requests under way.
    pub under_way: u32,
    /// Requests that wait.
    pub waiting: usize,
}

/// The right to be under way; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    state: Arc<Shared>,
    client: HashKey,
    began: Instant,
    sample: Sample,
}

/// One that waits.
struct Waiting<'a> {
    state: &'a Arc<Shared>,
    client: HashKey,
    ticket: Ticket,
    verdict: oneshot::Receiver<Verdict>,
}

impl ConcurrencyLimit {
    /// The limit that a policy sets.
    ///
    /// # Errors
    /// A number is out of its range.
    pub fn compile(told: &Told) -> Result<Self, OutOfRange> {
        let requests = told.requests.map(|it| Concurrency::new(it.get())).transpose()?;
        let law = match told.adaptive {
            None => Law::Fixed(requests.unwrap_or_default()),
            Some(adaptive) => Law::Adaptive(settings(adaptive, requests)?),
        };
        let pending = told.pending.unwrap_or(PENDING);
        let limit = match law {
            Law::Fixed(limit) => Limit::Fixed(limit),
            Law::Adaptive(settings) => Limit::Adaptive(AdaptiveLimit::new(settings, Nanos(0))),
        };
        let fair = FairShare::new(FairSettings { mark: mark(pending), ..FairSettings::default() });
        let state = State { limit, fair, queue: FairQueue::new(pending) };
        Ok(Self {
            policy: told.policy.as_str().into(),
            law,
            pending,
            pending_time: told.pending_time.unwrap_or(PENDING_TIME),
            state: Arc::new(Shared { state: Mutex::new(state), epoch: OnceLock::new() }),
        })
    }

    /// What is under way and waits under `before` does so under this limit from now on.
    pub fn carry_over(&mut self, before: &Self) {
        self.state = before.state.clone();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.queue.set(self.pending);
        state.fair.set_mark(mark(self.pending));
        match (&mut state.limit, self.law) {
            (Limit::Fixed(limit), Law::Fixed(new)) => *limit = new,
            (Limit::Adaptive(limit), Law::Adaptive(settings)) => limit.adjust(settings),
            (limit, Law::Fixed(new)) => *limit = Limit::Fixed(new),
            (limit, Law::Adaptive(settings)) => {
                // What is under way counts, up to where it would begin.
                let mut new = AdaptiveLimit::new(settings, Nanos(0));
                for _ in 0..state.fair.total() {
                    if !new.begin() {
                        break;
                    }
                }
                *limit = Limit::Adaptive(new);
            }
        }
    }

    /// A turn for a request of `client`, who is called `name` in a refusal: at once or after a wait.
    ///
    /// # Errors
    /// `concurrency_limit`, `concurrency_timeout`.
    ///
    /// # Cancel safety
    /// No turn and no place in the queue is lost.
    pub(crate) async fn enter(&self, client: HashKey, name: &str) -> Result<Turn, Refusal> {
        let (tell, verdict) = oneshot::channel();
        let (ticket, driven_out) = {
            let mut state = self.state.lock();
            if state.queue.is_empty() && state.begin(client) {
                return Ok(Turn::new(&self.state, client));
            }
            match state.queue.join(client, tell) {
                Joined::Waits(ticket) => (ticket, None),
                Joined::InPlaceOf(ticket, other) => (ticket, Some(other)),
                Joined::Full => return Err(self.refuse(&state, Reason::ConcurrencyLimit, client, name)),
            }
        };
        if let Some(other) = driven_out {
            // It may have gone away by itself.
            other.send(Verdict::DrivenOut).ok();
        }
        let mut waiting = Waiting { state: &self.state, client, ticket, verdict };
        let reason = match tokio::time::timeout(self.pending_time, &mut waiting.verdict).await {
            Ok(Ok(Verdict::Begin)) => return Ok(Turn::new(&self.state, client)),
            Ok(Ok(Verdict::DrivenOut) | Err(_)) => Reason::ConcurrencyLimit,
            Err(_elapsed) => Reason::ConcurrencyTimeout,
        };
        let refusal = self.refuse(&self.state.lock(), reason, client, name);
        Err(refusal)
    }

    fn refuse(&self, state: &State, reason: Reason, client: HashKey, name: &str) -> Refusal {
        let Seen { limit, under_way, waiting } = state.seen();
        let (own, own_waiting) = (state.fair.under_way(client), state.queue.waiting_of(client));
        let late = if reason == Reason::ConcurrencyTimeout {
            format!("; it has waited {} ms", self.pending_time.as_millis())
        } else {
            String::new()
        };
        let sentence = format!(
            "the TrafficPolicy {} lets in {limit} requests at once: {under_way} are under way and {waiting} of at most {} \
             wait, of {name} {own} and {own_waiting}{late}",
            self.policy, self.pending
        );
        Refusal::because(reason, sentence)
    }

    /// The policy that says so, `namespace/name`.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// How many wait at most.
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// The limit and the queue, and what is under way and waits now.
    pub fn levels(&self) -> [Level; 2] {
        let Seen { limit, under_way, waiting } = self.seen();
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        [
            Level { name: "requests", limit: Some(limit), used: under_way },
            Level { name: "pending", limit: Some(self.pending), used: waiting },
        ]
    }

    /// The numbers now.
    pub fn seen(&self) -> Seen {
        self.state.lock().seen()
    }
}

fn settings(told: AdaptiveConcurrency, most: Option<Concurrency>) -> Result<AdaptiveSettings, OutOfRange> {
    let default = AdaptiveSettings::default();
    let or =
        |said: Option<NonZeroU32>, otherwise| said.map_or(Ok(otherwise), |it| Concurrency::new(it.get()));
    Ok(AdaptiveSettings {
        initial: or(told.initial, default.initial)?,
        least: or(told.least, default.least)?,
        most: most.unwrap_or(default.most),
        tolerance: told.tolerance.map_or(Ok(default.tolerance), |it| Tolerance::new(it.get()))?,
        window: told.window.unwrap_or(default.window),
    })
}

/// From how full on a client may not have more than its share. Where requests wait, the order in which they do is what
/// keeps it fair, and nothing is held back for those who might come.
fn mark(pending: u32) -> Mark {
    if pending == 0 { Mark::DEFAULT } else { Mark::MOST }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The laws do not panic; if one did, its numbers would still be numbers.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, now: Instant) -> Nanos {
        let elapsed = now.saturating_duration_since(*self.epoch.get_or_init(|| now));
        Nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// One of `client`'s has ended: whoever is next begins.
    fn end(&self, client: HashKey, sample: Sample) {
        let now = self.nanos(Instant::now());
        let (mut ended, mut more) = (Some((client, sample)), Vec::new());
        while let Some((client, sample)) = ended.take().or_else(|| more.pop()) {
            let mut state = self.lock();
            state.end(client, sample, now);
            let next = state.next();
            drop(state);
            for (client, tell, verdict) in next {
                // Who has gone away meanwhile had a turn that it does not use.
                if tell.send(verdict).is_err() && verdict == Verdict::Begin {
                    more.push((client, Sample::Ignored));
                }
            }
        }
    }
}

impl State {
    fn limit(&self) -> u32 {
        match &self.limit {
            Limit::Fixed(limit) => limit.number(),
            Limit::Adaptive(limit) => limit.limit(),
        }
    }

    fn begin(&mut self, client: HashKey) -> bool {
        let Ok(limit) = Concurrency::new(self.limit()) else { return false };
        if !self.fair.begin(client, limit) {
            return false;
        }
        let begins = match &mut self.limit {
            Limit::Fixed(_) => true,
            Limit::Adaptive(limit) => limit.begin(),
        };
        if !begins {
            self.fair.end(client);
        }
        begins
    }

    fn end(&mut self, client: HashKey, sample: Sample, now: Nanos) {
        self.fair.end(client);
        if let Limit::Adaptive(limit) = &mut self.limit {
            limit.end(sample, now);
        }
    }

    /// Those whose turn it is now, each with what it is told.
    fn next(&mut self) -> Vec<(HashKey, oneshot::Sender<Verdict>, Verdict)> {
        let mut next = Vec::new();
        while self.fair.total() < self.limit() {
            let Self { queue, fair, .. } = self;
            let Some((client, tell)) = queue.next(|client| fair.under_way(client)) else { break };
            // Refused only where the bounds have just become tighter.
            let verdict = if self.begin(client) { Verdict::Begin } else { Verdict::DrivenOut };
            next.push((client, tell, verdict));
        }
        next
    }

    fn seen(&self) -> Seen {
        Seen { limit: self.limit(), under_way: self.fair.total(), waiting: self.queue.len() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.state.lock().queue.leave(self.ticket).is_some() {
            return;
        }
        // Its turn has come, or comes just now: after this it is told so or has gone, never both.
        self.verdict.close();
        if self.verdict.try_recv() == Ok(Verdict::Begin) {
            self.state.end(self.client, Sample::Ignored);
        }
    }
}

impl Turn {
    fn new(state: &Arc<Shared>, client: HashKey) -> Self {
        Self { state: state.clone(), client, began: Instant::now(), sample: Sample::Ignored }
    }

    /// The head of the application's answer has come. The time until then is what the limit follows: the rest of an answer
    /// takes as long as its client reads. An application that can't (503, 504) is overloaded whatever its latency, and other
    /// failures say nothing.
    pub(crate) fn answered(&mut self, status: u16) {
        self.sample = match status {
            503 | 504 => Sample::Dropped,
            500.. => Sample::Ignored,
            _ => Sample::Answered(self.began.elapsed()),
        };
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.state.end(self.client, self.sample);
    }
}

#[cfg(test)]
mod tests;
