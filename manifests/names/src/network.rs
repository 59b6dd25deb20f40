//! Networks: addresses that begin alike.

use crate::NameError;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network, as `10.0.0.0/8` (CIDR, RFC 4632 §3.1): its lowest address, and how many bits all its addresses share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    lowest: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of this size that the address lies in; nothing if the prefix is longer than the address.
    pub fn of(address: IpAddr, prefix: u8) -> Option<Self> {
        let lowest = match address {
            IpAddr::V4(ip) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(Self { lowest, prefix })
    }

    /// Whether the address lies in it. An IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.lowest.is_ipv4() && Self::of(address, self.prefix) == Some(self)
    }
}

impl FromStr for Network {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |rule| NameError::new(text, "a network", rule);
        let form = "it must be an address, `/` and a number of bits, as 10.0.0.0/8 or 2001:db8::/32";
        let (address, prefix) = text.split_once('/').ok_or_else(|| wrong(form))?;
        let address: IpAddr = address.parse().map_err(|_| wrong(form))?;
        let prefix = prefix.parse().ok().and_then(|prefix| Self::of(address, prefix));
        let network = prefix.ok_or_else(|| wrong(form))?;
        if network.lowest == address {
            Ok(network)
        } else {
            Err(wrong("it must begin with its lowest address"))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.lowest, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_as_it_does() {
        for (network, inside, outside) in [
            ("240.240.0.0/16", "240.240.255.255", "240.241.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::a00:1"),
            ("fd6f:7574:7269::/112", "fd6f:7574:7269::ffff", "fd6f:7574:7269::1:0"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ffff::", "1.2.3.4"),
            ("10.0.0.1/32", "10.0.0.1", "10.0.0.2"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.to_string(), network);
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.1/8", "10.0.0.0/x", "/8", "10.0.0.0/-1"]
        {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains("is not a network"), "{error}");
        }
    }
}
