//! The side of the new process: asks for the sockets of the one that runs, and takes those that its own flags ask for.

use super::{LOCK, Named, SERVING, SOCKET, receive_all};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use socket2::{SockRef, Type};
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// From connecting to the last socket.
const RECEIVE_WAIT: Duration = Duration::from_secs(5);
/// From the word that we serve to the end of the link.
const HEARD_WAIT: Duration = Duration::from_secs(2);

/// What another process has given us; perhaps nothing.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    files: Vec<Named>,
    link: Option<Link>,
}

/// To the process that we take over from.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    is_told: AtomicBool,
}

impl Link {
    /// Says that we serve, and waits until the other process has heard: then it accepts nothing any more, and each of its
    /// answers is the last on its connection. Not waited for longer than 2 s: it may hang.
    pub(crate) async fn serving(&self) {
        self.is_told.store(true, Ordering::Relaxed);
        let heard = async {
            (&self.stream).write_all(&[SERVING])?;
            let link = self.stream.try_clone()?;
            link.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(link)?.read(&mut [0]).await
        };
        match tokio::time::timeout(HEARD_WAIT, heard).await {
            Ok(Ok(_closed)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the process that this one takes over from could not be told");
            }
            Err(_elapsed) => {
                tracing::warn!("the process that this one takes over from does not say that it has heard");
            }
        }
    }

    /// Whether the other process goes on if we end now.
    pub(crate) fn is_pending(&self) -> bool {
        !self.is_told.load(Ordering::Relaxed)
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
        Ok(Self { files, link: Some(Link { stream: link, is_told: AtomicBool::new(false) }) })
    }

    /// The lock on the state directory.
    pub(crate) fn lock(&mut self) -> Option<File> {
        self.take(LOCK).pop().map(File::from)
    }

    /// The TCP sockets of this flag, listening where it wants to.
    pub(crate) fn listeners(&mut self, flag: &str, wanted: SocketAddr) -> Vec<TcpListener> {
        self.sockets(flag, Type::STREAM, wanted).map(TcpListener::from).collect()
    }

    /// The UDP socket of this flag, bound where it wants to.
    pub(crate) fn datagrams(&mut self, flag: &str, wanted: SocketAddr) -> Option<UdpSocket> {
        self.sockets(flag, Type::DGRAM, wanted).map(UdpSocket::from).next()
    }

    /// Those of this flag that are of this type and bound where it wants to: one flag may have sockets of both types at
    /// the same address, as DNS has.
    fn sockets(
        &mut self,
        flag: &str,
        kind: Type,
        wanted: SocketAddr,
    ) -> impl Iterator<Item = OwnedFd> + use<> {
        let (found, others): (Vec<_>, Vec<_>) = self.take(flag).into_iter().partition(|file| {
            let socket = SockRef::from(file);
            let bound = socket.local_addr().ok().and_then(|address| address.as_socket());
            socket.r#type().is_ok_and(|found| found == kind)
                && bound.is_some_and(|bound| suits(wanted, bound))
        });
        self.files.extend(others.into_iter().map(|file| (flag.to_owned(), file)));
        found.into_iter()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Two DNS servers' sockets, as they are offered: UDP and TCP at the same address, twice.
    fn dns() -> (Inherited, [SocketAddr; 2]) {
        let pair = |ip: &str| loop {
            let tcp = TcpListener::bind((ip, 0)).unwrap();
            let address = tcp.local_addr().unwrap();
            // Taken by another program of this machine, perhaps.
            if let Ok(udp) = UdpSocket::bind(address) {
                return (udp, tcp, address);
            }
        };
        let (first, second) = (pair("127.0.0.1"), pair("::1"));
        let addresses = [first.2, second.2];
        let files =
            [first, second].into_iter().flat_map(|(udp, tcp, _)| [OwnedFd::from(udp), OwnedFd::from(tcp)]);
        let files = files.map(|file| ("--dns-addr".to_owned(), file)).collect();
        (Inherited { files, link: None }, addresses)
    }

    #[test]
    fn each_socket_is_taken_once_by_who_asks_for_its_type_and_address() {
        let (mut inherited, addresses) = dns();
        for address in addresses {
            let udp = inherited.datagrams("--dns-addr", address).unwrap();
            udp.send_to(b"to itself", address).unwrap();
            assert_eq!(udp.recv(&mut [0; 16]).unwrap(), 9, "it is a UDP socket");
            let tcp = inherited.listeners("--dns-addr", address).pop().unwrap();
            assert_eq!(tcp.local_addr().unwrap(), address);
            std::net::TcpStream::connect(address).unwrap();
            tcp.accept().unwrap();
            assert!(inherited.datagrams("--dns-addr", address).is_none());
            assert!(inherited.listeners("--dns-addr", address).is_empty());
        }
    }
}
