//! Where a captured connection was going before the kernel redirected it to us. An accepted socket enters, an
//! [`OriginalDst`] leaves, or nothing if the client connected to us directly. Never here: what is done with either.
//!
//! Only for connections that were redirected (`REDIRECT`). One that came by TPROXY was not changed: its own local address
//! is where it was going.

use socket2::SockRef;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

/// The address a captured connection was opened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OriginalDst(SocketAddr);

impl OriginalDst {
    /// Of an accepted connection. Nothing if it was not captured: the kernel then knows no other destination than the
    /// address it was accepted on.
    pub(crate) fn of(accepted: &impl AsFd) -> Option<Self> {
        let socket = SockRef::from(accepted);
        let local = canonical(socket.local_addr().ok()?.as_socket()?);
        // A listener for both versions of IP accepts IPv4 connections on an IPv6 socket.
        let found = match local.ip() {
            IpAddr::V4(_) => socket.original_dst_v4(),
            IpAddr::V6(_) => socket.original_dst_v6(),
        };
        // Without rules that redirect, the kernel keeps no record and says so with an error.
        Self::unless_local(canonical(found.ok()?.as_socket()?), local)
    }

    /// As if the kernel had said so.
    #[cfg(test)]
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self(address)
    }

    /// The address.
    pub(crate) fn addr(self) -> SocketAddr {
        self.0
    }

    fn unless_local(found: SocketAddr, local: SocketAddr) -> Option<Self> {
        let differs = (found.ip(), found.port()) != (local.ip(), local.port());
        differs.then_some(Self(found))
    }
}

impl fmt::Display for OriginalDst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_direct_connection_has_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(OriginalDst::of(&accepted), None);
    }

    #[test]
    fn an_address_that_is_our_own_is_none() {
        let local: SocketAddr = "10.0.0.1:15001".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:15001".parse().unwrap();
        assert_eq!(OriginalDst::unless_local(canonical(mapped), local), None);
        let other: SocketAddr = "10.0.0.1:80".parse().unwrap();
        assert_eq!(OriginalDst::unless_local(other, local).map(OriginalDst::addr), Some(other));
    }
}
