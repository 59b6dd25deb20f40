//! The command that this process is the parent of, given after `--`. Enters: its words, and signals to be passed on.
//! Leaves: how it ended, as an exit code. Never here: when it is started, asked to end or killed; that is
//! [`mod@crate::app`].
//!
//! Its standard streams are ours. It is the leader of a process group of its own, which is what signals are passed to:
//! so a signal to our whole group, as a supervisor or a terminal sends it, reaches the command once and in our order.
//! Only when standard input is a terminal does it stay in our group, since another could not read from there.
//!
//! One that is to run as another user is started and signalled by a [`launcher`] instead.
//!
//! Every child that has ended is taken in, not just the command: as process 1 of a container we are given orphans.

mod launcher;

pub(crate) use launcher::Launcher;
pub use launcher::{Order, When, run as launch};

use mesh_process::Stop;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process;
use tokio::signal::unix::{self, SignalKind};

/// Exit codes above this one are the number of the signal that ended the command, as shells have it.
const SIGNALLED: u8 = 128;
/// The command is there and cannot be run, as shells have it.
const NOT_RUNNABLE: u8 = 126;
/// There is no such command, as shells have it.
const NOT_FOUND: u8 = 127;

/// What is told to whoever watches over this process, and is none of the command's business.
const OURS: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
}

/// A command that can't be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the command {command}: {}", mend(.source))]
pub struct SpawnError {
    command: Command,
    #[source]
    source: io::Error,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Signalled(u8),
}

/// The running command.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    group: Group,
    reach: Reach,
    /// Signals that are passed on as they come.
    passed: Vec<(unix::Signal, Signal)>,
    children: unix::Signal,
    end: Option<End>,
}

/// Which process group the command is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Own,
    Ours,
}

/// How signals get to the command.
#[derive(Debug)]
enum Reach {
    /// From us.
    Direct,
    /// By the launcher, which is our child in the command's place.
    Launcher(UnixStream),
}

impl Group {
    /// Where a command with this standard input belongs.
    pub(crate) fn for_input(stdin: &impl IsTerminal) -> Self {
        if stdin.is_terminal() { Self::Ours } else { Self::Own }
    }
}

impl Command {
    /// The command of these words; none if there are none.
    pub fn of_words(words: Vec<OsString>) -> Option<Self> {
        let mut words = words.into_iter();
        let program = words.next()?;
        Some(Self { program, arguments: words.collect() })
    }

    fn process(&self) -> process::Command {
        let mut process = process::Command::new(&self.program);
        process.args(&self.arguments);
        for variable in OURS {
            process.env_remove(variable);
        }
        process
    }
}

/// The signals that are passed on as they come, caught.
fn passed() -> io::Result<Vec<(unix::Signal, Signal)>> {
    let passed = [
        (SignalKind::hangup(), Signal::HUP),
        (SignalKind::quit(), Signal::QUIT),
        (SignalKind::user_defined1(), Signal::USR1),
        (SignalKind::user_defined2(), Signal::USR2),
    ];
    passed.into_iter().map(|(kind, signal)| Ok((unix::signal(kind)?, signal))).collect()
}

fn number(process: &process::Child) -> io::Result<Pid> {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("it has no process number"))
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.program.to_string_lossy())
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "another crate's enum: what is not named says itself what it is"
)]
fn mend(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such program; give its path, or the name of one in $PATH".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not run it; is it a file with the permission to be executed?".to_owned()
        }
        _ => error.to_string(),
    }
}

impl SpawnError {
    /// What shells end with then: 127 if there is no such command, else 126.
    pub fn exit_code(&self) -> u8 {
        if self.source.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE }
    }
}

impl End {
    /// By SIGKILL.
    pub(crate) const KILLED: Self = Self::Signalled(9);

    /// The exit code that tells it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(number) => SIGNALLED.saturating_add(number),
        }
    }

    /// The end by a signal of this kind.
    pub(crate) fn by(stop: Stop) -> Self {
        Self::Signalled(u8::try_from(signal_of(stop).as_raw()).unwrap_or(0))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(number) => write!(f, "signal {number}"),
        }
    }
}

fn signal_of(stop: Stop) -> Signal {
    match stop {
        Stop::Terminate => Signal::TERM,
        Stop::Interrupt => Signal::INT,
    }
}

