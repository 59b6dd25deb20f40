//! One process-wide decision to stop, told to everyone who serves.
//!
//! ```text
//! Running ──drain()──> Draining ──force()──> Forced
//!    └───────────────force()──────────────────^
//! ```
//!
//! Enters: the decision (a signal, `/drain`, an orchestrator). Leaves: a cheap question for the data path and two
//! futures to wait on. Never here: closing anything. Whoever owns a connection closes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::watch;

/// How far the process is on its way out. Phases only move forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Serving.
    Running = 0,
    /// No new work is taken; what runs may finish.
    Draining = 1,
    /// What still runs is cut off.
    Forced = 2,
}

#[derive(Debug)]
struct Shared {
    /// A copy of the phase that can be read without the watch channel's lock: asked once per request.
    fast: AtomicU8,
    phase: watch::Sender<Phase>,
}

/// The right to start the drain. Clones move the same phase.
#[derive(Debug, Clone)]
pub struct Drain(Arc<Shared>);

/// The view of those who must stop when asked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DrainSignal(Arc<Shared>);

impl Drain {
    /// A process that is running.
    pub fn new() -> Self {
        let fast = AtomicU8::new(Phase::Running as u8);
        Self(Arc::new(Shared { fast, phase: watch::Sender::new(Phase::Running) }))
    }

    /// The view to hand to whoever serves.
    pub fn signal(&self) -> DrainSignal {
        DrainSignal(Arc::clone(&self.0))
    }

    /// Asks everyone to finish. Does nothing when already draining or forced.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Asks everyone to stop at once.
    pub fn force(&self) {
        self.advance(Phase::Forced);
    }

    fn advance(&self, to: Phase) {
        self.0.phase.send_if_modified(|phase| {
            let forward = to > *phase;
            if forward {
                *phase = to;
                self.0.fast.store(to as u8, Ordering::Release);
            }
            forward
        });
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl DrainSignal {
    /// Whether the drain has begun (also true when forced). One atomic load.
    pub fn is_draining(&self) -> bool {
        self.0.fast.load(Ordering::Acquire) >= Phase::Draining as u8
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Waits until the drain begins. Returns at once if it has.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until the process is forced to stop.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn forced(&self) {
        self.reached(Phase::Forced).await;
    }

    async fn reached(&self, wanted: Phase) {
        let mut receiver = self.0.phase.subscribe();
        if receiver.wait_for(|phase| *phase >= wanted).await.is_err() {
            // The sender lives in the same Arc as `self`, so it cannot be gone; never claim a drain nobody asked for.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_move_forward() {
        let drain = Drain::new();
        let signal = drain.signal();
        assert!(!signal.is_draining());
        drain.force();
        drain.drain();
        assert_eq!(signal.phase(), Phase::Forced);
        assert!(signal.is_draining());
    }

    #[tokio::test]
    async fn everyone_waiting_is_told_and_late_comers_return_at_once() {
        let drain = Drain::new();
        let (first, second) = (drain.signal(), drain.signal());
        let waiting = async { tokio::join!(first.draining(), second.draining()) };
        tokio::join!(waiting, async { drain.drain() });
        drain.signal().draining().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_not_a_force() {
        let drain = Drain::new();
        drain.drain();
        let second = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(second, drain.signal().forced()).await.is_err());
    }
}
