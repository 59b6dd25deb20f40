//! What is to be captured, with every user and group known by number: what the plan is made from. Enters: [`Wanted`],
//! and what the machine calls its users. Leaves: [`Capture`], or every unknown name at once.

use super::accounts::{Accounts, Registry};
use super::flags::{DnsMode, InboundMode, OutboundMode};
use super::grammar::{Account, Cgroup, Instance, Interface, Mark, Net, Ports};
use super::ruleset::Families;
use super::wanted::{Wanted, own_ports};
use std::collections::BTreeSet;

/// Users under which Debian, Fedora and others run a resolver on the machine itself. The sidecar asks it what it does
/// not know, so its own queries to servers elsewhere must not come back to the sidecar.
const RESOLVERS: [&str; 5] = ["systemd-resolve", "dnsmasq", "unbound", "named", "bind"];
/// Left alone unless asked for, so that nobody locks themself out of a machine.
const SSH: u16 = 22;

/// What is to be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    /// Whose rules these are.
    pub instance: Instance,
    /// Whether IPv6 is captured too.
    pub families: Families,
    /// What tells the sidecar's own traffic.
    pub own: Own,
    /// The sidecar's ports, never captured.
    pub own_ports: Vec<Ports>,
    /// The one where the sidecar says what it has counted.
    pub metrics_port: u16,
    /// Whose connections are captured; everyone's if nobody is named.
    pub include: Senders,
    /// Whose connections are left alone.
    pub exclude: Senders,
    /// By which interfaces; by all if none is named.
    pub include_interfaces: Vec<Interface>,
    /// By which not.
    pub exclude_interfaces: Vec<Interface>,
    /// Addresses left alone by outbound connections and DNS.
    pub exclude_outbound_nets: Vec<Net>,
    /// Outbound connections, if they are captured.
    pub outbound: Option<Outbound>,
    /// Inbound connections, if they are captured.
    pub inbound: Option<Inbound>,
    /// DNS, if it is captured.
    pub dns: Option<Dns>,
}

/// What tells the sidecar's own traffic: any of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Own {
    /// Its users.
    pub uids: Vec<u32>,
    /// Its groups.
    pub gids: Vec<u32>,
    /// Its sockets' marks.
    pub marks: Vec<Mark>,
}

/// Some of those who open connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Senders {
    /// By user.
    pub uids: Vec<u32>,
    /// By control group.
    pub cgroups: Vec<Cgroup>,
}

impl Senders {
    /// Whether nobody is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.cgroups.is_empty()
    }
}

/// Outbound connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outbound {
    /// Where they go.
    pub port: u16,
    /// To these ports; to all if none is named.
    pub include_ports: Vec<Ports>,
    /// Not to these.
    pub exclude_ports: Vec<Ports>,
    /// To these networks; to all if none is named.
    pub include_nets: Vec<Net>,
}

/// Inbound connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inbound {
    /// How they go there.
    pub way: InboundWay,
    /// Where they go.
    pub port: u16,
    /// To these ports; to all if none is named.
    pub include_ports: Vec<Ports>,
    /// Not to these.
    pub exclude_ports: Vec<Ports>,
    /// From these networks; from all if none is named.
    pub include_nets: Vec<Net>,
    /// Not from these.
    pub exclude_nets: Vec<Net>,
}

/// How inbound connections are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InboundWay {
    /// Their destination is rewritten.
    Redirect,
    /// They are handed over as they are, and marked.
    Tproxy(Mark),
}

/// DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dns {
    /// Where queries go.
    pub port: u16,
    /// Users whose queries are left alone: resolvers on this machine.
    pub resolvers: Vec<u32>,
}

