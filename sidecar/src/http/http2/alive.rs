//! Whether the other side of an HTTP/2 connection is still there. A connection on which nothing was read for a while is
//! asked by PING (RFC 9113 §6.7); no answer means that the machine or the way to it is gone. One that is silent gives its
//! buffers back, too.
//!
//! ```text
//! Heard ──3 silent ticks──> Asked ──1 more──> lost
//!   ^──────anything read──────┘
//! ```

use mesh_http2::Pulse;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// How often a connection is looked at.
const TICK: Duration = Duration::from_secs(10);

/// Silent ticks until the other side is asked: 30 to 40 s.
const ASK_AFTER: u32 = 3;

/// Silent ticks until it is given up, so that a machine that vanished costs no request more than 50 s.
const GIVE_UP_AFTER: u32 = 4;

/// When a silent connection is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Always.
    Ask,
    /// Only while requests wait on it.
    AskWhileBusy,
}

/// Watches one connection.
#[derive(Debug)]
pub(crate) struct Alive {
    pulse: Pulse,
    ticks: Interval,
    silent: u32,
}

impl Alive {
    /// Watches the connection that `pulse` belongs to.
    pub(crate) fn new(pulse: Pulse) -> Self {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pulse, ticks, silent: 0 }
    }

    /// Returns once the other side is gone.
    ///
    /// # Cancel safety
    /// Safe: what was counted is kept.
    pub(crate) async fn lost(&mut self, is_busy: impl Fn() -> bool, silence: Silence) {
        let mut is_resting = false;
        loop {
            self.ticks.tick().await;
            let asks = silence == Silence::Ask || is_busy();
            let was_heard = self.pulse.was_heard();
            if !was_heard && !is_resting {
                self.pulse.rest();
            }
            is_resting = !was_heard;
            if was_heard || !asks {
                self.silent = 0;
                continue;
            }
            self.silent += 1;
            if self.silent >= GIVE_UP_AFTER {
                return;
            }
            if self.silent >= ASK_AFTER {
                self.pulse.ask();
            }
        }
    }
}
