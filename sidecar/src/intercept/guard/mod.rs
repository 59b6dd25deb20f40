//! `install --fail-open`: watches the sidecar and has the rules in the kernel only while it carries traffic. Without this,
//! captured connections are refused while a sidecar is dead: it runs without the right to take rules away, and a dead one
//! could not.
//!
//! ```text
//! ask (admin port) ─> verdict (pure) ─> put in │ take away │ stay ─> wait until the connection ends, or a while ─┐
//!  ^                                                                                                             │
//!  └─────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Enters: the rules that are wanted, what the sidecar answers, signals. Leaves: the kernel with or without the rules,
//! each change in one transaction and logged once, with why. Never here: traffic; a rule that is not this instance's.
//!
//! One thread does it all in turn: while rules are being changed nothing else needs an answer.

mod ask;
mod verdict;

use super::failure::InterceptError;
use super::install::{say, tell};
use super::installation::{Installation, Removal};
use super::{Verification, Wanted};
use crate::backoff::Backoff;
use crate::listen::sockets::{self, State};
use ask::Line;
use mesh_process::{Invitation, Supervisor, Word, logging};
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use verdict::{Act, Judge, Rules, Seen, takers};

/// From a change that failed to the next try: at first, and at most.
const FAILED_FIRST: Duration = Duration::from_millis(250);
const FAILED_MOST: Duration = Duration::from_secs(30);

/// Questions in a row that follow at once on the end of a connection; then the usual wait comes first, so that whoever
/// closes each connection after its answer is not asked without pause.
const HURRIED_MAX: u32 = 5;

/// Installations in a row that fail although the sidecar is ready before and after, until that is the command's failure:
/// one may have met a sidecar that was stopped for a moment.
const TRIES: u32 = 2;

