//! From serving to the end, with or without a command to be the parent of. Enters: word that traffic can flow, signals,
//! the command's end. Leaves: how the command ended, with every worker gone.
//!
//! ```text
//! serving ──traffic can flow──> command runs ──it ends──────> leave the mesh ─> workers drain ─> end
//!    │                               └─────asked to end────┐
//!    ├──asked to end, no command──> leave, drain, end      │
//!    └──too late for the command──> leave, drain, end      v
//!                 leave the mesh ─> requests of peers finish ─> signal to the command ─> it ends ─> workers drain ─> end
//! ```
//! When another process has taken over, the mesh is not left: it serves the same workload on the same sockets. Nothing is
//! accepted here any more; what is open is finished within the grace time. Nor is it left by a process that ends before it
//! has taken over: the other one goes on.
//!
//! The mesh first: no caller is still sent here when the command hears that it should end. Then what peers have asked of
//! it, since many programs drop that when they are told to end. A stream that never ends must not keep the signal from
//! one that would end it, so it comes after a quarter of the grace time at the latest. The command's own calls are
//! carried until it has ended.

use super::AppError;
use crate::command::{Child, Command, End, Launcher};
use crate::register::Registrar;
use crate::takeover::{Link, Offer, Taken};
use crate::worker::Workers;
use mesh_process::{Condition, Drain, Readiness, Stop, Supervisor, Word};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// From the order to stop at once to the moment it is given up.
pub(super) const STOP_WAIT: Duration = Duration::from_secs(2);

/// What the life of the process hangs on.
pub(super) struct Life {
    pub(super) command: Option<Command>,
    pub(super) ready_timeout: Duration,
    pub(super) control_plane: String,
    pub(super) grace: Duration,
    /// The signal that asked to end.
    pub(super) asked: Arc<OnceLock<Stop>>,
    pub(super) readiness: Readiness,
    pub(super) serving: Condition,
    pub(super) registrar: Registrar,
    pub(super) shutdown: Drain,
    pub(super) inbound_drain: Drain,
    pub(super) outbound_drain: Drain,
    /// What says that another process accepts.
    pub(super) handed_over: Drain,
    /// The process that this one takes over from; none if there is none.
    pub(super) before: Option<Link>,
    /// Ends what another process does in our place: views, DNS, renewal.
    pub(super) retired: CancellationToken,
    pub(super) supervisor: Arc<Supervisor>,
    /// What the service manager shows of us.
    pub(super) status: String,
    pub(super) started: Instant,
}

/// What a start led to.
struct Started {
    /// None if there is none to be started, or not any more.
    child: Option<Child>,
    /// None if nobody can take over.
    offer: Option<Offer>,
}

