//! The command as another user than the sidecar. The sidecar has given up root when its command may start, and could
//! neither become that user nor send it a signal. So a small copy of this program is started before, which keeps root
//! and does nothing but that: it reads no file and nothing from the network, only numbers of signals from the sidecar.
//!
//! ```text
//! sidecar (root) ──starts──> launcher (root) ── waits
//!    │ gives up root             │
//!    ├─ "start", standard input ─>─ starts the command as its user
//!    ├─ a signal's number ───────>─ passes the signal on
//!    └─ gone ────────────────────>─ asks the command to end
//!                                └─ ends as the command ends, with its exit code
//! ```
//! What joins them is the launcher's standard input; the command's travels over it. To start the command it starts one more
//! copy, which becomes first the user, with all its groups, and then the command.

use super::{Child, Command, End, Group, SpawnError};
use crate::descriptors;
use mesh_process::Stop;
use rustix::process::{Gid, Signal, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{self, Stdio};
use tokio::io::AsyncReadExt;

/// The word to start.
const START: u8 = 0;

/// What the launcher is told when it is started.
#[derive(Debug)]
pub struct Order {
    /// The user to become.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The groups it is in besides.
    pub further_groups: Vec<u32>,
    /// When to become it.
    pub when: When,
    /// What to start then.
    pub command: Command,
}

/// When a launcher does what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Once it is told to, in another process, which it watches over.
    Told,
    /// Now, in this one.
    AtOnce,
}

impl Order {
    /// This program with this order.
    pub(super) fn process(&self, when: When) -> process::Command {
        // The file itself, whatever has its name by now.
        let mut process = process::Command::new("/proc/self/exe");
        process.args(["launch", "--user-id", &self.uid.to_string(), "--group-id", &self.gid.to_string()]);
        for group in &self.further_groups {
            process.args(["--further-group-id", &group.to_string()]);
        }
        if when == When::AtOnce {
            process.arg("--at-once");
        }
        process.arg("--").arg(&self.command.program).args(&self.command.arguments);
        process
    }

    /// Becomes the user, and then the command. Returns only why not.
    fn become_command(&self) -> io::Error {
        let further = self.further_groups.iter().copied().chain([self.gid]);
        let groups: Vec<_> = further.map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        // This thread is the only one, so that it is the whole process that changes. The user comes last, since that takes
        // the right to do the others.
        let became = set_thread_groups(&groups)
            .and_then(|()| set_thread_res_gid(gid, gid, gid))
            .and_then(|()| set_thread_res_uid(uid, uid, uid));
        match became {
            Ok(()) => self.command.process().exec(),
            Err(error) => error.into(),
        }
    }
}

/// A launcher that waits.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(super) process: process::Child,
    pub(super) control: UnixStream,
}

impl Launcher {
    /// Starts one for this command and user; call it while this process is root.
    ///
    /// # Errors
    /// The system can start no process.
    pub(crate) fn start(order: &Order) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let mut process = order.process(When::Told);
        for variable in super::OURS {
            process.env_remove(variable);
        }
        if Group::for_input(&io::stdin()) == Group::Own {
            process.process_group(0);
        }
        let process = process.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        Ok(Self { process, control })
    }

    /// Has it start the command.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn go(&self) -> io::Result<()> {
        descriptors::send(&self.control, &[START], &[io::stdin().as_fd()])
    }
}

/// The launcher's life. Returns the command's exit code; 0 if it never was to start.
///
/// # Errors
/// The command can't be started.
pub fn run(order: Order) -> Result<u8, SpawnError> {
    let command = order.command.clone();
    if order.when == When::AtOnce {
        return Err(SpawnError { command, source: order.become_command() });
    }
    live(order).unwrap_or_else(|source| Err(SpawnError { command, source }))
}

fn live(order: Order) -> io::Result<Result<u8, SpawnError>> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut word = [0];
    // As long as the sidecar needs; when it ends, so does this.
    let (length, mut received) = descriptors::receive(&control, &mut word)?;
    let (true, Some(stdin)) = (length == 1 && word == [START], received.pop()) else { return Ok(Ok(0)) };
    control.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let control = tokio::net::UnixStream::from_std(control)?;
        match Child::start_as(&order, stdin) {
            Ok(child) => Ok(Ok(supervise(child, control).await.exit_code())),
            Err(error) => Ok(Err(error)),
        }
    })
}

async fn supervise(mut child: Child, mut control: tokio::net::UnixStream) -> End {
    loop {
        let number = tokio::select! {
            end = child.ended() => return end,
            number = control.read_u8() => number,
        };
        match number.map(|number| Signal::from_named_raw(number.into())) {
            Ok(Some(signal)) => child.pass(signal),
            // The sidecar sends no others.
            Ok(None) => {}
            Err(_gone) => {
                child.stop(Stop::Terminate);
                return child.ended().await;
            }
        }
    }
}
