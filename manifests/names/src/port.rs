//! Port numbers and application protocols.

use crate::NameError;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port with this number, unless it is 0.
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u32> for Port {
    type Error = NameError;
    fn try_from(number: u32) -> Result<Self, NameError> {
        let port = u16::try_from(number).ok().and_then(Self::new);
        port.ok_or_else(|| NameError::new(&number.to_string(), "a port", "it must be between 1 and 65535"))
    }
}

impl FromStr for Port {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let port = text.parse().ok().and_then(Self::new);
        port.ok_or_else(|| NameError::new(text, "a port", "it must be a number between 1 and 65535"))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an application speaks on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AppProtocol {
    /// Nothing is declared: the first bytes of either side decide.
    #[default]
    Detect,
    /// HTTP/1.1.
    Http,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3).
    H2c,
    /// gRPC: HTTP/2, and failures are answered in gRPC's terms.
    Grpc,
    /// Opaque bytes.
    Tcp,
}

impl AppProtocol {
    /// As written in flags and shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }

    /// Reads a Service port's `appProtocol`: the names Kubernetes and the meshes use. Unknown names mean
    /// [`AppProtocol::Detect`], as the Kubernetes API asks of implementations that don't know a value.
    pub fn from_service_port(app_protocol: &str) -> Self {
        match app_protocol {
            "http" | "HTTP" | "http1" | "kubernetes.io/ws" => Self::Http,
            "h2c" | "http2" | "kubernetes.io/h2c" => Self::H2c,
            "grpc" | "GRPC" => Self::Grpc,
            "tcp" | "TCP" | "tls" | "https" | "kubernetes.io/wss" => Self::Tcp,
            _ => Self::Detect,
        }
    }
}

impl FromStr for AppProtocol {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "detect" => Ok(Self::Detect),
            "http" => Ok(Self::Http),
            "h2c" => Ok(Self::H2c),
            "grpc" => Ok(Self::Grpc),
            "tcp" => Ok(Self::Tcp),
            _ => Err(NameError::new(text, "a protocol", "it must be one of http, h2c, grpc, tcp, detect")),
        }
    }
}

impl fmt::Display for AppProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_between_1_and_65535() {
        for text in ["0", "65536", "-1", "http", "", "1 "] {
            assert!(text.parse::<Port>().is_err(), "{text:?}");
        }
        assert_eq!("65535".parse::<Port>().unwrap().number(), 65535);
        assert!(Port::try_from(70_000).is_err());
    }

    #[test]
    fn protocols_read_back_as_written() {
        for protocol in
            [AppProtocol::Detect, AppProtocol::Http, AppProtocol::H2c, AppProtocol::Grpc, AppProtocol::Tcp]
        {
            assert_eq!(protocol.as_str().parse::<AppProtocol>().unwrap(), protocol);
        }
        assert_eq!(AppProtocol::from_service_port("kubernetes.io/h2c"), AppProtocol::H2c);
        assert_eq!(AppProtocol::from_service_port("mysql"), AppProtocol::Detect);
    }
}
