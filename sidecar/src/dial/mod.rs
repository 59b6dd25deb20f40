//! How this process opens sockets towards others. Enters: an address, and for DNS questions what asks them. Leaves: a
//! socket that carries the mark by which the rules of `sidecar intercept --sidecar-mark` know it, or a connection in
//! the name of a caller. Never here: what is spoken on it, and how long that may take.
//!
//! Every socket towards others is opened here, so that none can forget the mark and come back to us as captured.

mod caller;
mod names;
mod rights;

pub(crate) use caller::Caller;
pub(crate) use names::Marked;
pub(crate) use rights::{Right, clear_ambient, missing};

use crate::intercept::Mark;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// What every socket towards others carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dial {
    mark: Option<Mark>,
}

impl Dial {
    /// Sockets with this mark (`SO_MARK`), or without one.
    pub fn new(mark: Option<Mark>) -> Self {
        Self { mark }
    }

    /// Opens a TCP connection.
    ///
    /// # Errors
    /// As connect(2); and the socket can't be marked.
    ///
    /// # Cancel safety
    /// Cancelling closes the socket.
    pub(crate) async fn tcp(self, to: SocketAddr) -> io::Result<TcpStream> {
        self.tcp_from(None, to).await
    }

    async fn tcp_from(self, local: Option<SocketAddr>, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = socket_for(to)?;
        self.mark(&socket)?;
        if let Some(local) = local {
            socket.bind(local)?;
        }
        socket.connect(to).await
    }

    /// A UDP socket on `local`.
    ///
    /// # Errors
    /// As bind(2); and the socket can't be marked.
    pub(crate) fn udp(self, local: SocketAddr) -> io::Result<UdpSocket> {
        let socket = std::net::UdpSocket::bind(local)?;
        self.mark(&socket)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    /// Marks a socket, before anything is sent on it.
    ///
    /// # Errors
    /// The system does not let us.
    pub(crate) fn mark(self, socket: &impl AsFd) -> io::Result<()> {
        match self.mark {
            Some(mark) => SockRef::from(socket).set_mark(mark.number()),
            None => Ok(()),
        }
    }
}

fn socket_for(to: SocketAddr) -> io::Result<TcpSocket> {
    match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}
