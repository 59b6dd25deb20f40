//! A ruleset as a value: chains of rules, each a conjunction of positive conditions and a verdict. Two renderers write
//! it down (`nft`, `iptables`), and [`super::fate`] says what it does to a packet.
//!
//! Conditions are never negated. A packet without a socket has no owner, and the kernel lets no condition about an
//! owner hold for it: under `owner is not web: leave it` it would be captured, under `owner is web: go on` it is not.

use super::grammar::{Cgroup, Instance, Interface, Mark, Net, Ports};

/// Everything one instance installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruleset {
    /// Whose it is.
    pub instance: Instance,
    /// What it says of itself to later commands; goes into a comment.
    pub about: String,
    /// The chains, each after those that lead to it.
    pub chains: Vec<Chain>,
    /// The routing that TPROXY needs beside the chains.
    pub route: Option<Route>,
    /// Whether IPv6 is captured too.
    pub families: Families,
}

/// Which versions of IP are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    /// IPv4 and IPv6.
    Both,
    /// IPv4 only.
    Ipv4,
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Packets with this mark are for this machine, whatever their address says: routing table and mark have one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// The mark, and the number of the table.
    pub mark: Mark,
}

/// A list of rules, tried in order; at its end a packet is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Its name within the instance; one short word.
    pub name: &'static str,
    /// Where packets come into it; none for chains that others lead to.
    pub hook: Option<Hook>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// Where in the kernel a chain is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    /// First packets of connections this machine opens, before their destination is settled.
    NatOutput,
    /// First packets of connections that reach this machine, likewise.
    NatPrerouting,
    /// Every packet that reaches this machine.
    ManglePrerouting,
    /// Every packet this machine sends; a new mark routes it anew.
    MangleOutput,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// All must hold.
    pub when: Vec<Condition>,
    /// What happens then.
    pub then: Verdict,
}

/// What a packet is asked. A list is one of, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It is of this version of IP.
    Family(Family),
    /// It is of this protocol.
    Protocol(Protocol),
    /// It goes to one of these ports by this protocol.
    To(Protocol, Vec<Ports>),
    /// It goes to one of these networks, all of one version of IP.
    Destination(Family, Vec<Net>),
    /// It comes from one of these networks, all of one version of IP.
    Source(Family, Vec<Net>),
    /// The socket it comes from is one of these users'.
    Uid(Vec<u32>),
    /// The socket it comes from is one of these groups'.
    Gid(Vec<u32>),
    /// The socket it comes from was made in this control group, or below.
    Cgroup(Cgroup),
    /// It has this mark.
    Mark(Mark),
    /// It belongs to a connection that has this mark.
    ConnectionMark(Mark),
    /// The kernel knows of no connection that it belongs to.
    NewConnection,
    /// It opens a TCP connection.
    Opening,
    /// It leaves through one of these interfaces.
    Leaves(Vec<Interface>),
    /// It came in through one of these interfaces.
    Enters(Vec<Interface>),
    /// Its destination is an address of this machine.
    ForThisMachine,
    /// An open connection of a transparent socket waits for it.
    TransparentSocket,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The packet is left alone.
    Leave,
    /// The packet is dropped.
    Drop,
    /// The packet goes through that chain, and does not come back.
    Goto(&'static str),
    /// The connection goes to this port of this machine; its original destination is kept by the kernel.
    Redirect(u16),
    /// The packet is given to the transparent socket on this port, unchanged, and gets this mark.
    Tproxy(u16, Mark),
    /// The packet gets this mark and is left alone otherwise.
    SetMark(Mark),
    /// The connection gets this mark; the packet is left alone.
    SetConnectionMark(Mark),
}

impl Hook {
    /// Whether the chain translates addresses, and so sees only the first packet of a connection.
    pub(crate) fn is_nat(self) -> bool {
        match self {
            Self::NatOutput | Self::NatPrerouting => true,
            Self::ManglePrerouting | Self::MangleOutput => false,
        }
    }
}

impl Ruleset {
    /// The chain of this name.
    pub(crate) fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The hook whose packets reach this chain.
    pub(crate) fn hook_of(&self, name: &str) -> Option<Hook> {
        let chain = self.chain(name)?;
        let leads = |other: &&Chain| other.rules.iter().any(|rule| rule.then == Verdict::Goto(chain.name));
        // Chains stand after those that lead to them, so this ends.
        chain.hook.or_else(|| self.chains.iter().find(leads).and_then(|other| self.hook_of(other.name)))
    }
}
