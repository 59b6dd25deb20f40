//! Where probes arrive: a listener of our own where nobody listens, else whoever has the port, watched from outside.

use crate::listen::Taking;
use crate::listen::original_dst::OriginalDst;
use crate::listen::sockets::{self, State};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

/// From a probe's success on its side to its arrival on ours, both on this machine.
const ARRIVAL: Duration = Duration::from_secs(2);
/// Other connections than ours that may come first: a service that is being captured as we look.
const STRANGERS_MAX: usize = 256;

/// Who listens on a TCP port.
#[derive(Debug)]
pub(super) enum Arrival {
    /// We do.
    Ours(TcpListener, Taking),
    /// A running sidecar, presumably.
    Theirs(SocketAddr, Taking),
}

impl Arrival {
    /// Listens, unless someone does already.
    ///
    /// # Errors
    /// The address can't be listened on for another reason.
    pub(super) fn at(address: SocketAddr, taking: Taking) -> io::Result<Self> {
        match listen(address, taking) {
            Ok(listener) => Ok(Self::Ours(listener, taking)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(Self::Theirs(address, taking)),
            Err(error) => Err(error),
        }
    }

    /// Whether the connection that `client` opened to `dst` came here, and from where the kernel says it was captured.
    ///
    /// # Errors
    /// What was seen instead.
    pub(super) fn check(&self, client: SocketAddr, dst: SocketAddr) -> Result<(), String> {
        match self {
            Self::Ours(listener, taking) => accepted(listener, *taking, client, dst),
            Self::Theirs(address, taking) => {
                let local_port = match taking {
                    Taking::Own => address.port(),
                    Taking::Any => dst.port(),
                };
                let arrived = sockets::all().iter().any(|socket| {
                    socket.state == State::Connection
                        && socket.remote == client
                        && socket.local.port() == local_port
                });
                if arrived { Ok(()) } else { Err(format!("it did not arrive at port {}", address.port())) }
            }
        }
    }
}

fn accepted(
    listener: &TcpListener,
    taking: Taking,
    client: SocketAddr,
    dst: SocketAddr,
) -> Result<(), String> {
    for _ in 0..STRANGERS_MAX {
        let (stream, peer) = listener.accept().map_err(|_timeout| "it did not arrive there".to_owned())?;
        if peer != client {
            continue;
        }
        let seen = match taking {
            Taking::Own => OriginalDst::of(&stream).map(OriginalDst::addr),
            Taking::Any => stream.local_addr().ok(),
        };
        return match seen {
            Some(seen) if seen == dst => Ok(()),
            Some(seen) => Err(format!("the kernel says it was going to {seen}")),
            None => Err("the kernel does not say where it was going".to_owned()),
        };
    }
    Err("it did not arrive there, but many others did".to_owned())
}

/// Whether the connection that `client` opened came here.
pub(super) fn came_from(listener: &TcpListener, client: SocketAddr) -> bool {
    (0..STRANGERS_MAX).map_while(|_| listener.accept().ok()).any(|(_, peer)| peer == client)
}

/// Listens; accepting waits no longer than for a probe to arrive.
///
/// # Errors
/// The address can't be listened on.
pub(super) fn listen(address: SocketAddr, taking: Taking) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    taking.apply(&socket, address)?;
    socket.set_read_timeout(Some(ARRIVAL))?;
    socket.bind(&address.into())?;
    socket.listen(16)?;
    Ok(socket.into())
}

/// A UDP socket where queries arrive, or nothing if someone has the port.
///
/// # Errors
/// The address can't be bound for another reason.
pub(super) fn queries(address: SocketAddr) -> io::Result<Option<UdpSocket>> {
    match UdpSocket::bind(address) {
        Ok(socket) => {
            SockRef::from(&socket).set_read_timeout(Some(ARRIVAL))?;
            Ok(Some(socket))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}
