//! A connection to the application in the name of who called it. The caller's own connection was handed to us by TPROXY;
//! ours comes from the same address, so that the application sees who calls. The rules lead the application's answers,
//! which are addressed to the caller, back to us by the mark that the connection carries.

use super::socket_for;
use crate::backoff::random;
use crate::intercept::Mark;
use crate::listen::Taking;
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use tokio::net::{TcpSocket, TcpStream};

/// Where our connections come from at the caller's address. They must not come from a port that the caller itself uses
/// towards the same port of the application: the kernel would take ours for its. So these are below those that Linux
/// (from 32768) and others (from 49152) give to connections. Where a caller's connection has one all the same, as behind
/// an address translation, ours is not opened, and the caller's is unharmed: the rules mark new connections only.
const PORTS: RangeInclusive<u16> = 1024..=32767;

/// Ports tried before the kernel is left to choose; half of all may be taken, and one try of 65,000 comes to that.
const TRIES: usize = 16;

/// In whose name a connection to the application is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    /// Its address.
    pub(crate) address: IpAddr,
    /// The mark by which the rules lead the answers back to us: the number of the port that TPROXY hands over to.
    pub(crate) mark: Mark,
}

impl Caller {
    /// The caller, if a connection can be opened in its name: link-local addresses of IPv6 are several machines' on
    /// several networks, and answers to them do not come back.
    pub(crate) fn of(source: SocketAddr, mark: Mark) -> Option<Self> {
        let address = source.ip().to_canonical();
        let is_link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
        (!is_link_local).then_some(Self { address, mark })
    }

    /// Opens a TCP connection in the caller's name.
    ///
    /// # Errors
    /// As bind(2) and connect(2); and without CAP_NET_ADMIN.
    ///
    /// # Cancel safety
    /// Cancelling closes the socket.
    pub(crate) async fn tcp(self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = socket_for(to)?;
        let options = SockRef::from(&socket);
        options.set_mark(self.mark.number())?;
        Taking::Any.apply(&options, to)?;
        self.bind(&socket)?;
        socket.connect(to).await
    }

    fn bind(self, socket: &TcpSocket) -> io::Result<()> {
        for _ in 0..TRIES {
            match socket.bind(SocketAddr::new(self.address, port())) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        }
        socket.bind(SocketAddr::new(self.address, 0))
    }
}

/// One of [`PORTS`].
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number below the count of ports"
)]
fn port() -> u16 {
    let count = PORTS.end() - PORTS.start() + 1;
    let offset = (random() * f64::from(count)) as u16;
    PORTS.start() + offset.min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_spread_over_those_that_callers_do_not_use() {
        let ports: Vec<u16> = (0..1000).map(|_| port()).collect();
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
        let low = ports.iter().filter(|port| **port < 16896).count();
        assert!((300..700).contains(&low), "{low} of 1000 are in the lower half");
    }

    #[test]
    fn nobody_is_called_in_the_name_of_a_link_local_address() {
        let mark = Mark::new(15006).unwrap();
        let of = |source: &str| Caller::of(source.parse().unwrap(), mark).map(|caller| caller.address);
        assert_eq!(of("[::ffff:192.0.2.1]:1"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(of("[2001:db8::1]:1"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(of("[fe80::1]:1"), None);
    }
}
