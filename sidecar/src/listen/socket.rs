//! Binding: one socket per worker and address, sharing the port by SO_REUSEPORT, all before anything is served.

use mesh_names::{Port, ServiceName};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
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

/// Whether connections that the kernel redirected here are taken for what they were going to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capture {
    /// No: every connection is one to us.
    #[default]
    Off,
    /// Yes.
    On,
}

/// Where to listen.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// The outbound port, as `--outbound-addr`.
    pub outbound: Option<SocketAddr>,
    /// The inbound mutual-TLS port, as `--inbound-addr`.
    pub inbound: Option<SocketAddr>,
    /// Captured plaintext, as `--plaintext-addr`; none: nothing is captured.
    pub plaintext: Option<SocketAddr>,
    /// The upstreams, as `--upstream`.
    pub upstreams: Vec<Upstream>,
}

/// Every socket of every worker, bound and listening.
#[derive(Debug)]
pub struct Listeners {
    /// Where the outbound port is, with the number the system chose if 0 was asked for.
    pub outbound: SocketAddr,
    /// Where the inbound mutual-TLS port is, likewise.
    pub inbound: SocketAddr,
    /// Where captured plaintext is taken, likewise; none: nothing is captured.
    pub plaintext: Option<SocketAddr>,
    /// The upstreams, likewise.
    pub upstreams: Vec<Upstream>,
    pub(crate) workers: Vec<WorkerListeners>,
}

/// One worker's sockets.
#[derive(Debug, Default)]
pub(crate) struct WorkerListeners {
    /// The outbound port; with capture also its twin in IPv6, since that is where the kernel redirects IPv6.
    pub(crate) outbound: Vec<TcpListener>,
    /// The mutual-TLS port; also its twin in IPv6 where it is on every address.
    pub(crate) inbound: Vec<TcpListener>,
    pub(crate) plaintext: Vec<TcpListener>,
    /// In the order of [`Listeners::upstreams`].
    pub(crate) upstreams: Vec<TcpListener>,
}

/// Which of a worker's sockets.
type Place = fn(&mut WorkerListeners) -> &mut Vec<TcpListener>;

/// Binds everything for `workers` workers. The first worker's port, where 0 was asked for, is the others' too. What is
/// not given is bound to a loopback port that the system chooses.
///
/// # Errors
/// [`BindError`] with the first address that can't be had; nothing stays bound.
pub fn bind(addresses: &Addresses, workers: NonZeroUsize) -> Result<Listeners, BindError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut all: Vec<WorkerListeners> = (0..workers.get()).map(|_| WorkerListeners::default()).collect();
    let mut each = |address, flag, versions, place: Place| {
        let (address, listeners) = bind_each(address, flag, versions, workers)?;
        for (worker, listener) in all.iter_mut().zip(listeners) {
            place(worker).push(listener);
        }
        Ok(address)
    };
    let asked = Versions::AsAsked;
    let outbound = each(addresses.outbound.unwrap_or(any), "--outbound-addr", asked, |w| &mut w.outbound)?;
    let inbound = each(addresses.inbound.unwrap_or(any), "--inbound-addr", asked, |w| &mut w.inbound)?;
    // Peers come by whichever address this workload is announced with.
    let mut twins: Vec<(_, _, Place)> = Vec::new();
    if inbound.ip().is_unspecified() {
        twins.push((twin(inbound), "--inbound-addr", |w| &mut w.inbound));
    }
    let mut plaintext = None;
    if let Some(address) = addresses.plaintext {
        let bound = each(address, "--plaintext-addr", asked, |w| &mut w.plaintext)?;
        plaintext = Some(bound);
        twins.push((twin(outbound), "--outbound-addr", |w| &mut w.outbound));
        twins.push((twin(bound), "--plaintext-addr", |w| &mut w.plaintext));
    }
    for (twin, flag, place) in twins {
        match twin.map(|twin| each(twin, flag, Versions::Ipv6Only, place)) {
            None | Some(Ok(_)) => {}
            Some(Err(error)) if lacks_ipv6(&error.source) => {
                tracing::info!(flag, "this machine has no IPv6: only IPv4 is listened on");
            }
            Some(Err(error)) => return Err(error),
        }
    }
    let mut upstreams = Vec::with_capacity(addresses.upstreams.len());
    for upstream in &addresses.upstreams {
        let address = each(upstream.address, "--upstream", asked, |w| &mut w.upstreams)?;
        upstreams.push(Upstream { address, ..upstream.clone() });
    }
    Ok(Listeners { outbound, inbound, plaintext, upstreams, workers: all })
}

