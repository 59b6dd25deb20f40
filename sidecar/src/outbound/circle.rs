//! Whether what is captured is our own: rules that do not exempt this process lead every connection it opens back to it,
//! which makes it open another, for ever. Captured connections enter, a verdict leaves.
//!
//! Looking means reading the kernel's list of sockets, so it is done for few: the first ones, and one of a thousand. A
//! circle goes round until the next look and no further, since once one was found every connection is looked at.

use crate::listen::sockets;
use std::cell::Cell;
use std::net::SocketAddr;

/// One of so many connections is looked at; fewer than a process may hold open by the usual limit, so that a circle is
/// found before it uses up all there are.
const EVERY: u64 = 512;

/// What was seen of captured connections.
#[derive(Debug, Default)]
pub(crate) struct Circle {
    seen: Cell<u64>,
    found: Cell<bool>,
}

impl Circle {
    /// Whether the connection from `source`, which was going to `dialled`, was opened by this process.
    pub(super) fn closes(&self, source: SocketAddr, dialled: SocketAddr) -> bool {
        let seen = self.seen.get().wrapping_add(1);
        self.seen.set(seen);
        if is_looked_at(seen) || self.found.get() {
            self.found.set(sockets::is_ours(source, dialled));
            return self.found.get();
        }
        false
    }
}

fn is_looked_at(seen: u64) -> bool {
    seen.is_power_of_two() || seen.is_multiple_of(EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_first_are_looked_at_and_then_one_of_many() {
        let looked: Vec<u64> = (1..=2000).filter(|seen| is_looked_at(*seen)).collect();
        assert_eq!(looked, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1536]);
    }

    #[test]
    fn once_one_is_found_every_connection_is_looked_at_until_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, dialled) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let others: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let circle = Circle::default();
        assert!(!circle.closes(others, dialled));
        assert!(circle.closes(ours, dialled), "the second is looked at");
        assert!(circle.closes(ours, dialled), "and then the third");
        assert!(!circle.closes(others, dialled), "until one is not ours");
        assert!(!circle.closes(ours, dialled), "and then not every one");
    }
}
