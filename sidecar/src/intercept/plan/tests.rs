//! What the rules do to any packet, for any flags: asked of the ruleset itself and compared with what the flags say.

use super::*;
use crate::intercept::capture::{Own, Senders};
use crate::intercept::fate::{Fate, Packet, Reach, Sender, fate};
use crate::intercept::grammar::Cgroup;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::net::{IpAddr, SocketAddr};

const UIDS: [u32; 4] = [0, 900, 1001, 1002];
const CGROUPS: [&str; 3] = ["shop.slice", "shop.slice/web.service", "other.slice"];
const ADDRESSES: [&str; 8] =
    ["127.0.0.1", "127.0.0.53", "10.1.0.1", "10.2.0.1", "::1", "fe80::1", "fd00::1", "2001:db8::1"];
const NETS: [&str; 5] = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "2001:db8::1", "0.0.0.0/0"];
const INTERFACES: [&str; 3] = ["lo", "eth0", "docker0"];
const PORTS: [u16; 8] = [22, 53, 80, 443, 8080, 15001, 15006, 15008];

fn some_of<T: Clone + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    let most = all.len().min(2);
    prop_oneof![2 => Just(Vec::new()), 1 => subsequence(all, 0..=most)]
}

fn nets() -> impl Strategy<Value = Vec<Net>> {
    some_of(NETS.map(|net| net.parse().unwrap()).to_vec()).prop_map(Net::merged)
}

fn port_lists() -> impl Strategy<Value = Vec<Ports>> {
    let ranges = ["80", "443", "53", "22", "8000-8999"].map(|ports| ports.parse().unwrap());
    some_of(ranges.to_vec()).prop_map(Ports::merged)
}

fn interfaces() -> impl Strategy<Value = Vec<Interface>> {
    some_of(["eth0", "docker*", "lo"].map(|name| name.parse().unwrap()).to_vec())
}

fn senders() -> impl Strategy<Value = Senders> {
    let cgroups = CGROUPS.map(|path| path.parse::<Cgroup>().unwrap()).to_vec();
    (some_of(UIDS.to_vec()), some_of(cgroups)).prop_map(|(uids, cgroups)| Senders { uids, cgroups })
}

fn captures() -> impl Strategy<Value = Capture> {
    let outbound =
        (port_lists(), port_lists(), nets()).prop_map(|(include_ports, exclude_ports, include_nets)| {
            Outbound { port: 15001, include_ports, exclude_ports, include_nets }
        });
    let way = select(vec![InboundWay::Redirect, InboundWay::Tproxy(Mark::new(15006).unwrap())]);
    let inbound = (way, port_lists(), port_lists(), nets(), nets()).prop_map(
        |(way, include_ports, exclude_ports, include_nets, exclude_nets)| Inbound {
            way,
            port: 15006,
            include_ports,
            exclude_ports,
            include_nets,
            exclude_nets,
        },
    );
    let dns = some_of(UIDS.to_vec()).prop_map(|resolvers| Dns { port: 15053, resolvers });
    let maybe = (prop::option::of(outbound), prop::option::of(inbound), prop::option::of(dns));
    let own = (some_of(UIDS.to_vec()), prop::option::of(Just(Mark::new(7).unwrap())))
        .prop_map(|(uids, mark)| Own { uids, gids: Vec::new(), marks: mark.into_iter().collect() });
    let families = select(vec![Families::Both, Families::Ipv4]);
    (own, senders(), senders(), interfaces(), interfaces(), nets(), maybe, families).prop_map(
        |(
            own,
            include,
            exclude,
            include_interfaces,
            exclude_interfaces,
            exclude_outbound_nets,
            maybe,
            families,
        )| {
            let (outbound, inbound, dns) = maybe;
            Capture {
                instance: Default::default(),
                families,
                own,
                own_ports: Ports::merged([15001, 15006, 15008, 15053].map(Ports::one)),
                metrics_port: 15020,
                include,
                exclude,
                include_interfaces,
                exclude_interfaces,
                exclude_outbound_nets,
                outbound,
                inbound,
                dns,
            }
        },
    )
}

fn packets() -> impl Strategy<Value = Packet<'static>> {
    let addresses = || select(ADDRESSES.map(|text| text.parse::<IpAddr>().unwrap()).to_vec());
    let sender = (select(UIDS.to_vec()), select(CGROUPS.to_vec())).prop_map(|(uid, cgroup)| Sender {
        uid,
        gid: uid,
        cgroup,
    });
    let mark = prop::option::of(select(vec![Mark::new(7).unwrap(), Mark::new(15006).unwrap()]));
    let ends =
        (addresses(), addresses(), select(PORTS.to_vec()), select(vec![Reach::Here, Reach::Elsewhere]));
    let protocol = select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp]);
    (protocol, ends, select(INTERFACES.to_vec()), prop::option::weighted(0.9, sender), mark).prop_map(
        |(protocol, (source, address, port, reach), interface, sender, mark)| Packet {
            protocol,
            source,
            destination: SocketAddr::new(address, port),
            reach,
            interface,
            sender,
            mark,
        },
    )
}