/// The address in IPv6 that stands for the same one in IPv4: loopback, or all.
fn twin(address: SocketAddr) -> Option<SocketAddr> {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Some(SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()))),
        IpAddr::V4(ip) if ip.is_unspecified() => {
            Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port())))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    const UNSUPPORTED: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(UNSUPPORTED)
}

fn bind_each(
    address: SocketAddr,
    flag: &'static str,
    versions: Versions,
    workers: NonZeroUsize,
) -> Result<(SocketAddr, Vec<TcpListener>), BindError> {
    let failed = |source| BindError { address, flag, source };
    // With SO_REUSEPORT two processes of one user share a port without noticing. A first socket without it notices.
    drop(listening(address, Sharing::No, versions).map_err(failed)?);
    let first = listening(address, Sharing::Yes, versions).map_err(failed)?;
    let bound = first.local_addr().map_err(failed)?;
    let mut listeners = vec![first];
    for _ in 1..workers.get() {
        listeners.push(listening(bound, Sharing::Yes, versions).map_err(failed)?);
    }
    Ok((bound, listeners))
}

#[derive(PartialEq)]
enum Sharing {
    Yes,
    No,
}

/// Which versions of IP a socket takes.
#[derive(Clone, Copy, PartialEq)]
enum Versions {
    /// Those of its address; `[::]` stands for both on most machines.
    AsAsked,
    /// IPv6, beside a socket for IPv4.
    Ipv6Only,
}

fn listening(address: SocketAddr, sharing: Sharing, versions: Versions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last minute's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if versions == Versions::Ipv6Only {
        socket.set_only_v6(true)?;
    }
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
        let addresses = Addresses { upstreams: vec![upstream], ..Addresses::default() };
        let listeners = bind(&addresses, NonZeroUsize::new(3).unwrap()).unwrap();
        assert_eq!(listeners.workers.len(), 3);
        for worker in &listeners.workers {
            assert_eq!(worker.outbound[0].local_addr().unwrap(), listeners.outbound);
            assert_eq!(worker.inbound[0].local_addr().unwrap(), listeners.inbound);
            assert!(worker.plaintext.is_empty() && worker.outbound.len() == 1);
            assert_eq!(worker.upstreams[0].local_addr().unwrap(), listeners.upstreams[0].address);
        }
    }

    #[test]
    fn a_port_in_use_is_named_with_its_flag_even_if_it_would_share() {
        let one = NonZeroUsize::new(1).unwrap();
        let first = bind(&Addresses::default(), one).unwrap();
        let addresses = Addresses { inbound: Some(first.inbound), ..Addresses::default() };
        let error = bind(&addresses, one).unwrap_err().to_string();
        assert!(error.contains(&first.inbound.to_string()), "{error}");
        assert!(
            error.contains("--inbound-addr") && error.contains("another process has this port"),
            "{error}"
        );
    }

    #[test]
    fn where_peers_are_taken_on_every_address_it_is_of_both_versions_of_ip() {
        let addresses = Addresses { inbound: Some("0.0.0.0:0".parse().unwrap()), ..Addresses::default() };
        let listeners = bind(&addresses, NonZeroUsize::new(1).unwrap()).unwrap();
        let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(listeners.workers[0].inbound.len(), if has_ipv6 { 2 } else { 1 });
    }

    #[test]
    fn with_capture_both_versions_of_ip_are_listened_on_at_the_same_port() {
        let addresses = Addresses { plaintext: Some("0.0.0.0:0".parse().unwrap()), ..Addresses::default() };
        let listeners = bind(&addresses, NonZeroUsize::new(2).unwrap()).unwrap();
        let plaintext = listeners.plaintext.unwrap();
        for worker in &listeners.workers {
            for (sockets, port) in
                [(&worker.outbound, listeners.outbound.port()), (&worker.plaintext, plaintext.port())]
            {
                let found: Vec<_> = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
                assert!(found.iter().all(|address| address.port() == port), "{found:?}");
                assert!(found[0].is_ipv4(), "{found:?}");
            }
        }
    }
}
