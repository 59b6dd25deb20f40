//! The values that capture is described with, each with its grammar and the sentence for breaking it. Text enters, a
//! value that cannot be wrong leaves; whatever leaves may be written into a ruleset as it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest name of an instance, so that the names of iptables' chains, at most 28 bytes, can hold it.
const NAME_MAX: usize = 14;
/// Longest name of a network interface (`IFNAMSIZ` without its zero).
const INTERFACE_MAX: usize = 15;

/// Why a text is not such a value: one sentence that says what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GrammarError(String);

fn wrong<T>(sentence: impl Into<String>) -> Result<T, GrammarError> {
    Err(GrammarError(sentence.into()))
}

/// Which of several sidecars on one machine: each has rules of its own. The one without a name is the usual case.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance(Option<String>);

impl Instance {
    /// The nftables table its rules are in.
    pub fn table(&self) -> String {
        self.0.as_ref().map_or_else(|| "outrigger".to_owned(), |name| format!("outrigger_{name}"))
    }

    /// What the names of its iptables chains begin with.
    pub fn chains(&self) -> String {
        self.0.as_ref().map_or_else(|| "outrigger".to_owned(), |name| format!("outrigger-{name}"))
    }

    /// The flag that names it, with a space before; empty for the one without a name.
    pub fn flag(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |name| format!(" --name {name}"))
    }

    /// The instance whose table this is.
    pub fn of_table(table: &str) -> Option<Self> {
        match table.strip_prefix("outrigger")? {
            "" => Some(Self(None)),
            rest => rest.strip_prefix('_')?.parse().ok(),
        }
    }
}

impl FromStr for Instance {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !begins || text.len() > NAME_MAX || !text.chars().all(allowed) {
            return wrong(format!(
                "a name is at most {NAME_MAX} lower-case letters, digits and `-`, and begins with a letter"
            ));
        }
        Ok(Self(Some(text.to_owned())))
    }
}

/// A user or a group, by name or by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// By number.
    Id(u32),
    /// By name, to be looked up.
    Name(String),
}

impl FromStr for Account {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        if let Ok(id) = text.parse::<u32>() {
            // The kernel's word for "none".
            return if id == u32::MAX { wrong("4294967295 means nobody") } else { Ok(Self::Id(id)) };
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '$');
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if begins && text.chars().all(allowed) {
            Ok(Self::Name(text.to_owned()))
        } else {
            wrong("it must be a name, as in /etc/passwd or /etc/group, or a number")
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A firewall mark other than 0, which is what packets without a mark have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u32);

impl Mark {
    /// The mark with this number, if it is one.
    pub fn new(number: u32) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl FromStr for Mark {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let number = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        match number.ok().and_then(Self::new) {
            Some(mark) => Ok(mark),
            None => wrong("a mark is a number from 1 to 4294967295, or 0x1 to 0xffffffff"),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Ports from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// Just this one.
    pub fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The lowest.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether this port is among them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// The same ports without overlaps and gaps of nothing, in order: what a set in a ruleset must be.
    pub fn merged(ports: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut sorted: Vec<Self> = ports.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<Self> = Vec::with_capacity(sorted.len());
        for next in sorted {
            match merged.last_mut() {
                Some(before) if next.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(next.last);
                }
                Some(_) | None => merged.push(next),
            }
        }
        merged
    }
}

impl FromStr for Ports {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(Self { first, last }),
            _ => wrong("it must be a port from 1 to 65535, or a range as 8000-8999"),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Addresses with a prefix (CIDR, RFC 4632 §3.1); a whole address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Net {
    address: IpAddr,
    prefix: u8,
}

impl Net {
    /// A network of one IPv4 prefix.
    pub const fn v4(address: Ipv4Addr, prefix: u8) -> Self {
        Self { address: IpAddr::V4(address), prefix }
    }

    /// A network of one IPv6 prefix.
    pub const fn v6(address: Ipv6Addr, prefix: u8) -> Self {
        Self { address: IpAddr::V6(address), prefix }
    }

    /// Its lowest address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Its second address, which is usually a machine's, or its only one.
    pub fn second(self) -> IpAddr {
        if self.prefix >= self.bits() {
            return self.address;
        }
        match self.address {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() | 1).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() | 1).into(),
        }
    }

    /// Whether the address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        masked(address, self.prefix) == self.address && self.address.is_ipv4() == address.is_ipv4()
    }

    /// The same addresses in as few networks as need be said, in order: none lies in another.
    pub fn merged(nets: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut sorted: Vec<Self> = nets.into_iter().collect();
        // A network stands before all that lie in it.
        sorted.sort_unstable();
        let mut merged: Vec<Self> = Vec::with_capacity(sorted.len());
        for net in sorted {
            if merged.last().is_none_or(|before| !before.contains(net.address)) {
                merged.push(net);
            }
        }
        merged
    }

    fn bits(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

impl FromStr for Net {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let form = "it must be an address or a network, as 10.1.2.3, 10.0.0.0/8 or 2001:db8::/32";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else { return wrong(form) };
        let whole = Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } };
        let Some(prefix) = prefix else { return Ok(whole) };
        match prefix.parse::<u8>() {
            Ok(prefix) if prefix <= whole.prefix => {
                let net = Self { address: masked(address, prefix), prefix };
                if net.address == address {
                    Ok(net)
                } else {
                    wrong(format!("{address} is not the beginning of its network: write {net} or {address}"))
                }
            }
            _ => wrong(form),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == self.bits() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

/// A network interface, or all that begin alike: `eth0`, `docker*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface(String);

impl Interface {
    /// The interface itself, or what the names begin with.
    pub fn stem(&self) -> &str {
        self.0.trim_end_matches('*')
    }

    /// Whether it stands for all that begin alike.
    pub fn is_prefix(&self) -> bool {
        self.0.ends_with('*')
    }

    /// Whether the interface of this name is meant.
    pub fn matches(&self, name: &str) -> bool {
        if self.is_prefix() { name.starts_with(self.stem()) } else { name == self.0 }
    }
}

impl FromStr for Interface {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@');
        if stem.is_empty() || stem.len() > INTERFACE_MAX || !stem.chars().all(allowed) {
            return wrong(
                "it must be the name of a network interface, as eth0, or the beginning of some, as docker*",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A control group (version 2) by its path below `/sys/fs/cgroup`: `shop.slice`, `system.slice/orders.service`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cgroup(String);

impl Cgroup {
    /// The path, without a slash at its ends.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// How deep it lies: 1 for those at the top.
    pub fn level(&self) -> usize {
        self.0.split('/').count()
    }

    /// Whether a process in the group at this path is in it, directly or below.
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for Cgroup {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let path = text.strip_prefix("/sys/fs/cgroup").unwrap_or(text).trim_matches('/');
        // systemd escapes with `\`.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '\\');
        let is_part =
            |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(allowed);
        if path.split('/').all(is_part) {
            Ok(Self(path.to_owned()))
        } else {
            wrong(
                "it must be a control group's path below /sys/fs/cgroup, as shop.slice or system.slice/orders.service",
            )
        }
    }
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
