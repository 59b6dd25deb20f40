//! A second attempt beside a slow first one. What enters is a picked endpoint, as for [`attempt::run`]; what leaves is the
//! outcome of the attempt that answered well first. The other is dropped, which cancels its stream, and its endpoint is not
//! blamed for it.
//!
//! ```text
//! first ────────── slow? ─────────────────┬─> whoever answers first, and well; else whoever answers last
//!                    └─ budget, other endpoint ─> second ─┘
//! ```

use super::attempt;
use super::request::{Accepted, Exchanged, Routed};
use super::tries::Tries;
use crate::cluster::Picked;
use crate::pool::SendFailure;
use crate::retry::hedge::HedgePolicy;
use crate::retry::{exhausted, is_idempotent};
use crate::worker::Worker;
use futures_util::future::{Either, select};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

type Outcome = Result<Box<Exchanged>, Box<SendFailure>>;

/// After how long a second attempt is made beside the one that starts now; nothing: none is.
pub(super) fn delay(
    worker: &Worker,
    accepted: &Accepted,
    routed: &Routed,
    now: Instant,
) -> Option<(HedgePolicy, Duration)> {
    let policy = routed.policy().hedge?;
    if !is_idempotent(&accepted.head.method) {
        return None;
    }
    Some((policy, routed.cluster.hedge_delay(worker.nanos(now), &policy)?))
}

/// Sends the request to `picked`, and after `delay` to another endpoint too.
///
/// # Errors
/// As [`attempt::run`], of the attempt that failed last.
pub(super) async fn run(
    worker: &Rc<Worker>,
    accepted: &Accepted,
    routed: &Routed,
    tries: &Tries,
    picked: Picked,
    now: Instant,
    (policy, delay): (HedgePolicy, Duration),
) -> Outcome {
    let mut first = pin!(attempt::run(worker, accepted, routed, tries, picked, now));
    let slow = now.checked_add(delay).unwrap_or(now);
    if let Ok(outcome) = timeout_at(slow, &mut first).await {
        return outcome;
    }
    let now = Instant::now();
    let Some(beside) = beside(worker, routed, tries, &policy, now) else { return first.await };
    let mut hedge = Hedge { worker, routed, outcome: "lost" };
    let second = pin!(attempt::run(worker, accepted, routed, tries, beside, now));
    match select(first, second).await {
        Either::Left((outcome, _second)) if is_good(&outcome) => outcome,
        Either::Right((outcome, _first)) if is_good(&outcome) => {
            hedge.outcome = "won";
            outcome
        }
        Either::Left((_failed, second)) => {
            let outcome = second.await;
            if is_good(&outcome) {
                hedge.outcome = "won";
            }
            outcome
        }
        Either::Right((_failed, first)) => first.await,
    }
}

/// Another endpoint, if a second attempt may be made there.
fn beside(
    worker: &Rc<Worker>,
    routed: &Routed,
    tries: &Tries,
    policy: &HedgePolicy,
    now: Instant,
) -> Option<Picked> {
    if !tries.may_be_hedged() || !routed.deadlines.allow(now, routed.cluster.typical_latency()) {
        return None;
    }
    let picked = tries.pick_beside(worker, routed, now)?;
    if !routed.cluster.withdraw_hedge(worker.nanos(now), policy.allowed) {
        count(worker, routed, "denied");
        return None;
    }
    Some(picked)
}

/// A second attempt that is counted once it is known what came of it, or when nobody waits for it any more.
struct Hedge<'a> {
    worker: &'a Worker,
    routed: &'a Routed,
    outcome: &'static str,
}

impl Drop for Hedge<'_> {
    fn drop(&mut self) {
        count(self.worker, self.routed, self.outcome);
    }
}

fn count(worker: &Worker, routed: &Routed, outcome: &str) {
    let families = &worker.shared.config.families.requests;
    families.hedges.with_label_values(&[&*routed.cluster.name, outcome]).inc();
}

fn is_good(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|exchanged| !exhausted::is_failure(exchanged.effective_status()))
}
