//! The attempts of one request: its body, which may be sent again; the endpoints tried; and the decision after each
//! attempt, where `retry::plan`, the body, the deadline and the cluster's budget all have to agree.

use super::request::{Accepted, Exchanged, Routed, has_body};
use crate::http::body::UpBody;
use crate::http::replay::Replay;
use crate::limit::Place;
use crate::pool::SendFailure;
use crate::refusal::{Again, Refusal};
use crate::retry::{self, Failed, Plan};
use crate::snapshot::Affinity;
use crate::telemetry::ServiceSeries;
use crate::worker::Worker;
use mesh_balance::{HashKey, PickFor, Slot};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// The attempts so far.
pub(super) struct Tries {
    body: Source,
    series: Rc<ServiceSeries>,
    tried: Vec<Slot>,
    /// What the request is hashed by, where its cluster does that.
    key: Option<HashKey>,
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
    pub(super) fn new(worker: &Worker, routed: &Routed, accepted: &mut Accepted) -> Self {
        routed.cluster.deposit(worker.nanos(accepted.started));
        let body = match accepted.body.take() {
            Some(body) if has_body(&body, &accepted.head.method) => Source::Replay(Replay::new(body)),
            _ => Source::Empty,
        };
        let Affinity { key, cookie } = routed.cluster.affinity(&accepted.head);
        accepted.cookie = cookie;
        Self { body, series: routed.bound.bytes.clone(), tried: Vec::new(), key, made: 0, retrying: None }
    }

    /// What the next endpoint is picked for.
    pub(super) fn pick_for(&self) -> PickFor<'_> {
        PickFor { key: self.key, tried: &self.tried }
    }

    pub(super) fn picked(&mut self, slot: Slot) {
        self.tried.push(slot);
    }

    /// The body for the attempt that starts now.
    pub(super) fn body(&mut self) -> UpBody {
        match &self.body {
            Source::Empty => UpBody::Empty,
            Source::Replay(replay) => UpBody::Kept(replay.attempt(), self.series.clone()),
        }
    }

    /// Decides what follows an attempt.
    pub(super) fn judge(
        &mut self,
        worker: &Worker,
        routed: &Routed,
        accepted: &Accepted,
        outcome: Result<Box<Exchanged>, Box<SendFailure>>,
    ) -> Next {
        let failed = match &outcome {
            Err(failure) => Some(Failed::Without(failure.refusal.reason, failure.again)),
            Ok(exchanged) => match exchanged.reason.map(|reason| (reason, reason.row().again)) {
                // The peer's sidecar says that its application never saw the request.
                Some((reason, Again::Unprocessed)) => Some(Failed::Without(reason, Again::Unprocessed)),
                _ => match exchanged.effective_status() {
                    400.. => Some(Failed::Status(exchanged.effective_status())),
                    _ => None,
                },
            },
        };
        if let Some(pause) = failed.and_then(|failed| self.again(worker, routed, accepted, failed)) {
            return Next::Again(pause);
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

    fn again(
        &mut self,
        worker: &Worker,
        routed: &Routed,
        accepted: &Accepted,
        failed: Failed,
    ) -> Option<Option<Duration>> {
        let asked = routed.rule().and_then(|rule| rule.retry.as_ref());
        let Plan { cause, backoff } = retry::plan(failed, &accepted.head.method, asked, self.made)?;
        if let Source::Replay(replay) = &self.body
            && !replay.is_replayable()
        {
            return None;
        }
        let now = Instant::now();
        let retry = self.made;
        let pause = backoff.map(|backoff| backoff.delay(retry, &mut *worker.rng()));
        if !routed.deadlines.allow(now, pause.unwrap_or_default()) {
            return None;
        }
        if self.retrying.is_none() {
            let Ok(place) = routed.cluster.retry() else {
                let denied = &worker.shared.config.families.limits.retries_denied;
                denied.with_label_values(&[&*routed.cluster.name]).inc();
                return None;
            };
            self.retrying = place;
        }
        let families = &worker.shared.config.families.requests;
        if !routed.cluster.withdraw(worker.nanos(now)) {
            families.retry_budget_exhausted.with_label_values(&[&*routed.cluster.name]).inc();
            return None;
        }
        self.made += 1;
        let service = &*routed.cluster.name;
        families.retries.with_label_values(&[service, cause.as_str()]).inc();
        tracing::debug!(service, cause = cause.as_str(), attempt = self.made + 1, "trying again");
        Some(pause)
    }
}
