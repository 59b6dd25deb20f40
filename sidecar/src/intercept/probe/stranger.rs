//! Another machine, as far as the rules can tell: a temporary network namespace behind a pair of virtual interfaces, from
//! which a connection reaches this one as any from outside. What a machine sends to itself never passes the rules for
//! inbound connections.

use crate::intercept::failure::InterceptError;
use crate::intercept::programs::Program;
use crate::intercept::ruleset::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Our end of the pair.
pub(super) const INTERFACE: &str = "orgprobe0";
/// What the names of the namespaces begin with; the process's number follows.
const NAMESPACE: &str = "outrigger-probe-";
const ITS_INTERFACE: &str = "orgprobe1";
/// Link-local and unique-local addresses that nobody else uses (RFC 3927, RFC 4193): ours, then its.
const V4: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 213, 85)), IpAddr::V4(Ipv4Addr::new(169, 254, 213, 86))];
const V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd4f, 0x5247, 0x9d55, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd4f, 0x5247, 0x9d55, 0, 0, 0, 0, 2)),
];

/// A temporary network namespace; dropping it removes it.
#[derive(Debug)]
pub(super) struct Stranger {
    ip: Program,
    name: String,
}

impl Stranger {
    /// Makes it.
    ///
    /// # Errors
    /// `ip` fails: most often, the process may not make namespaces.
    pub(super) fn appear(ip: Program, families: &[Family]) -> Result<Self, InterceptError> {
        let name = format!("{NAMESPACE}{}", std::process::id());
        // Left behind by one that was killed; only one runs at a time.
        for old in ip.run(&["netns", "list"]).unwrap_or_default().lines().filter_map(left_behind) {
            drop(ip.run(&["netns", "del", old]));
        }
        ip.run(&["netns", "add", &name])?;
        let stranger = Self { ip, name };
        drop(stranger.ip.run(&["link", "del", INTERFACE]));
        let theirs = ["-n", &stranger.name];
        let pair = ["link", "add", INTERFACE, "type", "veth", "peer", "name", ITS_INTERFACE, "netns"];
        stranger.ip.run(&[&pair[..], &[&stranger.name]].concat())?;
        for family in families {
            let prefix = if *family == Family::V4 { 30 } else { 126 };
            let [here, there] = addresses(*family).map(|address| format!("{address}/{prefix}"));
            // IPv6 would first ask around whether someone has the address; IPv4 does not know the word.
            let nodad: &[&str] = if *family == Family::V6 { &["nodad"] } else { &[] };
            stranger.ip.run(&[&["addr", "add", &here, "dev", INTERFACE], nodad].concat())?;
            stranger
                .ip
                .run(&[&theirs[..], &["addr", "add", &there, "dev", ITS_INTERFACE], nodad].concat())?;
        }
        stranger.ip.run(&["link", "set", INTERFACE, "up"])?;
        stranger.ip.run(&[&theirs[..], &["link", "set", ITS_INTERFACE, "up"]].concat())?;
        Ok(stranger)
    }

    /// The command that enters it.
    pub(super) fn ip(&self) -> &Program {
        &self.ip
    }

    /// Its namespace.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // Whatever was made; the first removes both ends of the pair at once.
        drop(self.ip.run(&["link", "del", INTERFACE]));
        drop(self.ip.run(&["netns", "del", &self.name]));
    }
}

/// Whether a connection is a probe, and so nobody's: from the namespace's address to ours, which this machine has only
/// while there is a namespace. Another machine can send a packet with that address, but its answer goes into the
/// namespace, so it can't open a connection.
pub(crate) fn is_probe(source: IpAddr, destination: IpAddr) -> bool {
    [V4, V6].iter().any(|[here, there]| (source, destination) == (*there, *here))
}

/// The namespace on this line of `ip netns list`, if it is one of a probe that has ended.
fn left_behind(line: &str) -> Option<&str> {
    let name = line.split(' ').next()?;
    let process = name.strip_prefix(NAMESPACE)?;
    let ended =
        process.bytes().all(|byte| byte.is_ascii_digit()) && !Path::new("/proc").join(process).exists();
    ended.then_some(name)
}

/// Our address and its address.
pub(super) fn addresses(family: Family) -> [IpAddr; 2] {
    match family {
        Family::V4 => V4,
        Family::V6 => V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_told_by_both_of_its_addresses() {
        for [here, there] in [V4, V6] {
            assert!(is_probe(there, here));
            // Someone who has taken the namespace's address, calling this machine by its own; and ourselves.
            for (source, destination) in [(there, "10.0.0.1".parse().unwrap()), (here, there), (here, here)] {
                assert!(!is_probe(source, destination), "{source} {destination}");
            }
        }
    }
}
