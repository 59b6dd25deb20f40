//! Signals from the operating system, turned into a drain.
//!
//! Enters: SIGTERM and SIGINT. Leaves: `Drain` moved forward, the first signal draining and the second forcing.
//! Never here: the grace time between the two, which is the process's own setting.

use crate::Drain;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The process's SIGTERM and SIGINT, already caught: from here on neither kills the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Catches SIGTERM and SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn signals() -> io::Result<Signals> {
    Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
}

impl Signals {
    /// Drains on the first signal and forces on the second, then returns.
    ///
    /// Run it beside the work (`select!` or `join!`); it is not a task of its own, since it has no end when no signal
    /// comes and would keep `Tasks::join` waiting.
    pub async fn govern(mut self, drain: &Drain) {
        let name = self.next().await;
        tracing::info!(signal = name, "draining; a second signal stops at once");
        drain.drain();
        let name = self.next().await;
        tracing::warn!(signal = name, "stopping at once");
        drain.force();
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
