//! The attempts of one request: its body, which may be sent again; the endpoints tried; and the decision after each
//! attempt, where `retry::plan`, the body, the deadline and the cluster's budget all have to agree.

use super::request::{Accepted, Exchanged, Routed, has_body};
use crate::cluster::Picked;
use crate::deadline::Idle;
use crate::http::body::UpBody;
use crate::http::replay::Replay;
use crate::http::retry_after::{RetryAfter, retry_after};
use crate::limit::Place;
use crate::pool::SendFailure;
use crate::refusal::{Again, Refusal};
use crate::retry::{self, Decision, Denied, Failed, Plan, RetryPolicy};
use crate::snapshot::Affinity;
use crate::telemetry::ServiceSeries;
use crate::worker::Worker;
use mesh_balance::{HashKey, PickFor, Slot};
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The attempts so far.
pub(super) struct Tries {
    body: Source,
    series: Rc<ServiceSeries>,
    tried: RefCell<Vec<Slot>>,
    /// What the request is hashed by, where its cluster does that.
    key: Option<HashKey>,
    /// How long it may be silent, if that is limited.
    pub(super) idle: Option<Rc<Idle>>,
    made: u32,
    /// What it has of the limit of retries, from its first on.
    retrying: Option<Place>,
}

enum Source {
    Empty,
    Replay(Replay),
}

/// What follows an attempt.
pub(super) enum Next {
    /// Its answer is the answer.
    Done(Box<Exchanged>),
    /// There is no answer and no other attempt.
    Failed(Refusal),
    /// Another attempt, after a pause.
    Again(Option<Duration>),
}

impl Tries {
    pub(super) fn new(worker: &Worker, routed: &Routed, accepted: &mut Accepted, client: IpAddr) -> Self {
        let policy = routed.policy();
        routed.cluster.deposit(worker.nanos(accepted.started), policy.hedge.as_ref());
        let idle = policy.timeouts.idle.map(|limit| Idle::new(limit, accepted.started));
        let body = match accepted.body.take() {
            Some(body) if has_body(&body, &accepted.head.method) => {
                Source::Replay(Replay::new(body, idle.clone()))
            }
            _ => Source::Empty,
        };
        let Affinity { key, cookie } = routed.cluster.affinity(worker, &accepted.head, client);
        accepted.cookie = cookie;
        let series = routed.bound.bytes.clone();
        Self { body, series, tried: RefCell::default(), key, idle, made: 0, retrying: None }
    }

    /// Picks an endpoint for the next attempt, if possible one that was not tried yet.
    ///
    /// # Errors
    /// As [`crate::cluster::Cluster::pick`].
    pub(super) fn pick(&self, worker: &Rc<Worker>, routed: &Routed, now: Instant) -> Result<Picked, Refusal> {
        let mut tried = self.tried.borrow_mut();
        let picked = routed.cluster.pick(worker, now, PickFor { key: self.key, tried: &tried })?;
        tried.push(picked.slot);
        Ok(picked)
    }

    /// Picks another endpoint while an attempt is under way; nothing if there is no other.
    pub(super) fn pick_beside(&self, worker: &Rc<Worker>, routed: &Routed, now: Instant) -> Option<Picked> {
        let mut tried = self.tried.borrow_mut();
        let picked = routed.cluster.pick(worker, now, PickFor { key: self.key, tried: &tried }).ok()?;
        if tried.contains(&picked.slot) {
            return None;
        }
        tried.push(picked.slot);
        Some(picked)
    }

    /// The body for the attempt that starts now.
    pub(super) fn body(&self) -> UpBody {
        match &self.body {
            Source::Empty => UpBody::Empty,
            Source::Replay(replay) => UpBody::Kept(replay.attempt(), self.series.clone()),
        }
    }

    /// Whether an attempt beside the one under way would take nothing from it. That is so for the first alone: a later one
    /// may still be sending what is kept.
    pub(super) fn may_be_hedged(&self) -> bool {
        self.made == 0
            && match &self.body {
                Source::Empty => true,
                Source::Replay(replay) => replay.is_whole(),
            }
    }

