//! The kernel's list of TCP sockets in this network namespace: shows where a probe arrived when a running sidecar has the
//! port, so that it need not be asked; and whether a captured connection is one that this process opened itself. Text of
//! `/proc/net/tcp` enters, sockets leave.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket that listens (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// One TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Its own end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Whether it waits for connections.
    pub state: State,
    /// What the kernel knows it by; 0 once no process holds it.
    pub inode: u64,
}

/// What a socket does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for connections.
    Listening,
    /// It is, or was, a connection.
    Connection,
}

/// All of this network namespace, IPv4 addresses written as such.
pub(crate) fn all() -> Vec<Socket> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let text = read("/proc/self/net/tcp") + &read("/proc/self/net/tcp6");
    text.lines().filter_map(socket).collect()
}

fn socket(line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
    let state = if words.next()? == LISTEN { State::Listening } else { State::Connection };
    // Queues, timer, retransmissions, user and timeout are between.
    let inode = words.nth(5)?.parse().ok()?;
    Some(Socket { local, remote, state, inode })
}

/// Whether this process holds a connection from `local` to `remote`.
pub(crate) fn is_ours(local: SocketAddr, remote: SocketAddr) -> bool {
    let connection = |socket: &Socket| (socket.local, socket.remote) == (local, remote) && socket.inode != 0;
    let Some(found) = all().into_iter().find(connection) else { return false };
    let name = format!("socket:[{}]", found.inode);
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return false };
    descriptors
        .flatten()
        .any(|it| std::fs::read_link(it.path()).is_ok_and(|link| link.as_os_str() == name.as_str()))
}

/// `0100007F:3A99`: 32-bit words in the machine's byte order, then the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_heading_and_nonsense_are_no_sockets() {
        for line in
            ["  sl  local_address rem_address   st tx_queue", "", "0: 00:00 00:00 01", "0: 0100007F 0A"]
        {
            assert_eq!(socket(line), None, "{line}");
        }
    }

    #[test]
    fn a_connection_is_ours_while_we_hold_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert!(is_ours(local, remote));
        let elsewhere = SocketAddr::new(remote.ip(), remote.port().wrapping_add(1));
        assert!(!is_ours(local, elsewhere));
        drop(client);
        assert!(!is_ours(local, remote));
    }

    #[test]
    fn a_connection_is_listed_with_both_ends() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let local = listener.local_addr().unwrap();
            let client = TcpStream::connect(local).unwrap();
            let remote = client.local_addr().unwrap();
            let _accepted = listener.accept().unwrap();
            let sockets = all();
            let accepted = |socket: &Socket| {
                (socket.local, socket.remote, socket.state) == (local, remote, State::Connection)
            };
            assert!(sockets.iter().any(accepted), "{sockets:?}");
            assert!(sockets.iter().any(|socket| socket.local == local && socket.state == State::Listening));
        }
    }
}
