//! The three addresses the control plane listens on.
//!
//! Enters: the settings. Leaves: bound listeners, or which flag's address cannot be had. Never here: accepting.

use crate::bootstrap::Settings;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Connections the kernel keeps for us while we are busy: after a restart every sidecar comes at once.
const BACKLOG: u32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on --{flag} {address}{}", advice(source))]
pub struct ListenError {
    flag: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// Where the control plane listens, with the ports the system chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// For `kubectl` and `meshctl`.
    pub api: SocketAddr,
    /// For sidecars.
    pub discovery: SocketAddr,
    /// For operators.
    pub metrics: SocketAddr,
}

/// Listeners that are bound and not served yet.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) api: TcpListener,
    pub(crate) discovery: TcpListener,
    pub(crate) metrics: TcpListener,
}

impl Listeners {
    /// Binds all three, or says which cannot be had.
    pub(crate) fn bind(settings: &Settings) -> Result<Self, ListenError> {
        Ok(Self {
            api: bind("api-addr", settings.api_addr)?,
            discovery: bind("discovery-addr", settings.discovery_addr)?,
            metrics: bind("metrics-addr", settings.metrics_addr)?,
        })
    }

    pub(crate) fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            api: self.api.local_addr()?,
            discovery: self.discovery.local_addr()?,
            metrics: self.metrics.local_addr()?,
        })
    }
}

fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // So that a restart need not wait for old connections to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| ListenError { flag, address, source })
}

fn advice(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse {
        " (stop what uses it, or choose another port; 0 lets the system choose)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_flag() {
        let first = bind("api-addr", ([127, 0, 0, 1], 0).into()).expect("a free port");
        let taken = first.local_addr().expect("bound");
        let problem = bind("metrics-addr", taken).expect_err("taken").to_string();
        assert!(problem.starts_with(&format!("cannot listen on --metrics-addr {taken} (")), "{problem}");
        assert!(problem.contains("choose another port"), "{problem}");
    }
}