impl Capture {
    /// Looks the names up.
    ///
    /// # Errors
    /// One sentence for each name that is not known, and for each user who is both service and sidecar.
    pub(crate) fn resolve(wanted: &Wanted, accounts: &impl Accounts) -> Result<Self, Vec<String>> {
        let flags = wanted.flags();
        let mut problems = Vec::new();
        let mut ids = |flag: &str, registry: Registry, list: &[Account]| {
            let mut found = BTreeSet::new();
            for account in list {
                match accounts.id(registry, account) {
                    Some(id) => {
                        found.insert(id);
                    }
                    None => problems.push(unknown(flag, registry, account)),
                }
            }
            found.into_iter().collect::<Vec<u32>>()
        };
        let own = Own {
            uids: ids("--sidecar-uid", Registry::Users, &flags.sidecar_uid),
            gids: ids("--sidecar-gid", Registry::Groups, &flags.sidecar_gid),
            marks: in_order(&flags.sidecar_mark),
        };
        let include = Senders {
            uids: ids("--include-uid", Registry::Users, &flags.include_uid),
            cgroups: in_order(&flags.include_cgroup),
        };
        let exclude = Senders {
            uids: ids("--exclude-uid", Registry::Users, &flags.exclude_uid),
            cgroups: in_order(&flags.exclude_cgroup),
        };
        for uid in include.uids.iter().filter(|uid| own.uids.contains(uid)) {
            problems.push(format!(
                "--include-uid and --sidecar-uid name the same user, {uid}: the service and its sidecar need \
                 different users"
            ));
        }
        let resolvers = || {
            let resolver = |name: &&str| accounts.id(Registry::Users, &Account::Name((*name).to_owned()));
            let found: BTreeSet<u32> = RESOLVERS.iter().filter_map(resolver).collect();
            found.into_iter().collect()
        };
        let capture = Self {
            instance: flags.name.clone().unwrap_or_default(),
            families: if flags.ipv4_only { Families::Ipv4 } else { Families::Both },
            own,
            own_ports: Ports::merged(own_ports(flags).map(|(_, port)| Ports::one(port))),
            metrics_port: flags.metrics_port.number(),
            include,
            exclude,
            include_interfaces: in_order(&flags.include_interface),
            exclude_interfaces: in_order(&flags.exclude_interface),
            exclude_outbound_nets: Net::merged(flags.exclude_outbound_cidr.iter().copied()),
            outbound: (flags.outbound_mode == OutboundMode::Redirect).then(|| Outbound {
                port: flags.outbound_port.number(),
                include_ports: Ports::merged(flags.include_outbound_port.iter().copied()),
                exclude_ports: Ports::merged(flags.exclude_outbound_port.iter().copied()),
                include_nets: Net::merged(flags.include_outbound_cidr.iter().copied()),
            }),
            inbound: inbound(wanted),
            dns: (flags.dns_mode == DnsMode::Redirect)
                .then(|| Dns { port: flags.dns_port.number(), resolvers: resolvers() }),
        };
        if problems.is_empty() { Ok(capture) } else { Err(problems) }
    }
}

fn inbound(wanted: &Wanted) -> Option<Inbound> {
    let flags = wanted.flags();
    let port = flags.inbound_port.number();
    let way = match flags.inbound_mode {
        InboundMode::Off => return None,
        InboundMode::Redirect => InboundWay::Redirect,
        InboundMode::Tproxy => InboundWay::Tproxy(Mark::new(port.into())?),
    };
    let mut exclude = flags.exclude_inbound_port.clone();
    if flags.include_inbound_port.is_empty() {
        exclude.push(Ports::one(SSH));
    }
    Some(Inbound {
        way,
        port,
        include_ports: Ports::merged(flags.include_inbound_port.iter().copied()),
        exclude_ports: Ports::merged(exclude),
        include_nets: Net::merged(flags.include_inbound_cidr.iter().copied()),
        exclude_nets: Net::merged(flags.exclude_inbound_cidr.iter().copied()),
    })
}

fn in_order<T: Ord + Clone>(list: &[T]) -> Vec<T> {
    let set: BTreeSet<T> = list.iter().cloned().collect();
    set.into_iter().collect()
}

fn unknown(flag: &str, registry: Registry, account: &Account) -> String {
    match registry {
        Registry::Users => format!(
            "{flag} {account}: this machine has no such user; make one with `useradd --system --no-create-home \
             {account}`, or give another name or a number"
        ),
        Registry::Groups => format!(
            "{flag} {account}: this machine has no such group; make one with `groupadd --system {account}`, or give \
             another name or a number"
        ),
    }
}
