//! Which probe connections to open: who opens them and where to, so that the rules, if they are in force, must capture
//! them. Pure: the ruleset itself is asked.

use super::super::capture::Capture;
use super::super::fate::{Fate, Packet, Reach, Sender, fate};
use super::super::grammar::{Mark, Ports};
use super::super::ruleset::{Family, Hook, Protocol, Ruleset};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Users that nobody's service runs as, and then root: tried in this order where capture is not by user.
const ANYONE: [u32; 4] = [65534, 65533, 65532, 0];
/// As for users.
const ANYONE_GID: u32 = 65534;
/// For documentation (RFC 5737, RFC 3849): nobody is there.
const NOBODY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const NOBODY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// Ports to try where no list says which are captured.
const PORTS: [u16; 6] = [80, 8080, 443, 9, 9999, 50000];

/// Who opens a probe connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    /// As this user.
    pub uid: u32,
    /// As this group.
    pub gid: u32,
    /// In this control group, directly or below.
    pub cgroup: Option<String>,
    /// With this mark on its socket.
    pub mark: Option<Mark>,
    /// What of these the rules know it by, as users read it.
    pub known_by: String,
}

/// An address that a probe can be sent to, as the machine routes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The address.
    pub address: IpAddr,
    /// Whether it is this machine's.
    pub reach: Reach,
    /// The interface packets to it leave by.
    pub interface: String,
    /// The address they come from.
    pub source: IpAddr,
}

/// Addresses to ask the machine's routing about, best first: this machine's own, so that a probe that is not captured
/// stays here; then some that the rules name; then addresses where nobody is.
pub(crate) fn addresses(capture: &Capture, own: &[IpAddr], family: Family) -> Vec<IpAddr> {
    let (nobody, is_family): (IpAddr, fn(&IpAddr) -> bool) = match family {
        Family::V4 => (NOBODY_V4, IpAddr::is_ipv4),
        Family::V6 => (NOBODY_V6, IpAddr::is_ipv6),
    };
    let named = capture.outbound.iter().flat_map(|outbound| &outbound.include_nets).map(|net| net.second());
    own.iter().copied().chain(named).chain([nobody]).filter(is_family).collect()
}

/// Who, and to which port of which target, so that the rules capture it there.
pub(crate) fn outbound(
    capture: &Capture,
    ruleset: &Ruleset,
    targets: &[Target],
    protocol: Protocol,
    ports: &[u16],
    arrival: u16,
) -> Option<(Who, SocketAddr, Reach)> {
    let senders = senders(capture);
    let tries = targets.iter().flat_map(|target| ports.iter().map(move |port| (target, *port)));
    for (target, port) in tries {
        let to = SocketAddr::new(target.address, port);
        for who in &senders {
            if outbound_fate(ruleset, target, protocol, port, who) == Fate::Captured(arrival) {
                return Some((who.clone(), to, target.reach));
            }
        }
    }
    None
}

/// What becomes of a connection opened by `who`.
pub(crate) fn outbound_fate(
    ruleset: &Ruleset,
    target: &Target,
    protocol: Protocol,
    port: u16,
    who: &Who,
) -> Fate {
    let cgroup = who.cgroup.as_deref().unwrap_or_default();
    let packet = Packet {
        protocol,
        source: target.source,
        destination: SocketAddr::new(target.address, port),
        reach: target.reach,
        interface: &target.interface,
        sender: Some(Sender { uid: who.uid, gid: who.gid, cgroup }),
        mark: who.mark,
    };
    fate(ruleset, &[Hook::NatOutput], &packet)
}

/// To which port of `here` a connection from `client`, by `interface`, must go to be captured.
pub(crate) fn inbound(
    capture: &Capture,
    ruleset: &Ruleset,
    client: IpAddr,
    here: IpAddr,
    interface: &str,
    is_free: impl Fn(u16) -> bool,
) -> Option<SocketAddr> {
    let wanted = capture.inbound.as_ref()?;
    let captured = |port: &u16| {
        let packet = Packet {
            protocol: Protocol::Tcp,
            source: client,
            destination: SocketAddr::new(here, *port),
            reach: Reach::Here,
            interface,
            sender: None,
            mark: None,
        };
        let hooks = [Hook::NatPrerouting, Hook::ManglePrerouting];
        fate(ruleset, &hooks, &packet) == Fate::Captured(wanted.port)
    };
    let ports = ports_of(&wanted.include_ports);
    ports.into_iter().filter(captured).find(|port| is_free(*port)).map(|port| SocketAddr::new(here, port))
}

/// Ports to try for outbound connections.
pub(crate) fn outbound_ports(capture: &Capture) -> Vec<u16> {
    ports_of(capture.outbound.as_ref().map_or(&[][..], |outbound| &outbound.include_ports))
}

fn ports_of(included: &[Ports]) -> Vec<u16> {
    if included.is_empty() {
        return PORTS.to_vec();
    }
    included.iter().flat_map(|ports| [ports.first(), ports.last()]).collect()
}

/// Who may be captured.
fn senders(capture: &Capture) -> Vec<Who> {
    let who = |uid: u32, cgroup: Option<&str>| Who {
        uid,
        // A group that is not root's, which might be exempt; a service's own group is not known here.
        gid: if capture.own.gids.contains(&ANYONE_GID) { ANYONE_GID - 1 } else { ANYONE_GID },
        cgroup: cgroup.map(str::to_owned),
        mark: None,
        known_by: cgroup.map_or_else(|| format!("user {uid}"), |path| format!("control group {path}")),
    };
    let by_uid = capture.include.uids.iter().map(|uid| who(*uid, None));
    let cgroups = capture.include.cgroups.iter();
    let by_cgroup = cgroups.flat_map(|cgroup| ANYONE.map(|uid| who(uid, Some(cgroup.path()))));
    if capture.include.is_empty() {
        ANYONE.iter().map(|uid| who(*uid, None)).collect()
    } else {
        by_uid.chain(by_cgroup).collect()
    }
}

/// The sidecar, as the rules know it: one way of each kind that tells it.
pub(crate) fn own(capture: &Capture) -> Vec<Who> {
    let who = |uid, gid, mark, known_by| Who { uid, gid, cgroup: None, mark, known_by };
    let uid = capture.own.uids.first().map(|uid| who(*uid, ANYONE_GID, None, format!("user {uid}")));
    let gid = capture.own.gids.first().map(|gid| who(ANYONE_GID, *gid, None, format!("group {gid}")));
    let mark = capture.own.marks.first().map(|mark| who(0, ANYONE_GID, Some(*mark), format!("mark {mark}")));
    [uid, gid, mark].into_iter().flatten().collect()
}