/// Waits until then; for ever if there is no such time.
pub(super) async fn late(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Life {
    /// When a command is given up that could not be started; without one traffic is waited for as long as it takes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.command.as_ref().and_then(|_| self.started.checked_add(self.ready_timeout))
    }

    /// Why it is given up.
    pub(super) fn not_ready(&self) -> AppError {
        AppError::NotReady {
            command: self.command.as_ref().map(ToString::to_string).unwrap_or_default(),
            missing: self.readiness.missing(),
            waited: self.ready_timeout,
            control_plane: self.control_plane.clone(),
        }
    }

    /// What the process ends with: the command's code. One that was never started has not done its work.
    pub(super) fn exit_code(&self, end: Option<End>) -> u8 {
        match (&self.command, end) {
            (None, _) => 0,
            (Some(_), Some(end)) => end.exit_code(),
            (Some(_), None) => End::by(self.stop()).exit_code(),
        }
    }

    /// The signal we were asked to end by; by other means is as by SIGTERM.
    fn stop(&self) -> Stop {
        self.asked.get().copied().unwrap_or(Stop::Terminate)
    }

    /// Lives to the end.
    ///
    /// # Errors
    /// The command could not be started; the end is in order nevertheless.
    pub(super) async fn live(
        &self,
        ready: impl Future<Output = Result<Option<Offer>, AppError>>,
        workers: Workers,
        launcher: Option<Launcher>,
    ) -> Result<Option<End>, AppError> {
        let started = self.start(ready, launcher).await;
        let shutdown = self.shutdown.signal();
        let (child, failure) = match started {
            Ok(Started { child: Some(mut child), .. }) => {
                tokio::select! {
                    end = child.ended() => tracing::info!(%end, "the command has ended"),
                    () = shutdown.draining() => {}
                }
                (Some(child), None)
            }
            Ok(Started { child: None, offer }) => {
                tokio::select! {
                    taken = taken(offer) => {
                        self.hand_over(workers, taken).await;
                        return Ok(None);
                    }
                    () = shutdown.draining() => {}
                }
                (None, None)
            }
            Err(error) => (None, Some(error)),
        };
        let end = self.end(workers, child).await;
        failure.map_or(Ok(end), Err)
    }

    /// Waits until traffic can flow and starts the command, unless asked to end before.
    async fn start(
        &self,
        ready: impl Future<Output = Result<Option<Offer>, AppError>>,
        launcher: Option<Launcher>,
    ) -> Result<Started, AppError> {
        let shutdown = self.shutdown.signal();
        let offer = tokio::select! {
            offer = ready => offer?,
            () = late(self.deadline()) => {
                // What is still waited for then is not needed.
                if !self.readiness.is_ready() {
                    return Err(self.not_ready());
                }
                None
            }
            () = shutdown.draining() => return Ok(Started { child: None, offer: None }),
        };
        let child = match &self.command {
            Some(command) => {
                let child = Child::start(command, launcher)?;
                tracing::info!(%command, pid = child.pid(), "started the command");
                Some(child)
            }
            None => None,
        };
        self.supervisor.tell(Word::Ready(&self.status));
        Ok(Started { child, offer })
    }

    /// Finishes what is open, while the other process accepts. Idle HTTP/1 connections wait for one more
    /// request, so that none is lost on its way, and are closed once they are quiet.
    async fn hand_over(&self, workers: Workers, taken: Taken) {
        tracing::info!(pid = taken.pid, "another process has taken over; finishing what runs");
        self.supervisor.tell(Word::MainPid(taken.pid));
        let start = Instant::now();
        self.retired.cancel();
        // Before the drains, which are others then.
        self.handed_over.drain();
        self.inbound_drain.drain();
        self.outbound_drain.drain();
        taken.heard();
        self.end_workers(pin!(workers.join()), start + self.grace).await;
    }

    async fn end(&self, mut workers: Workers, child: Option<Child>) -> Option<End> {
        self.serving.set(false);
        self.supervisor.tell(Word::Stopping);
        let shutdown = self.shutdown.signal();
        if self.before.as_ref().is_some_and(Link::is_pending) {
            tracing::info!("ending before the takeover was done; the other process goes on");
        } else {
            tokio::select! {
                left = self.registrar.leave() => tracing::info!(?left, "left the mesh; finishing what runs"),
                () = shutdown.forced() => {}
            }
        }
        let start = Instant::now();
        self.inbound_drain.drain();
        let end = match child {
            Some(child) => Some(self.end_command(&mut workers, child, start).await),
            None => None,
        };
        self.outbound_drain.drain();
        self.end_workers(pin!(workers.join()), start + self.grace).await;
        end
    }

    /// Has the command end, if it has not yet.
    async fn end_command(&self, workers: &mut Workers, mut child: Child, start: Instant) -> End {
        let shutdown = self.shutdown.signal();
        tokio::select! {
            () = workers.inbound_done() => {}
            () = tokio::time::sleep_until(start + self.grace / 4) => {}
            _ = child.ended() => {}
            () = shutdown.forced() => {}
        }
        child.stop(self.stop());
        tokio::select! {
            end = child.ended() => return end,
            () = tokio::time::sleep_until(start + self.grace) => {
                tracing::warn!(grace_s = self.grace.as_secs(), "the grace time is over; the command is killed");
            }
            () = shutdown.forced() => {}
        }
        child.kill();
        // The kernel ends it, but for a device that does not answer.
        tokio::time::timeout(STOP_WAIT, child.ended()).await.unwrap_or(End::KILLED)
    }

    /// Lets the workers finish, at most until the grace time is over or a second signal comes.
    async fn end_workers(&self, mut ended: Pin<&mut impl Future<Output = usize>>, over: Instant) {
        let forced = self.shutdown.signal();
        let in_time = tokio::select! {
            panicked = &mut ended => Some(panicked),
            () = tokio::time::sleep_until(over) => {
                tracing::warn!(grace_s = self.grace.as_secs(), "the grace time is over; what still runs is cut off");
                None
            }
            () = forced.forced() => None,
        };
        let panicked = match in_time {
            Some(panicked) => Some(panicked),
            None => {
                self.inbound_drain.force();
                tokio::time::timeout(STOP_WAIT, ended).await.ok()
            }
        };
        told(panicked);
    }
}

/// Waits until another process has taken over; with the call's end the offer is gone.
async fn taken(offer: Option<Offer>) -> Taken {
    match offer {
        Some(offer) => offer.taken().await,
        None => std::future::pending().await,
    }
}

/// How the workers ended: how many panicked, if they did end.
fn told(panicked: Option<usize>) {
    match panicked {
        Some(0) => {}
        Some(panicked) => tracing::error!(panicked, "workers panicked"),
        None => tracing::error!("workers did not end when forced to"),
    }
}
