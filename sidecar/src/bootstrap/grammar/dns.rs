//! The values of the DNS server's flags.

use super::{GrammarError, wrong};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Where DNS is served when a server's address names no port.
const DNS_PORT: u16 = 53;

/// Where the sidecar answers DNS: `127.0.0.1:15053`, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsAddress {
    /// Here, over UDP and TCP.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl FromStr for DnsAddress {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text
            .parse()
            .or_else(|_| wrong("it must be an address with a port, as 127.0.0.1:15053, or off"))?;
        Ok(Self::At(address))
    }
}

impl fmt::Display for DnsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

/// A DNS server to ask: `192.0.2.1`, `192.0.2.1:5353` or `[2001:db8::1]:53`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsServer(pub SocketAddr);

impl FromStr for DnsServer {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let alone = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
        let address = text.parse::<SocketAddr>().or_else(|_| alone());
        match address {
            Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(Self(address)),
            Ok(_) | Err(_) => wrong(
                "it must be the address of a DNS server, as 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_is_served_at_an_address_or_not_at_all() {
        for text in ["127.0.0.1:15053", "[::1]:0", "off"] {
            assert_eq!(text.parse::<DnsAddress>().unwrap().to_string(), text);
        }
        for text in ["", "Off", "127.0.0.1", "localhost:53"] {
            let error = text.parse::<DnsAddress>().unwrap_err().to_string();
            assert_eq!(error, "it must be an address with a port, as 127.0.0.1:15053, or off", "{text}");
        }
    }

    #[test]
    fn a_dns_server_is_at_port_53_unless_said_otherwise() {
        for (text, means) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:54", "[2001:db8::1]:54"),
        ] {
            assert_eq!(text.parse::<DnsServer>().unwrap().0.to_string(), means);
        }
        for text in ["", "dns.example", "192.0.2.1:0", "0.0.0.0", "[::]:53"] {
            let error = text.parse::<DnsServer>().unwrap_err().to_string();
            assert!(error.starts_with("it must be the address of a DNS server"), "{text}");
        }
    }
}
