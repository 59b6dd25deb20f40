//! From what is to be captured to the rules that do it. Pure.
//!
//! ```text
//! outbound   own traffic, exclusions ─> whose ─> DNS ─> loopback, excluded ports ─> ports ─> networks ─> redirect
//! inbound    this machine's, own ports, exclusions ─> for this machine ─> ports ─> networks ─> redirect or TPROXY
//! ```
//!
//! Each arrow is a step into a chain of its own, taken only by packets that one of the step's conditions holds for;
//! others are left alone. Of what this machine sends to itself, connections to loopback addresses are never captured,
//! and those to its other addresses are outbound, never inbound: the mesh sees a call between two services of one
//! machine as it sees any other.

use super::capture::{Capture, Dns, Inbound, InboundWay, Outbound};
use super::grammar::{Interface, Mark, Net, Ports};
use super::marker;
use super::ruleset::{Chain, Condition, Families, Family, Hook, Protocol, Route, Rule, Ruleset, Verdict};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where DNS is asked.
const DNS: u16 = 53;
const LOOPBACK: [Net; 1] = [Net::v4(Ipv4Addr::new(127, 0, 0, 0), 8)];
/// Loopback, and link-local addresses: the kernel does not keep the interface such a connection was meant for, so
/// nobody could carry it on.
const LOOPBACK_V6: [Net; 2] =
    [Net::v6(Ipv6Addr::LOCALHOST, 128), Net::v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)];

/// The rules.
pub(crate) fn plan(capture: &Capture) -> Ruleset {
    let mut chains = Vec::new();
    if capture.outbound.is_some() || capture.dns.is_some() {
        chains.extend(outbound(capture));
    }
    let mut route = None;
    if let Some(wanted) = &capture.inbound {
        chains.extend(inbound(capture, wanted));
        if let InboundWay::Tproxy(mark) = wanted.way {
            chains.push(replies(mark));
            route = Some(Route { mark });
        }
    }
    Ruleset {
        instance: capture.instance.clone(),
        about: marker::about(capture),
        chains,
        route,
        families: capture.families,
    }
}

/// A way through chains, one step after the other.
struct Way {
    chains: Vec<Chain>,
    current: Chain,
}

impl Way {
    fn start(name: &'static str, hook: Hook) -> Self {
        Self { chains: Vec::new(), current: Chain { name, hook: Some(hook), rules: Vec::new() } }
    }

    fn rule(&mut self, when: Vec<Condition>, then: Verdict) {
        self.current.rules.push(Rule { when, then });
    }

    /// What this holds for goes no further.
    fn leave(&mut self, condition: Option<Condition>) {
        if let Some(condition) = condition {
            self.rule(vec![condition], Verdict::Leave);
        }
    }

    /// Only what one of these holds for goes further; everything if there is none.
    fn only(&mut self, name: &'static str, conditions: impl IntoIterator<Item = Option<Condition>>) {
        let conditions: Vec<Condition> = conditions.into_iter().flatten().collect();
        if conditions.is_empty() {
            return;
        }
        for condition in conditions {
            self.rule(vec![condition], Verdict::Goto(name));
        }
        let next = Chain { name, hook: None, rules: Vec::new() };
        self.chains.push(std::mem::replace(&mut self.current, next));
    }

    fn end(mut self) -> Vec<Chain> {
        self.chains.push(self.current);
        self.chains
    }
}

fn outbound(capture: &Capture) -> Vec<Chain> {
    let mut way = Way::start("outbound", Hook::NatOutput);
    way.leave(not_captured(capture.families));
    way.leave(some(&capture.own.uids).map(Condition::Uid));
    way.leave(some(&capture.own.gids).map(Condition::Gid));
    for mark in &capture.own.marks {
        way.leave(Some(Condition::Mark(*mark)));
    }
    if let Some(InboundWay::Tproxy(mark)) = capture.inbound.as_ref().map(|inbound| inbound.way) {
        // The sidecar's connections to the service in the client's name.
        way.leave(Some(Condition::Mark(mark)));
    }
    way.leave(some(&capture.exclude.uids).map(Condition::Uid));
    for cgroup in &capture.exclude.cgroups {
        way.leave(Some(Condition::Cgroup(cgroup.clone())));
    }
    let cgroups = capture.include.cgroups.iter().cloned().map(|cgroup| Some(Condition::Cgroup(cgroup)));
    way.only("outbound-ours", [some(&capture.include.uids).map(Condition::Uid)].into_iter().chain(cgroups));
    way.leave(some(&capture.exclude_interfaces).map(Condition::Leaves));
    for condition in networks(&capture.exclude_outbound_nets, Condition::Destination) {
        way.leave(condition);
    }
    if let Some(dns) = &capture.dns {
        queries(&mut way, dns);
    }
    if let Some(outbound) = &capture.outbound {
        connections(&mut way, capture, outbound);
    }
    way.end()
}

