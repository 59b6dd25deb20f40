//! The side of the process that runs: keeps a second handle of every listening socket, and gives them to a process of
//! the same user that asks.

use super::{LOCK, Named, SERVING, SOCKET, send_all};
use crate::bootstrap::State;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

/// From connecting to the last socket.
const SEND_WAIT: Duration = Duration::from_secs(2);
/// From the last socket to the word that they are served. The new process waits for its control plane meanwhile; both
/// accept connections.
const SERVING_WAIT: Duration = Duration::from_secs(120);
/// From a failure of the machine to the next try.
const RECOVERY: Duration = Duration::from_millis(50);

/// The sockets to be given away.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<Named>);

impl Kept {
    /// With the lock on the state directory, which passes on with them.
    ///
    /// # Errors
    /// The process may open no more files.
    pub(crate) fn with_lock_of(state: &State) -> io::Result<Self> {
        let mut kept = Self::default();
        kept.add(LOCK, state.lock())?;
        Ok(kept)
    }

    /// One more, by the flag it belongs to.
    ///
    /// # Errors
    /// The process may open no more files.
    pub(crate) fn add(&mut self, name: &str, socket: impl AsFd) -> io::Result<()> {
        self.0.push((name.to_owned(), socket.as_fd().try_clone_to_owned()?));
        Ok(())
    }
}

/// The offer to take over.
#[derive(Debug)]
pub(crate) struct Offer {
    listener: UnixListener,
    kept: Arc<Kept>,
}

/// Another process serves on our sockets.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Its number.
    pub(crate) pid: u32,
    link: UnixStream,
}

impl Taken {
    /// Lets it know that we accept nothing any more; it waits for that.
    pub(crate) fn heard(self) {
        drop(self.link);
    }
}

impl Offer {
    /// Makes it, in place of that of the process that was here before.
    ///
    /// # Errors
    /// Its path is too long for a socket, or the directory can't be written.
    pub(crate) fn open(state: &State, kept: Kept) -> io::Result<Self> {
        let path = state.path(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
        Ok(Self { listener, kept: Arc::new(kept) })
    }

    /// Waits until another process serves on our sockets.
    ///
    /// # Cancel safety
    /// A takeover that is under way fails, and nothing else happens.
    pub(crate) async fn taken(&self) -> Taken {
        loop {
            let handed = match self.listener.accept().await {
                Ok((stream, _)) => self.hand_over(stream).await,
                Err(error) => {
                    tokio::time::sleep(RECOVERY).await;
                    Err(error)
                }
            };
            match handed {
                Ok(taken) => return taken,
                Err(error) => {
                    tracing::warn!(%error, "a takeover was begun and not finished; this process goes on")
                }
            }
        }
    }

    async fn hand_over(&self, stream: UnixStream) -> io::Result<Taken> {
        let peer = socket_peercred(&stream)?;
        if peer.uid != geteuid() && !peer.uid.is_root() {
            let sentence = format!("a process of the user {} asks for our sockets", peer.uid.as_raw());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence));
        }
        let pid = peer.pid.as_raw_nonzero().get();
        tracing::info!(pid, "handing the listening sockets to a new process");
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(SEND_WAIT))?;
        let kept = self.kept.clone();
        let sent = tokio::task::spawn_blocking(move || send_all(&stream, &kept.0).map(|()| stream));
        let stream = sent.await.map_err(io::Error::other)??;
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream)?;
        let word = tokio::time::timeout(SERVING_WAIT, stream.read_u8()).await;
        match word.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?? {
            SERVING => Ok(Taken { pid: pid.unsigned_abs(), link: stream }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the new process says something unknown")),
        }
    }
}
