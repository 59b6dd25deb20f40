//! Names of places outside of the mesh, looked up by DNS. Enters: names that workers need, and when each was last used.
//! Leaves: [`Resolved`], an immutable list of addresses by name, published when an address changes. Runs on the control
//! runtime; a worker asks once and then reads, so that no request waits for DNS but the first to a name.
//!
//! | room | what it decides or does |
//! | --- | --- |
//! | [`schedule`] | what to look up when, and what stands meanwhile: TTLs, failures, bounds. Pure |
//! | [`look_up`] | one look-up, with the system's resolver or the servers of `--dns-upstream` |

mod look_up;
mod schedule;

pub use look_up::SystemDns;
pub use schedule::{Answer, NameState, NameView, Resolved};

use crate::telemetry::ResolveMetrics;
use schedule::Schedule;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Wishes in flight; what does not fit is asked again by whoever waits.
const WISHES_MAX: usize = 256;

/// Looks names up.
pub trait LookUp: Clone + Send + 'static {
    /// All addresses of `name`. The implementation ends by a deadline of its own.
    fn look_up(&self, name: Arc<str>) -> impl Future<Output = Answer> + Send;
}

/// The workers' end: asking, and the newest answers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Names {
    wishes: mpsc::Sender<Arc<str>>,
    resolved: watch::Receiver<Arc<Resolved>>,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Resolver<L> {
    look_up: L,
    wishes: mpsc::Receiver<Arc<str>>,
    resolved: watch::Sender<Arc<Resolved>>,
    metrics: ResolveMetrics,
    /// What the workers count the seconds of use from.
    started: Instant,
}

/// Both ends.
pub fn resolver<L: LookUp>(look_up: L, metrics: ResolveMetrics, started: Instant) -> (Names, Resolver<L>) {
    let (sender, wishes) = mpsc::channel(WISHES_MAX);
    let (resolved, receiver) = watch::channel(Arc::default());
    (Names { wishes: sender, resolved: receiver }, Resolver { look_up, wishes, resolved, metrics, started })
}

impl Names {
    /// Asks for a name. Returns at once; whoever misses the answer asks again.
    pub(crate) fn ask(&self, name: &Arc<str>) {
        // Full or closed: there is nothing to do but to ask again.
        drop(self.wishes.try_send(name.clone()));
    }

    /// The answers, as they change.
    pub(crate) fn resolved(&self) -> watch::Receiver<Arc<Resolved>> {
        self.resolved.clone()
    }
}

impl<L: LookUp> Resolver<L> {
    /// Looks up what is asked for, and again before it runs out, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut schedule = Schedule::default();
        let mut flights: JoinSet<(Arc<str>, Answer)> = JoinSet::new();
        loop {
            let now = Instant::now();
            let mut is_changed = schedule.expire(now, self.started);
            for name in schedule.due(now, self.started) {
                let look_up = self.look_up.clone();
                flights.spawn(async move {
                    let answer = look_up.look_up(name.clone()).await;
                    (name, answer)
                });
            }
            self.metrics.state(schedule.len(), schedule.stalest(now));
            let next = schedule.next(now);
            tokio::select! {
                () = stop.cancelled() => return,
                wish = self.wishes.recv() => match wish {
                    Some(name) => is_changed |= schedule.want(&name, Instant::now()),
                    None => return,
                },
                Some(landed) = flights.join_next(), if !flights.is_empty() => match landed {
                    Ok((name, answer)) => {
                        self.metrics.looked_up(&answer);
                        is_changed |= schedule.answered(&name, answer, Instant::now());
                    }
                    Err(error) => tracing::error!(%error, "a look-up ended without an answer"),
                },
                () = tokio::time::sleep_until(next) => {}
            }
            if is_changed {
                self.resolved.send_replace(Arc::new(schedule.resolved()));
            }
        }
    }
}