/// Before loopback is left alone: the resolver most machines ask is on loopback.
fn queries(way: &mut Way, dns: &Dns) {
    let to = |protocol| Condition::To(protocol, vec![Ports::one(DNS)]);
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        if let Some(resolvers) = some(&dns.resolvers) {
            way.rule(vec![to(protocol), Condition::Uid(resolvers)], Verdict::Leave);
        }
    }
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        way.rule(vec![to(protocol)], Verdict::Redirect(dns.port));
    }
}

fn connections(way: &mut Way, capture: &Capture, outbound: &Outbound) {
    way.leave(Some(Condition::Destination(Family::V4, LOOPBACK.to_vec())));
    if capture.families == Families::Both {
        way.leave(Some(Condition::Destination(Family::V6, LOOPBACK_V6.to_vec())));
    }
    way.leave(ports(&outbound.exclude_ports));
    way.only("outbound-ports", [ports(&outbound.include_ports)]);
    way.only("outbound-nets", networks(&outbound.include_nets, Condition::Destination));
    way.only("outbound-links", [some(&capture.include_interfaces).map(Condition::Leaves)]);
    way.rule(vec![Condition::Protocol(Protocol::Tcp)], Verdict::Redirect(outbound.port));
}

fn inbound(capture: &Capture, inbound: &Inbound) -> Vec<Chain> {
    let hook = match inbound.way {
        InboundWay::Redirect => Hook::NatPrerouting,
        InboundWay::Tproxy(_) => Hook::ManglePrerouting,
    };
    let loopback = || Condition::Enters("lo".parse::<Interface>().into_iter().collect());
    let mut way = Way::start("inbound", hook);
    way.leave(not_captured(capture.families));
    if let InboundWay::Tproxy(mark) = inbound.way {
        // The sidecar calls the service in the client's name. The connection is marked, so that the service's replies
        // to the client come back to the sidecar. Only a new one is: should it be between the same ports as one of the
        // client's own, that one keeps its way to the client.
        let when = vec![loopback(), Condition::Mark(mark), Condition::NewConnection];
        way.rule(when, Verdict::SetConnectionMark(mark));
    }
    way.leave(Some(loopback()));
    way.leave(some(&capture.exclude_interfaces).map(Condition::Enters));
    way.leave(ports(&capture.own_ports));
    way.leave(ports(&inbound.exclude_ports));
    for condition in networks(&inbound.exclude_nets, Condition::Source) {
        way.leave(condition);
    }
    // What is only passing through, as to a container, is none of ours.
    way.only("inbound-local", [Some(Condition::ForThisMachine)]);
    way.only("inbound-ports", [ports(&inbound.include_ports)]);
    way.only("inbound-nets", networks(&inbound.include_nets, Condition::Source));
    way.only("inbound-links", [some(&capture.include_interfaces).map(Condition::Enters)]);
    let tcp = Condition::Protocol(Protocol::Tcp);
    match inbound.way {
        InboundWay::Redirect => way.rule(vec![tcp], Verdict::Redirect(inbound.port)),
        InboundWay::Tproxy(mark) => {
            way.rule(vec![tcp.clone(), Condition::TransparentSocket], Verdict::SetMark(mark));
            way.rule(vec![tcp], Verdict::Tproxy(inbound.port, mark));
            // While no sidecar listens, nft lets packets go on: what was open before may, nothing new gets past.
            way.rule(vec![Condition::Opening], Verdict::Drop);
        }
    }
    way.end()
}

/// The service's replies in connections that the sidecar opened in a client's name come back to this machine.
fn replies(mark: Mark) -> Chain {
    let rule = Rule { when: vec![Condition::ConnectionMark(mark)], then: Verdict::SetMark(mark) };
    Chain { name: "replies", hook: Some(Hook::MangleOutput), rules: vec![rule] }
}

fn not_captured(families: Families) -> Option<Condition> {
    match families {
        Families::Both => None,
        Families::Ipv4 => Some(Condition::Family(Family::V6)),
    }
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn ports(list: &[Ports]) -> Option<Condition> {
    some(list).map(|list| Condition::To(Protocol::Tcp, list))
}

fn networks(nets: &[Net], condition: fn(Family, Vec<Net>) -> Condition) -> [Option<Condition>; 2] {
    let (v4, v6): (Vec<Net>, Vec<Net>) = nets.iter().partition(|net| net.address().is_ipv4());
    [some(&v4).map(|nets| condition(Family::V4, nets)), some(&v6).map(|nets| condition(Family::V6, nets))]
}

#[cfg(test)]
mod tests;