    /// Decides what follows an attempt.
    pub(super) fn judge(
        &mut self,
        worker: &Worker,
        routed: &Routed,
        accepted: &mut Accepted,
        outcome: Result<Box<Exchanged>, Box<SendFailure>>,
    ) -> Next {
        let failed = match &outcome {
            Err(failure) => Some(Failed::Without(failure.refusal.reason, failure.again)),
            Ok(exchanged) => match exchanged.reason.map(|reason| (reason, reason.row().again)) {
                // The peer's sidecar says that its application never saw the request.
                Some((reason, Again::Unprocessed)) => Some(Failed::Without(reason, Again::Unprocessed)),
                made => match exchanged.effective_status() {
                    status @ 400.. => {
                        let is_broken = made.is_some_and(|(_, again)| again == Again::MaybeProcessed);
                        Some(Failed::Answer { status, grpc: exchanged.grpc_status(), is_broken })
                    }
                    _ => None,
                },
            },
        };
        if let Some(failed) = failed {
            match self.again(worker, routed, accepted, failed, outcome.as_deref().ok()) {
                Some(Ok(pause)) => return Next::Again(pause),
                Some(Err(denied)) => {
                    // Whoever is above may still have the body.
                    if denied != Denied::Body {
                        accepted.in_vain = true;
                        worker.shared.exhausted.note(Instant::now());
                    }
                    let families = &worker.shared.config.families.requests;
                    let service = &*routed.cluster.name;
                    families.retries_denied.with_label_values(&[service, denied.as_str()]).inc();
                    tracing::debug!(
                        service,
                        why = denied.as_str(),
                        attempts = self.made + 1,
                        "not trying again"
                    );
                }
                None => {
                    // What somebody further down has said goes on up, whatever is retried here.
                    if outcome.as_ref().is_ok_and(|exchanged| exchanged.is_in_vain()) {
                        worker.shared.exhausted.note(Instant::now());
                    }
                }
            }
        }
        match outcome {
            Ok(exchanged) => {
                if let Source::Replay(replay) = &self.body {
                    replay.settle();
                }
                Next::Done(exchanged)
            }
            Err(failure) => Next::Failed(failure.refusal),
        }
    }

    /// Another attempt after a pause, or why there is none; nothing if this failure is not one to be tried again.
    fn again(
        &mut self,
        worker: &Worker,
        routed: &Routed,
        accepted: &Accepted,
        failed: Failed,
        answer: Option<&Exchanged>,
    ) -> Option<Result<Option<Duration>, Denied>> {
        let policy = &routed.policy().retry;
        let Plan { cause, backoff } = match retry::plan(failed, &accepted.head.method, policy, self.made) {
            Decision::Final => return None,
            Decision::UsedUp => return Some(Err(Denied::Attempts)),
            Decision::Again(plan) => plan,
        };
        let pause = backoff.map(|backoff| backoff.delay(self.made, &mut *worker.rng()));
        let pause = match self.allowed(worker, routed, policy, answer, pause) {
            Ok(pause) => pause,
            Err(denied) => return Some(Err(denied)),
        };
        self.made += 1;
        let service = &*routed.cluster.name;
        let families = &worker.shared.config.families.requests;
        families.retries.with_label_values(&[service, cause.as_str()]).inc();
        tracing::debug!(service, cause = cause.as_str(), attempt = self.made + 1, "trying again");
        Some(Ok(pause))
    }

    /// Whether all who have a say agree to another attempt, and the pause before it. The budget is asked last, since it counts.
    fn allowed(
        &mut self,
        worker: &Worker,
        routed: &Routed,
        policy: &RetryPolicy,
        answer: Option<&Exchanged>,
        pause: Option<Duration>,
    ) -> Result<Option<Duration>, Denied> {
        if answer.is_some_and(Exchanged::is_in_vain) {
            return Err(Denied::Exhausted);
        }
        if let Source::Replay(replay) = &self.body
            && !replay.is_replayable()
        {
            return Err(Denied::Body);
        }
        let asked = match answer {
            Some(answer) if !policy.retry_after_most.is_zero() => {
                retry_after(answer.response.headers(), SystemTime::now())
            }
            Some(_) | None => RetryAfter::Unsaid,
        };
        let pause = match asked {
            RetryAfter::Unsaid => pause,
            RetryAfter::In(wait) if wait <= policy.retry_after_most => {
                Some(pause.unwrap_or_default().max(wait))
            }
            RetryAfter::In(_) | RetryAfter::Never => return Err(Denied::RetryAfter),
        };
        let now = Instant::now();
        // An attempt that usually takes longer than what is left would be given up by the caller: load without an answer.
        let needed = pause.unwrap_or_default().saturating_add(routed.cluster.typical_latency());
        if !routed.deadlines.allow(now, needed) {
            return Err(Denied::Deadline);
        }
        if self.retrying.is_none() {
            self.retrying = routed.cluster.retry().map_err(|_over_limit| Denied::Limit)?;
        }
        if !routed.cluster.withdraw(worker.nanos(now), policy.allowed) {
            return Err(Denied::Budget);
        }
        Ok(pause)
    }
}
