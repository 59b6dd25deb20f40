//! Probe connections as a captured user opens them: a child process that runs this same program as that user, since root
//! itself may be exempt. Both ends of the pipe between them are here.
//!
//! ```text
//! parent   starts the child, moves it to its control group ─> go ─> looks where it arrived ─> closes standard input
//! child    waits ─> opens its connection ─> prints `connected ADDR` or why not ─> holds it ─> ends
//! ```

use super::choice::Who;
use crate::intercept::flags::{ProbeFlags, ProbeKind};
use crate::intercept::grammar::Mark;
use crate::intercept::installation::CGROUPS;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// From a probe's SYN or query to its answer: both ends are on this machine, which may be busy.
const ANSWER: Duration = Duration::from_secs(2);
/// The control group a probe makes for itself: processes can't join one that has others below it.
const PROBE_CGROUP: &str = "outrigger-probe";
const GO: &[u8] = b"\n";
const CONNECTED: &str = "connected ";

/// A child that has opened, or failed to open, its connection.
#[derive(Debug)]
pub(super) struct Probe {
    child: Child,
    cgroup: Option<PathBuf>,
}

impl Probe {
    /// Starts it.
    ///
    /// # Errors
    /// The process can't be started: most often, its user can't be taken on without root.
    pub(super) fn start(who: &Who, kind: ProbeKind, to: SocketAddr) -> io::Result<Self> {
        // The link is followed without the rights to the folders on the way, which the user may not have.
        let mut command = Command::new("/proc/self/exe");
        command.args(["intercept", "probe"]).args(arguments(kind, to, who.mark));
        let cgroup = who.cgroup.as_ref().map(|path| Path::new(CGROUPS).join(path).join(PROBE_CGROUP));
        if let Some(path) = &cgroup {
            match std::fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        command.uid(who.uid).gid(who.gid);
        Self::spawn(command, cgroup)
    }

    /// Starts it in the network namespace `namespace`, as root.
    ///
    /// # Errors
    /// The process can't be started.
    pub(super) fn start_in(ip: &Path, namespace: &str, to: SocketAddr) -> io::Result<Self> {
        let mut command = Command::new(ip);
        command.args(["netns", "exec", namespace]).arg(std::env::current_exe()?).args(["intercept", "probe"]);
        command.args(arguments(ProbeKind::Tcp, to, None));
        Self::spawn(command, None)
    }

    fn spawn(mut command: Command, cgroup: Option<PathBuf>) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).env_clear();
        let mut probe = Self { child: command.spawn()?, cgroup };
        if let Some(path) = &probe.cgroup {
            std::fs::write(path.join("cgroup.procs"), probe.child.id().to_string())?;
        }
        if let Some(stdin) = probe.child.stdin.as_mut() {
            // A child that has ended already is seen by its outcome.
            drop(stdin.write_all(GO));
        }
        Ok(probe)
    }

    /// Where its connection comes from, or why there is none. Ends by the child's own timeout.
    pub(super) fn outcome(&mut self) -> Result<SocketAddr, String> {
        let mut line = String::new();
        if let Some(stdout) = self.child.stdout.as_mut() {
            // The child writes one line.
            BufReader::new(stdout.take(1024)).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        match line.trim().strip_prefix(CONNECTED).map(str::parse) {
            Some(Ok(address)) => Ok(address),
            Some(Err(_)) | None if line.trim().is_empty() => Err(
                "the probe could not run as that user: it must be allowed to execute the sidecar's binary"
                    .to_owned(),
            ),
            Some(Err(_)) | None => Err(line.trim().to_owned()),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(path) = &self.cgroup {
            drop(std::fs::remove_dir(path));
        }
    }
}

fn arguments(kind: ProbeKind, to: SocketAddr, mark: Option<Mark>) -> [OsString; 3] {
    let kind = match kind {
        ProbeKind::Tcp => "tcp",
        ProbeKind::Dns => "dns",
    };
    let mark = mark.map_or(0, Mark::number);
    [kind.into(), to.to_string().into(), mark.to_string().into()]
}

/// The child's side.
///
/// # Errors
/// Standard output is closed.
pub(in crate::intercept) fn probe(flags: &ProbeFlags) -> io::Result<()> {
    // A socket belongs for good to the control group it was made in, and the parent moves us into the right one.
    io::stdin().read_exact(&mut [0; GO.len()])?;
    let opened = open(flags);
    let line = match &opened {
        Ok((_, address)) => format!("{CONNECTED}{address}"),
        Err(error) => error.to_string(),
    };
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    // Held until the parent has looked; it ends this by closing the pipe.
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

fn open(flags: &ProbeFlags) -> io::Result<(Socket, SocketAddr)> {
    match flags.kind {
        ProbeKind::Tcp => {
            let socket = Socket::new(Domain::for_address(flags.to), Type::STREAM, Some(Protocol::TCP))?;
            if flags.mark != 0 {
                socket.set_mark(flags.mark)?;
            }
            socket.connect_timeout(&SockAddr::from(flags.to), ANSWER)?;
            let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
            Ok((socket, local))
        }
        ProbeKind::Dns => {
            let unspecified = if flags.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(unspecified)?;
            socket.set_read_timeout(Some(ANSWER))?;
            socket.connect(flags.to)?;
            socket.send(&QUERY)?;
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).map_err(|error| {
                let is_silence = error.kind() == io::ErrorKind::WouldBlock;
                if is_silence { io::Error::other("nobody answered") } else { error }
            })?;
            if answer.get(..length).and_then(|answer| answer.get(..2)) != QUERY.get(..2) {
                return Err(io::Error::other("the answer was to another question"));
            }
            let local = socket.local_addr()?;
            Ok((socket.into(), local))
        }
    }
}

/// A question for `probe.mesh.internal`, type A (RFC 1035 §4.1): a name of the mesh, so that no resolver elsewhere is
/// ever asked.
const QUERY: [u8; 37] =
    *b"\x4f\x52\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05probe\x04mesh\x08internal\x00\x00\x01\x00\x01";

/// The shortest answer to the question above: the question, marked as an answer.
pub(super) fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut answer = query.to_vec();
    *answer.get_mut(2)? |= 0x80;
    Some(answer)
}

/// Whether these bytes are that question.
pub(super) fn is_query(bytes: &[u8]) -> bool {
    bytes == QUERY
}
