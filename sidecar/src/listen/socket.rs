//! Binding: one socket per worker and address, sharing the port by SO_REUSEPORT, all before anything is served.

use mesh_names::{Port, ServiceName};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;

/// Connections the kernel holds for us until they are accepted; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A local port that leads to one port of one service, as given by `--upstream SERVICE.NAMESPACE:PORT=ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The service.
    pub service: ServiceName,
    /// Its port.
    pub port: Port,
    /// Where the application connects to.
    pub address: SocketAddr,
}

/// An address that can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({flag}): {}", mend(.source))]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// The flag that asked for it.
    pub flag: &'static str,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "another crate's enum: what is not named says itself what it is"
)]
fn mend(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process has this port: stop it, or choose another port with this flag".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "a port below 1024 needs a privilege: choose a higher one".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

/// Every socket of every worker, bound and listening.
#[derive(Debug)]
pub struct Listeners {
    /// Where the outbound port is, with the number the system chose if 0 was asked for.
    pub outbound: SocketAddr,
    /// Where the inbound mutual-TLS port is, likewise.
    pub inbound: SocketAddr,
    /// The upstreams, likewise.
    pub upstreams: Vec<Upstream>,
    pub(crate) workers: Vec<WorkerListeners>,
}

/// One worker's sockets.
#[derive(Debug)]
pub(crate) struct WorkerListeners {
    pub(crate) outbound: TcpListener,
    pub(crate) inbound: TcpListener,
    /// In the order of [`Listeners::upstreams`].
    pub(crate) upstreams: Vec<TcpListener>,
}

/// Binds everything for `workers` workers. The first worker's port, where 0 was asked for, is the others' too.
///
/// # Errors
/// [`BindError`] with the first address that can't be had; nothing stays bound.
pub fn bind(
    outbound: SocketAddr,
    inbound: SocketAddr,
    upstreams: &[Upstream],
    workers: NonZeroUsize,
) -> Result<Listeners, BindError> {
    let (outbound, mut outbounds) = bind_each(outbound, "--outbound-addr", workers)?;
    let (inbound, mut inbounds) = bind_each(inbound, "--inbound-addr", workers)?;
    let mut bound = Vec::with_capacity(upstreams.len());
    let mut sockets = Vec::with_capacity(upstreams.len());
    for upstream in upstreams {
        let (address, listeners) = bind_each(upstream.address, "--upstream", workers)?;
        bound.push(Upstream { address, ..upstream.clone() });
        sockets.push(listeners);
    }
    let mut all = Vec::with_capacity(workers.get());
    while let (Some(outbound), Some(inbound)) = (outbounds.pop(), inbounds.pop()) {
        let upstreams = sockets.iter_mut().filter_map(Vec::pop).collect();
        all.push(WorkerListeners { outbound, inbound, upstreams });
    }
    Ok(Listeners { outbound, inbound, upstreams: bound, workers: all })
}

fn bind_each(
    address: SocketAddr,
    flag: &'static str,
    workers: NonZeroUsize,
) -> Result<(SocketAddr, Vec<TcpListener>), BindError> {
    let failed = |source| BindError { address, flag, source };
    // With SO_REUSEPORT two processes of one user share a port without noticing. A first socket without it notices.
    drop(listening(address, Sharing::No).map_err(failed)?);
    let first = listening(address, Sharing::Yes).map_err(failed)?;
    let bound = first.local_addr().map_err(failed)?;
    let mut listeners = vec![first];
    for _ in 1..workers.get() {
        listeners.push(listening(bound, Sharing::Yes).map_err(failed)?);
    }
    Ok((bound, listeners))
}

#[derive(PartialEq)]
enum Sharing {
    Yes,
    No,
}

fn listening(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last minute's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Yes {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn every_worker_listens_on_the_port_the_system_chose() {
        let upstream =
            Upstream { service: "shop/a".parse().unwrap(), port: "80".parse().unwrap(), address: any() };
        let listeners = bind(any(), any(), &[upstream], NonZeroUsize::new(3).unwrap()).unwrap();
        assert_eq!(listeners.workers.len(), 3);
        for worker in &listeners.workers {
            assert_eq!(worker.outbound.local_addr().unwrap(), listeners.outbound);
            assert_eq!(worker.inbound.local_addr().unwrap(), listeners.inbound);
            assert_eq!(worker.upstreams[0].local_addr().unwrap(), listeners.upstreams[0].address);
        }
    }

    #[test]
    fn a_port_in_use_is_named_with_its_flag_even_if_it_would_share() {
        let one = NonZeroUsize::new(1).unwrap();
        let first = bind(any(), any(), &[], one).unwrap();
        let error = bind(any(), first.inbound, &[], one).unwrap_err().to_string();
        assert!(error.contains(&first.inbound.to_string()), "{error}");
        assert!(
            error.contains("--inbound-addr") && error.contains("another process has this port"),
            "{error}"
        );
    }
}
