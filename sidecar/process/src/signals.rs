//! Signals from the operating system, turned into a drain.
//!
//! Enters: SIGTERM and SIGINT. Leaves: `Drain` moved forward, the first signal draining and the second forcing.
//! Never here: the grace time between the two, which is the process's own setting.

use crate::Drain;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The process's SIGTERM and SIGINT, already caught: from here on neither kills the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    first: Arc<OnceLock<Stop>>,
}

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: from a supervisor.
    Terminate,
    /// SIGINT: usually from a terminal.
    Interrupt,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// Catches SIGTERM and SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn signals() -> io::Result<Signals> {
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        first: Arc::default(),
    })
}

impl Signals {
    /// Where the first signal is noted once it came.
    pub fn first(&self) -> Arc<OnceLock<Stop>> {
        self.first.clone()
    }

    /// Drains on the first signal and forces on the second, then returns.
    ///
    /// Run it beside the work (`select!` or `join!`); it is not a task of its own, since it has no end when no signal
    /// comes and would keep `Tasks::join` waiting.
    pub async fn govern(mut self, drain: &Drain) {
        let first = self.next().await;
        // Set once, here.
        self.first.set(first).ok();
        tracing::info!(signal = %first, "draining; a second signal stops at once");
        drain.drain();
        let second = self.next().await;
        tracing::warn!(signal = %second, "stopping at once");
        drain.force();
    }

    /// The next signal: for a process that is not far enough to drain.
    ///
    /// # Cancel safety
    /// Safe: a signal that was not returned is returned next time.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}
