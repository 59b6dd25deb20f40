//! The side of the new process: asks for the sockets of the one that runs, and takes those that its own flags ask for.

use super::{LOCK, Named, SERVING, SOCKET, receive_all};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// From connecting to the last socket.
const RECEIVE_WAIT: Duration = Duration::from_secs(5);

/// What another process has given us; perhaps nothing.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    files: Vec<Named>,
    link: Option<Link>,
}

/// To the process that we take over from.
#[derive(Debug)]
pub(crate) struct Link(UnixStream);

impl Link {
    /// Says that we serve: from here on the other process accepts nothing.
    pub(crate) fn serving(&self) {
        if let Err(error) = (&self.0).write_all(&[SERVING]) {
            tracing::warn!(%error, "the process that this one takes over from could not be told");
        }
    }
}

impl Inherited {
    /// Asks the sidecar that runs on this state directory, as this user, as root or as `uid`. Nothing if there is none:
    /// then this is a start like any other.
    ///
    /// # Errors
    /// It can't be asked, or its answer is not understood; it goes on.
    pub(crate) fn ask(state_dir: &Path, uid: Option<u32>) -> io::Result<Self> {
        let path = state_dir.join(SOCKET);
        let link = match UnixStream::connect(&path) {
            Ok(link) => link,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                tracing::info!("there is no sidecar to take over from; starting afresh");
                return Ok(Self::default());
            }
            Err(error) => return Err(error),
        };
        let peer = socket_peercred(&link)?;
        if peer.uid != geteuid() && !peer.uid.is_root() && Some(peer.uid.as_raw()) != uid {
            let sentence = format!("its sidecar is of the user {}", peer.uid.as_raw());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence));
        }
        link.set_read_timeout(Some(RECEIVE_WAIT))?;
        let files = receive_all(&link)?;
        tracing::info!(pid = ?peer.pid, sockets = files.len(), "taking over");
        Ok(Self { files, link: Some(Link(link)) })
    }

    /// The lock on the state directory.
    pub(crate) fn lock(&mut self) -> Option<File> {
        self.take(LOCK).pop().map(File::from)
    }

    /// The TCP sockets of this flag, listening where it wants to.
    pub(crate) fn listeners(&mut self, flag: &str, wanted: SocketAddr) -> Vec<TcpListener> {
        let all = self.take(flag).into_iter().map(TcpListener::from);
        let (found, others): (Vec<_>, Vec<_>) =
            all.partition(|socket| socket.local_addr().is_ok_and(|bound| suits(wanted, bound)));
        self.files.extend(others.into_iter().map(|socket| (flag.to_owned(), OwnedFd::from(socket))));
        found
    }

    /// The UDP socket of this flag, bound where it wants to.
    pub(crate) fn datagrams(&mut self, flag: &str, wanted: SocketAddr) -> Option<UdpSocket> {
        let all = self.take(flag).into_iter().map(UdpSocket::from);
        let (mut found, others): (Vec<_>, Vec<_>) =
            all.partition(|socket| socket.local_addr().is_ok_and(|bound| suits(wanted, bound)));
        self.files.extend(others.into_iter().map(|socket| (flag.to_owned(), OwnedFd::from(socket))));
        found.pop()
    }

    /// The link to the other process; what was not asked for is closed here.
    pub(crate) fn into_link(self) -> Option<Link> {
        self.link
    }

    fn take(&mut self, name: &str) -> Vec<OwnedFd> {
        let (found, others) =
            std::mem::take(&mut self.files).into_iter().partition(|(found, _)| found == name);
        self.files = others;
        let found: Vec<Named> = found;
        found.into_iter().map(|(_, file)| file).collect()
    }
}

/// Whether a socket bound there is one that was asked for: port 0 asks for any.
fn suits(wanted: SocketAddr, bound: SocketAddr) -> bool {
    wanted.ip() == bound.ip() && (wanted.port() == 0 || wanted.port() == bound.port())
}
