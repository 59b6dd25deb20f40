//! What a ruleset does to a packet, found without a kernel: chooses probe connections that must be captured, and lets
//! tests ask about every combination of flags. Pure.

use super::grammar::{Mark, Net, Ports};
use super::ruleset::{Chain, Condition, Family, Hook, Protocol, Ruleset, Verdict};
use std::net::{IpAddr, SocketAddr};

/// The first packet of a connection, as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    /// Its protocol.
    pub protocol: Protocol,
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Whether that is an address of this machine.
    pub reach: Reach,
    /// The interface it leaves or enters by.
    pub interface: &'a str,
    /// Who opened the connection, if that was on this machine.
    pub sender: Option<Sender<'a>>,
    /// Its mark.
    pub mark: Option<Mark>,
}

/// Whether an address is one of this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It is.
    Here,
    /// It is another's.
    Elsewhere,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender<'a> {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The control group's path below the top.
    pub cgroup: &'a str,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes where it was going.
    Left,
    /// It goes nowhere.
    Dropped,
    /// It comes to this port of the sidecar.
    Captured(u16),
}

/// What becomes of a packet that passes these hooks.
pub(crate) fn fate(ruleset: &Ruleset, hooks: &[Hook], packet: &Packet<'_>) -> Fate {
    let tried = |chain: &&Chain| chain.hook.is_some_and(|hook| hooks.contains(&hook));
    let fates = ruleset.chains.iter().filter(tried).map(|chain| through(ruleset, chain, packet));
    fates.into_iter().find(|fate| *fate != Fate::Left).unwrap_or(Fate::Left)
}

fn through(ruleset: &Ruleset, chain: &Chain, packet: &Packet<'_>) -> Fate {
    let applies = |when: &[Condition]| when.iter().all(|condition| holds(condition, packet));
    let Some(rule) = chain.rules.iter().find(|rule| applies(&rule.when)) else { return Fate::Left };
    match rule.then {
        Verdict::Leave | Verdict::SetMark(_) | Verdict::SetConnectionMark(_) => Fate::Left,
        Verdict::Drop => Fate::Dropped,
        // A chain leads only to later ones, so this ends.
        Verdict::Goto(name) => ruleset.chain(name).map_or(Fate::Left, |next| through(ruleset, next, packet)),
        Verdict::Redirect(port) | Verdict::Tproxy(port, _) => Fate::Captured(port),
    }
}

fn holds(condition: &Condition, packet: &Packet<'_>) -> bool {
    let destination = packet.destination;
    match condition {
        Condition::Family(family) => family_of(destination.ip()) == *family,
        Condition::Protocol(protocol) => packet.protocol == *protocol,
        Condition::To(protocol, ports) => packet.protocol == *protocol && any_port(ports, destination.port()),
        Condition::Destination(_, nets) => any_net(nets, destination.ip()),
        Condition::Source(_, nets) => any_net(nets, packet.source),
        Condition::Uid(uids) => packet.sender.is_some_and(|sender| uids.contains(&sender.uid)),
        Condition::Gid(gids) => packet.sender.is_some_and(|sender| gids.contains(&sender.gid)),
        Condition::Cgroup(cgroup) => packet.sender.is_some_and(|sender| cgroup.holds(sender.cgroup)),
        Condition::Mark(mark) => packet.mark == Some(*mark),
        Condition::Leaves(interfaces) | Condition::Enters(interfaces) => {
            interfaces.iter().any(|interface| interface.matches(packet.interface))
        }
        Condition::ForThisMachine => packet.reach == Reach::Here,
        Condition::NewConnection => true,
        Condition::Opening => packet.protocol == Protocol::Tcp,
        // A first packet belongs to no connection yet.
        Condition::ConnectionMark(_) | Condition::TransparentSocket => false,
    }
}

fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

fn any_port(ports: &[Ports], port: u16) -> bool {
    ports.iter().any(|ports| ports.contains(port))
}

fn any_net(nets: &[Net], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(address))
}
