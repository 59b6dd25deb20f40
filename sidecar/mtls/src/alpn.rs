//! What is spoken inside the TLS connection, agreed in the handshake (RFC 7301).

use std::fmt;

/// An application protocol the mesh agrees on in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/2: many requests over one connection. On the wire `h2`.
    H2,
    /// HTTP/1.1. On the wire `http/1.1`.
    Http1,
    /// Opaque bytes of one application connection. On the wire `outrigger-tcp`.
    Tcp,
}

impl Alpn {
    /// As in the handshake.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http1 => "http/1.1",
            Self::Tcp => "outrigger-tcp",
        }
    }

    pub(crate) fn wire(self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }

    /// Reads what a handshake agreed on.
    pub(crate) fn agreed(protocol: Option<&[u8]>) -> Option<Self> {
        [Self::H2, Self::Http1, Self::Tcp].into_iter().find(|alpn| protocol == Some(alpn.as_str().as_bytes()))
    }
}

impl fmt::Display for Alpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
