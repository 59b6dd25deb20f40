//! The service manager's watchdog: it is told that this process is alive as long as every worker answers, which one that
//! spins or is stuck does not.

use crate::worker::Mailboxes;
use mesh_process::{Supervisor, Word};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Tells it twice in each `silence`, the longest that it puts up with.
pub(super) async fn run(
    supervisor: Arc<Supervisor>,
    silence: Duration,
    workers: Mailboxes,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(silence / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let beats = async {
        loop {
            ticks.tick().await;
            if workers.flush().await {
                supervisor.tell(Word::Alive);
            }
        }
    };
    tokio::select! {
        () = beats => {}
        () = stop.cancelled() => {}
    }
}
