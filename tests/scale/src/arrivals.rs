//! When a change came to each sidecar: one change at a time, and whoever waits for it waits for all.

use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// From a change to giving up on those it has not come to.
const WITHIN: Duration = Duration::from_secs(120);

/// The change under way, and to whom it came after how long.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Held for one push.
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    latencies: Vec<Duration>,
    /// Whom it came to: what comes to one again counts for nobody else.
    whom: BTreeSet<usize>,
    wanted: usize,
}

impl Arrivals {
    /// A change is made now, and is to come to so many.
    pub(crate) fn begin(&self, wanted: usize) {
        let latencies = Vec::with_capacity(wanted);
        *self.state() = State { since: Some(Instant::now()), latencies, whom: BTreeSet::new(), wanted };
    }

    /// It has come to this one, who has acknowledged it.
    pub(crate) fn came(&self, whom: usize) {
        let mut state = self.state();
        let Some(since) = state.since else { return };
        if !state.whom.insert(whom) {
            return;
        }
        state.latencies.push(since.elapsed());
        if state.latencies.len() == state.wanted {
            self.arrived.notify_one();
        }
    }

    /// Waits until it has come to all.
    ///
    /// # Errors
    /// It does not, with to how many it came.
    pub(crate) async fn all(&self) -> Result<Vec<Duration>> {
        let is_there = |state: &State| state.latencies.len() >= state.wanted;
        let waited = tokio::time::timeout(WITHIN, async {
            loop {
                let arrived = self.arrived.notified();
                if is_there(&self.state()) {
                    return;
                }
                arrived.await;
            }
        });
        let in_time = waited.await.is_ok();
        let mut state = self.state();
        state.since = None;
        if !in_time {
            bail!("it came to {} of {} in {WITHIN:?}", state.latencies.len(), state.wanted);
        }
        Ok(std::mem::take(&mut state.latencies))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
