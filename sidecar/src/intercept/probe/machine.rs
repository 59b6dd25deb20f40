//! What of the machine the choice of probes depends on: its addresses, and how it routes. Nothing is sent.

use super::super::fate::Reach;
use super::super::programs::Program;
use super::choice::Target;
use crate::listen::sockets::{self, State};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// Any port: a UDP socket that only connects sends nothing.
const DISCARD: u16 = 9;

/// The machine's addresses with their interfaces.
#[derive(Debug)]
pub(super) struct Machine {
    interfaces: Vec<(String, IpAddr)>,
}

impl Machine {
    pub(super) fn look() -> Self {
        let listing = Program::find("ip").and_then(|ip| ip.run(&["-o", "addr", "show"]).ok());
        Self { interfaces: interfaces(&listing.unwrap_or_default()) }
    }

    /// Its addresses, without loopback and link-local ones.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let is_local = |address: &IpAddr| match address {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
        };
        self.interfaces.iter().map(|(_, address)| *address).filter(|address| !is_local(address)).collect()
    }

    /// How this address is reached; nothing if it is not.
    pub(super) fn target(&self, address: IpAddr) -> Option<Target> {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(SocketAddr::new(address, DISCARD)).ok()?;
        let source = socket.local_addr().ok()?.ip();
        let is_own = self.interfaces.iter().any(|(_, own)| *own == address);
        let leaves_by = self.interfaces.iter().find(|(_, own)| *own == source).map(|(name, _)| name.clone());
        Some(if is_own {
            // A machine reaches all its addresses by loopback.
            Target { address, reach: Reach::Here, interface: "lo".to_owned(), source }
        } else {
            Target { address, reach: Reach::Elsewhere, interface: leaves_by.unwrap_or_default(), source }
        })
    }
}

/// Whether there is IPv6 at all.
pub(super) fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// Whether someone waits for TCP connections on this port, of any address.
pub(super) fn is_listened_on(port: u16) -> bool {
    sockets::all().iter().any(|socket| socket.state == State::Listening && socket.local.port() == port)
}

/// The lines of `ip -o addr show`: `2: eth0    inet 10.0.0.1/24 brd …`.
fn interfaces(listing: &str) -> Vec<(String, IpAddr)> {
    let read = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let name = words.next()?.trim_end_matches(':');
        let family = words.next()?;
        let address = words.next()?.split('/').next()?.parse().ok()?;
        matches!(family, "inet" | "inet6").then(|| (name.to_owned(), address))
    };
    listing.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_interfaces() {
        let listing = "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n\
                       2: eth0    inet 10.0.0.1/24 brd 10.0.0.255 scope global eth0\\ \n\
                       2: eth0    inet6 fe80::1/64 scope link \\  \n\
                       3: tun0    inet 10.9.0.1 peer 10.9.0.2/32 scope global tun0\n\
                       2: eth0    link/ether 00:00\n";
        let machine = Machine { interfaces: interfaces(listing) };
        let addresses: Vec<String> = machine.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.1", "10.9.0.1"]);
        assert_eq!(machine.interfaces[0].0, "lo");
    }

    #[test]
    fn an_own_address_is_reached_by_loopback() {
        let machine = Machine { interfaces: interfaces("1: lo    inet 127.0.0.1/8 scope host lo") };
        let target = machine.target("127.0.0.1".parse().unwrap()).unwrap();
        assert_eq!((target.reach, target.interface.as_str()), (Reach::Here, "lo"));
    }
}
