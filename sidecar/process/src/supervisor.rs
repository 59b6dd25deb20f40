//! Word to the service manager that started this process: ready, ending, still alive. As `sd_notify(3)` has it: one
//! datagram for each word, to the socket that `$NOTIFY_SOCKET` names.
//!
//! Enters: the environment, once. Leaves: datagrams. Never here: when a word is true. Without a service manager, or when
//! it does not listen, nothing happens: whether traffic flows never depends on it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// From a word to the moment it is given up, while the manager's queue is full.
const TELL_WAIT: Duration = Duration::from_secs(1);

/// What the environment of a process says of its service manager.
#[derive(Debug, Clone, Default)]
pub struct Invitation {
    /// `$NOTIFY_SOCKET`: where words go.
    pub socket: Option<OsString>,
    /// `$WATCHDOG_USEC`: how long this process may be silent, in microseconds.
    pub watchdog_usec: Option<OsString>,
    /// `$WATCHDOG_PID`: the process that is meant by it; any, if it is missing.
    pub watchdog_pid: Option<OsString>,
}

/// The service manager; perhaps none.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

/// A word to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    /// What depends on this process may start. With one line for people.
    Ready(&'a str),
    /// One line for people on how it is now.
    Status(&'a str),
    /// It is ending.
    Stopping,
    /// It still works.
    Alive,
    /// From now on another process is the service.
    MainPid(u32),
}

impl Invitation {
    /// Looks into the environment.
    pub fn look() -> Self {
        let found = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            socket: found("NOTIFY_SOCKET"),
            watchdog_usec: found("WATCHDOG_USEC"),
            watchdog_pid: found("WATCHDOG_PID"),
        }
    }
}

impl Supervisor {
    /// The one that `invitation` names, for the process with this number.
    ///
    /// # Errors
    /// There is no sending to it.
    pub fn invited(invitation: &Invitation, pid: u32) -> io::Result<Self> {
        let Some(socket) = &invitation.socket else { return Ok(Self::default()) };
        let datagram = UnixDatagram::unbound()?;
        datagram.set_write_timeout(Some(TELL_WAIT))?;
        let text =
            |value: &Option<OsString>| value.as_ref().and_then(|value| value.to_str()?.parse::<u64>().ok());
        let ours = invitation.watchdog_pid.is_none() || text(&invitation.watchdog_pid) == Some(pid.into());
        let watchdog = text(&invitation.watchdog_usec).filter(|usec| ours && *usec > 0);
        Ok(Self { socket: Some((datagram, address(socket)?)), watchdog: watchdog.map(Duration::from_micros) })
    }

    /// How long this process may be silent; none: for ever. Saying [`Word::Alive`] twice as often is usual.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells it. Blocks for a second at most.
    pub fn tell(&self, word: Word<'_>) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(word.to_string().as_bytes(), address) {
            tracing::warn!(?word, %error, "the service manager could not be told");
        }
    }
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A line break would begin another assignment.
            Self::Ready(status) => write!(f, "READY=1\nSTATUS={}", status.replace('\n', " ")),
            Self::Status(status) => write!(f, "STATUS={}", status.replace('\n', " ")),
            Self::Stopping => f.write_str("STOPPING=1\nSTATUS=finishing what runs"),
            Self::Alive => f.write_str("WATCHDOG=1"),
            Self::MainPid(pid) => write!(f, "MAINPID={pid}"),
        }
    }
}

/// A path, or with `@` in front a name in the abstract namespace.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "it is neither a path nor, with `@` in front, an abstract name",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation(socket: &OsStr) -> Invitation {
        Invitation { socket: Some(socket.to_owned()), ..Invitation::default() }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn words_arrive_at_paths_and_at_abstract_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let manager = Supervisor::invited(&invitation(path.as_os_str()), 7).unwrap();
        manager.tell(Word::Ready("serving\nas demo/web"));
        assert_eq!(received(&listener), "READY=1\nSTATUS=serving as demo/web");
        manager.tell(Word::Status("serving\nno more"));
        assert_eq!(received(&listener), "STATUS=serving no more");
        manager.tell(Word::MainPid(8));
        assert_eq!(received(&listener), "MAINPID=8");

        let name = format!("outrigger-test-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let manager = Supervisor::invited(&invitation(OsStr::new(&format!("@{name}"))), 7).unwrap();
        manager.tell(Word::Alive);
        assert_eq!(received(&listener), "WATCHDOG=1");
    }

    #[test]
    fn without_one_nothing_is_told_and_a_strange_one_is_refused() {
        let none = Supervisor::invited(&Invitation::default(), 7).unwrap();
        none.tell(Word::Stopping);
        assert_eq!(none.watchdog(), None);
        Supervisor::invited(&invitation(OsStr::new("vsock:2:1234")), 7).unwrap_err();
        // One that has gone away is no reason to stop.
        let gone = Supervisor::invited(&invitation(OsStr::new("/nowhere/notify")), 7).unwrap();
        gone.tell(Word::Alive);
    }

    #[test]
    fn the_watchdog_is_for_the_process_it_names() {
        let with = |pid: Option<&str>, usec: &str| {
            let invitation = Invitation {
                watchdog_usec: Some(usec.into()),
                watchdog_pid: pid.map(Into::into),
                ..invitation(OsStr::new("@x"))
            };
            Supervisor::invited(&invitation, 7).unwrap().watchdog()
        };
        assert_eq!(with(None, "2000000"), Some(Duration::from_secs(2)));
        assert_eq!(with(Some("7"), "2000000"), Some(Duration::from_secs(2)));
        assert_eq!(with(Some("8"), "2000000"), None);
        assert_eq!(with(None, "0"), None);
        assert_eq!(with(None, "soon"), None);
    }
}