/// Watches until SIGTERM or SIGINT; the rules then stay as they are.
///
/// # Errors
/// What `install` would say: the rules could not be installed when the sidecar was first ready, and nothing has changed.
/// Later failures are logged and tried again.
pub(super) fn run(wanted: &Wanted, verification: Verification) -> Result<(), InterceptError> {
    let installation = Installation::prepare(wanted)?;
    logging::init(logging::Format::Text, "info")
        .map_err(|error| InterceptError::Guarding(io::Error::other(error)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(InterceptError::Guarding)?.block_on(async {
        let signals = Signals::catch().map_err(InterceptError::Guarding)?;
        let port = wanted.flags().admin_port.number();
        Guard::new(installation, verification, port)?.watch(signals).await
    })
}

struct Guard {
    installation: Installation,
    /// How the rules are installed next: after the first time they are known to work.
    verification: Verification,
    first: First,
    /// Installations that failed before the first that did not.
    tries: u32,
    line: Line,
    judge: Judge,
    failed: Backoff,
    supervisor: Supervisor,
    /// What was said last, so that it is not said again.
    said: String,
}

/// Whether the rules have been installed by this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// They have not: a failure is the command's.
    Time,
    /// They have.
    Over,
}

impl Guard {
    fn new(
        installation: Installation,
        verification: Verification,
        admin_port: u16,
    ) -> Result<Self, InterceptError> {
        let supervisor =
            Supervisor::invited(&Invitation::look(), std::process::id()).unwrap_or_else(|error| {
                tracing::warn!(%error, "$NOTIFY_SOCKET is not used");
                Supervisor::default()
            });
        let judge = Judge::new(takers(installation.capture()), there(&installation)?);
        let failed = Backoff::new(FAILED_FIRST, FAILED_MOST);
        let line = Line::to_port(admin_port);
        let said = String::new();
        Ok(Self {
            installation,
            verification,
            first: First::Time,
            tries: 0,
            line,
            judge,
            failed,
            supervisor,
            said,
        })
    }

    async fn watch(mut self, mut signals: Signals) -> Result<(), InterceptError> {
        let (mut is_watching, mut hurried) = (false, 0);
        loop {
            let seen = tokio::select! {
                seen = self.line.ask() => seen,
                told = signals.told() => match told {
                    Told::End => break,
                    Told::Reload => { self.reload(); continue }
                },
            };
            let (act, wait) = self.judge.judge(&seen, is_listened_on);
            let wait = match self.act(act) {
                Ok(own) => own.unwrap_or(wait),
                Err(error) => self.failed_at_first(error).await?,
            };
            if !is_watching && !wait.is_zero() {
                is_watching = true;
                self.supervisor.tell(Word::Ready(&self.status()));
            }
            tokio::select! {
                () = self.line.ended(), if hurried < HURRIED_MAX => hurried += 1,
                () = tokio::time::sleep(wait) => hurried = 0,
                told = signals.told() => match told {
                    Told::End => break,
                    Told::Reload => self.reload(),
                },
            }
        }
        let status = self.status();
        tracing::info!(rules = %self.installation.place(), %status, "asked to end; the rules stay as they are");
        self.supervisor.tell(Word::Stopping);
        Ok(())
    }

    /// Rules that don't work with a sidecar that does are the command's failure; one that ended or hung under the probes
    /// is not.
    async fn failed_at_first(&mut self, error: InterceptError) -> Result<Duration, InterceptError> {
        if self.line.ask().await == Seen::Ready {
            self.tries += 1;
        }
        if self.tries >= TRIES {
            return Err(error);
        }
        tracing::warn!(%error, "the rules could not be installed; perhaps the sidecar was ending");
        Ok(self.failed.after_failure(1.0))
    }

    /// Returns how long to wait if that is not the judge's to say.
    ///
    /// # Errors
    /// The rules could not be installed the first time.
    fn act(&mut self, act: Act) -> Result<Option<Duration>, InterceptError> {
        match act {
            Act::Rest => Ok(None),
            Act::Stay(why) => {
                if self.said != why {
                    tracing::info!(rules = %self.installation.place(), reason = why, "the rules stay as they are");
                    self.said = why;
                }
                Ok(None)
            }
            Act::PutIn => self.put_in(),
            Act::TakeAway(why) => Ok(self.take_away(why)),
        }
    }

    fn put_in(&mut self) -> Result<Option<Duration>, InterceptError> {
        match (self.installation.put(self.verification), self.first) {
            (Ok(findings), first) => {
                if first == First::Time {
                    tell(&findings)?;
                    say(&format!("installed: {}", self.installation.place()))?;
                }
                (self.first, self.verification) = (First::Over, Verification::Off);
                self.changed(Rules::In, "the sidecar is ready".to_owned());
                tracing::info!(
                    rules = %self.installation.place(), reason = self.said,
                    "the rules are installed: new connections are captured"
                );
                Ok(None)
            }
            (Err(error), First::Time) => Err(error),
            (Err(error), First::Over) => {
                tracing::error!(%error, "the rules could not be installed again: connections are not captured");
                Ok(Some(self.failed.after_failure(1.0)))
            }
        }
    }

    fn take_away(&mut self, why: String) -> Option<Duration> {
        match self.installation.take_away() {
            Ok(removal) => {
                self.changed(Rules::Out, why);
                let (rules, reason) = (self.installation.place(), &self.said);
                match removal {
                    Removal::Removed => tracing::warn!(
                        %rules, reason, "the rules are taken away: new connections go where they are sent, past the mesh"
                    ),
                    Removal::Nothing => {
                        tracing::warn!(%rules, reason, "someone else has taken the rules away before")
                    }
                }
                None
            }
            Err(error) => {
                tracing::error!(
                    %error, reason = why,
                    "the rules could not be taken away: captured connections are refused"
                );
                Some(self.failed.after_failure(1.0))
            }
        }
    }

    fn changed(&mut self, rules: Rules, why: String) {
        self.judge.has(rules);
        self.failed.reset();
        self.said = why;
        self.supervisor.tell(Word::Status(&self.status()));
    }

    /// Looks for rules anew: another program may have removed all there are. What is there is replaced.
    fn reload(&mut self) {
        match there(&self.installation) {
            Ok(rules) => self.judge.has(rules),
            Err(error) => tracing::error!(%error, "the rules could not be looked for"),
        }
    }

    /// One line for people.
    fn status(&self) -> String {
        let said = &self.said;
        match self.judge.rules() {
            Rules::In => "captured: the sidecar carries the traffic".to_owned(),
            Rules::Old => format!("captured by an earlier installation; {said}"),
            Rules::Out => format!("not captured: {said}"),
        }
    }
}

/// Which rules there are, none of them this process's.
fn there(installation: &Installation) -> Result<Rules, InterceptError> {
    Ok(if installation.is_there()? { Rules::Old } else { Rules::Out })
}

fn is_listened_on(port: u16) -> bool {
    sockets::all().iter().any(|socket| socket.state == State::Listening && socket.local.port() == port)
}

/// What the guard is told to do.
enum Told {
    End,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// # Cancel safety
    /// Safe: a signal is not lost.
    async fn told(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}
