//! The networks virtual addresses are given from. The controller gives them, and sidecars are told of them, so that a
//! connection to an address of a Service that is gone is refused and not sent into the void.

use mesh_names::Network;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first half of every IPv4 address given: `240.240.0.0/16`. It lies in the block that is reserved and routed nowhere
/// (RFC 1112 §4), so that no real machine is ever hidden by it, yet Linux and the BSDs take it for an ordinary address.
/// Istio gives the same network to services without addresses; Consul and Kuma use other parts of the block.
const IPV4_NETWORK: u32 = 0xf0f0_0000;
/// The first 112 bits of every IPv6 address given, a unique local network (RFC 4193): `fd6f:7574:7269::/112`. Its global
/// identifier spells `outri` in ASCII: these addresses never leave the machine, so that being told apart by people counts
/// more than being drawn by lot.
const IPV6_NETWORK: u128 = 0xfd6f_7574_7269_0000_0000_0000_0000_0000;
/// Bits of an address that are its own in both of them: one number stands for a pair.
const NUMBER_BITS: u8 = 16;

/// The pair of addresses with this number.
pub(crate) fn virtual_pair(number: u16) -> [IpAddr; 2] {
    [
        Ipv4Addr::from_bits(IPV4_NETWORK | u32::from(number)).into(),
        Ipv6Addr::from_bits(IPV6_NETWORK | u128::from(number)).into(),
    ]
}

/// The networks that they all lie in.
pub(crate) fn virtual_networks() -> impl Iterator<Item = Network> {
    let of = |lowest: IpAddr| Network::of(lowest, if lowest.is_ipv4() { 32 } else { 128 } - NUMBER_BITS);
    virtual_pair(0).into_iter().filter_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_lies_in_the_networks_and_nothing_beside_it() {
        let networks: Vec<_> = virtual_networks().collect();
        let texts: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["240.240.0.0/16", "fd6f:7574:7269::/112"]);
        for number in [0, 1, 0x1234, u16::MAX] {
            for (network, address) in networks.iter().zip(virtual_pair(number)) {
                assert!(network.contains(address), "{network} {address}");
            }
        }
    }
}
