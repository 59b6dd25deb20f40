//! What a worker does every few seconds, so that no request has to: idle connections are closed, connections that
//! overstay are told, what nobody uses any more is forgotten.

use super::Worker;
use crate::listen::activity::TICK;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Above what mimalloc takes from pages of small pieces.
const LARGE_PIECE: usize = 4 << 20;

/// How often it is looked whose interval has ended: the shortest interval there is.
const JUDGE: Duration = Duration::from_secs(1);

pub(super) async fn run(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker.watch.advance();
        worker.origins.sweep(Instant::now());
        let pinned = worker.current.pin();
        worker.destinations.sweep(&pinned);
        worker.clusters.sweep(&pinned);
        worker.entries.sweep();
        give_memory_back();
    }
}

/// Has the allocator return to the system what was freed some time ago. mimalloc looks for such memory only when a large
/// piece is freed, which may not happen again for hours after a burst.
fn give_memory_back() {
    // Never written to, so that it takes an address range and no memory.
    drop(black_box(Vec::<u8>::with_capacity(LARGE_PIECE)));
}

/// Compares endpoints where a policy asks for it. Where none does, the worker is not woken for it.
pub(super) async fn judge(worker: Rc<Worker>) {
    loop {
        worker.clusters.have_intervals().await;
        let mut ticks = tokio::time::interval(JUDGE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        while worker.clusters.judge(&worker) {
            ticks.tick().await;
        }
    }
}
