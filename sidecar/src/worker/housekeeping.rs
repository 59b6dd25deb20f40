//! What a worker does every few seconds, so that no request has to: idle connections are closed, connections that
//! overstay are told, what nobody uses any more is forgotten.

use super::Worker;
use crate::listen::activity::TICK;
use std::rc::Rc;
use tokio::time::{Instant, MissedTickBehavior};

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
    }
}