fn holds_in(senders: &Senders, packet: &Packet<'_>) -> bool {
    packet.sender.is_some_and(|sender| {
        senders.uids.contains(&sender.uid) || senders.cgroups.iter().any(|cgroup| cgroup.holds(sender.cgroup))
    })
}

fn any_net(nets: &[Net], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(address))
}

fn any_port(ports: &[Ports], port: u16) -> bool {
    ports.iter().any(|ports| ports.contains(port))
}

fn any_interface(interfaces: &[Interface], name: &str) -> bool {
    interfaces.iter().any(|interface| interface.matches(name))
}

/// What the help says about outbound connections and DNS, in one expression each.
fn outbound_says(capture: &Capture, packet: &Packet<'_>) -> Fate {
    let (address, port) = (packet.destination.ip(), packet.destination.port());
    let tproxy = capture.inbound.as_ref().and_then(|inbound| match inbound.way {
        InboundWay::Tproxy(mark) => Some(mark),
        InboundWay::Redirect => None,
    });
    let own = packet.sender.is_some_and(|sender| capture.own.uids.contains(&sender.uid))
        || packet.mark.is_some_and(|mark| capture.own.marks.contains(&mark) || tproxy == Some(mark));
    let left = own
        || capture.families == Families::Ipv4 && address.is_ipv6()
        || holds_in(&capture.exclude, packet)
        || !capture.include.is_empty() && !holds_in(&capture.include, packet)
        || any_interface(&capture.exclude_interfaces, packet.interface)
        || any_net(&capture.exclude_outbound_nets, address);
    if left {
        return Fate::Left;
    }
    if let Some(dns) = capture.dns.as_ref().filter(|_| port == 53) {
        let resolver = packet.sender.is_some_and(|sender| dns.resolvers.contains(&sender.uid));
        return if resolver { Fate::Left } else { Fate::Captured(dns.port) };
    }
    let Some(outbound) = &capture.outbound else { return Fate::Left };
    let in_or_all = |named: bool, is_empty: bool| named || is_empty;
    let captured = packet.protocol == Protocol::Tcp
        && !["127.0.0.0/8", "::1", "fe80::/10"]
            .iter()
            .any(|net| net.parse::<Net>().unwrap().contains(address))
        && !any_port(&outbound.exclude_ports, port)
        && in_or_all(any_port(&outbound.include_ports, port), outbound.include_ports.is_empty())
        && in_or_all(any_net(&outbound.include_nets, address), outbound.include_nets.is_empty())
        && in_or_all(
            any_interface(&capture.include_interfaces, packet.interface),
            capture.include_interfaces.is_empty(),
        );
    if captured { Fate::Captured(outbound.port) } else { Fate::Left }
}

fn inbound_says(capture: &Capture, packet: &Packet<'_>) -> Fate {
    let Some(inbound) = &capture.inbound else { return Fate::Left };
    let port = packet.destination.port();
    let captured = packet.protocol == Protocol::Tcp
        && packet.reach == Reach::Here
        && packet.interface != "lo"
        && (capture.families == Families::Both || packet.destination.is_ipv4())
        && !any_interface(&capture.exclude_interfaces, packet.interface)
        && !any_port(&capture.own_ports, port)
        && !any_port(&inbound.exclude_ports, port)
        && !any_net(&inbound.exclude_nets, packet.source)
        && (inbound.include_ports.is_empty() || any_port(&inbound.include_ports, port))
        && (inbound.include_nets.is_empty() || any_net(&inbound.include_nets, packet.source))
        && (capture.include_interfaces.is_empty()
            || any_interface(&capture.include_interfaces, packet.interface));
    if captured { Fate::Captured(inbound.port) } else { Fate::Left }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_this_machine_sends_is_captured_exactly_when_the_flags_say_so(
        capture in captures(), packet in packets(),
    ) {
        prop_assert_eq!(fate(&plan(&capture), &[Hook::NatOutput], &packet), outbound_says(&capture, &packet));
    }

    #[test]
    fn what_reaches_this_machine_is_captured_exactly_when_the_flags_say_so(
        capture in captures(), packet in packets(),
    ) {
        // A packet has one version of IP.
        let source = if packet.destination.is_ipv4() == packet.source.is_ipv4() {
            packet.source
        } else {
            packet.destination.ip()
        };
        let packet = Packet { source, sender: None, ..packet };
        let hooks = [Hook::NatPrerouting, Hook::ManglePrerouting];
        prop_assert_eq!(fate(&plan(&capture), &hooks, &packet), inbound_says(&capture, &packet));
    }

    #[test]
    fn chains_lead_only_to_later_ones(capture in captures()) {
        let ruleset = plan(&capture);
        for (index, chain) in ruleset.chains.iter().enumerate() {
            for rule in &chain.rules {
                if let Verdict::Goto(name) = rule.then {
                    let to = ruleset.chains.iter().position(|chain| chain.name == name);
                    prop_assert!(to.is_some_and(|to| to > index), "{} leads to {name}", chain.name);
                }
            }
            prop_assert!(ruleset.hook_of(chain.name).is_some(), "{} is never reached", chain.name);
        }
    }
}