impl Child {
    /// Starts the command, by the launcher if there is one. From here on SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are its.
    ///
    /// # Errors
    /// [`SpawnError`], which names it. What the launcher can't start it says itself, and ends with the exit code.
    pub(crate) fn start(command: &Command, launcher: Option<Launcher>) -> Result<Self, SpawnError> {
        let started = match launcher {
            Some(launcher) => Self::launched(launcher),
            None => Self::spawned(command.process(), Group::for_input(&io::stdin())),
        };
        started.map_err(|source| SpawnError { command: command.clone(), source })
    }

    /// Starts the command as another user, with this standard input; as root only.
    ///
    /// # Errors
    /// [`SpawnError`], which names it.
    fn start_as(order: &Order, stdin: OwnedFd) -> Result<Self, SpawnError> {
        let group = Group::for_input(&stdin);
        let mut process = order.process(When::AtOnce);
        process.stdin(stdin);
        Self::spawned(process, group).map_err(|source| SpawnError { command: order.command.clone(), source })
    }

    fn spawned(mut process: process::Command, group: Group) -> io::Result<Self> {
        // Before it is started, so that no end is missed.
        let (children, passed) = (unix::signal(SignalKind::child())?, passed()?);
        if group == Group::Own {
            process.process_group(0);
        }
        let pid = number(&process.spawn()?)?;
        Ok(Self { pid, group, reach: Reach::Direct, passed, children, end: None })
    }

    fn launched(launcher: Launcher) -> io::Result<Self> {
        let (children, passed) = (unix::signal(SignalKind::child())?, passed()?);
        launcher.go()?;
        let pid = number(&launcher.process)?;
        let group = Group::for_input(&io::stdin());
        Ok(Self { pid, group, reach: Reach::Launcher(launcher.control), passed, children, end: None })
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits until it has ended, and passes signals on to it meanwhile.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn ended(&mut self) -> End {
        loop {
            self.take_in();
            if let Some(end) = self.end {
                return end;
            }
            let Self { passed, children, .. } = self;
            let received = futures_util::future::select_all(passed.iter_mut().map(|(received, signal)| {
                let signal = *signal;
                Box::pin(async move {
                    received.recv().await;
                    signal
                })
            }));
            let signal = tokio::select! {
                _ = children.recv() => None,
                (signal, _, _) = received => Some(signal),
            };
            if let Some(signal) = signal {
                self.pass(signal);
            }
        }
    }

    /// Asks it to end, by the signal we were asked by. A terminal has asked it already.
    pub(crate) fn stop(&self, stop: Stop) {
        if (self.group, stop) != (Group::Ours, Stop::Interrupt) {
            self.pass(signal_of(stop));
        }
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        self.pass(Signal::KILL);
    }

    /// Sends a signal, if it still runs: the number of one that was taken in may be another's.
    fn pass(&self, signal: Signal) {
        if self.end.is_some() {
            return;
        }
        let sent = match (&self.reach, self.group) {
            (Reach::Launcher(control), _) => {
                // All that can be named are below 65.
                (&*control).write_all(&[u8::try_from(signal.as_raw()).unwrap_or(0)])
            }
            (Reach::Direct, Group::Own) => kill_process_group(self.pid, signal).map_err(io::Error::from),
            (Reach::Direct, Group::Ours) => kill_process(self.pid, signal).map_err(io::Error::from),
        };
        if let Err(error) = sent {
            tracing::warn!(?signal, %error, "the signal could not be passed to the command");
        }
    }

    /// Takes in every child that has ended.
    fn take_in(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let number = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
            let exited = status.exit_status().map(|code| End::Exited(number(code)));
            let end = exited.or_else(|| status.terminating_signal().map(|n| End::Signalled(number(n))));
            if pid == self.pid && end.is_some() {
                self.end = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        assert_eq!(End::Exited(3).exit_code(), 3);
        assert_eq!(End::Signalled(9).exit_code(), 137);
        assert_eq!(End::by(Stop::Terminate).exit_code(), 143);
        let command = Command::of_words(vec!["no-such-program".into(), "x".into()]).unwrap();
        let not = |kind: io::ErrorKind| SpawnError { command: command.clone(), source: kind.into() };
        assert_eq!(not(io::ErrorKind::NotFound).exit_code(), 127);
        assert_eq!(not(io::ErrorKind::PermissionDenied).exit_code(), 126);
        assert_eq!(
            not(io::ErrorKind::NotFound).to_string(),
            "cannot start the command `no-such-program`: there is no such program; give its path, or the name of one \
             in $PATH"
        );
        assert_eq!(Command::of_words(Vec::new()), None);
    }
}
