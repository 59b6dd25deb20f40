//! Binding: one socket per worker and address, sharing the port by SO_REUSEPORT, all before anything is served.

use mesh_names::{Port, ServiceName};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;

/// Connections the kernel holds for us until they are accepted; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// What sockets are known by.
const OUTBOUND: &str = "--outbound-addr";
const INBOUND: &str = "--inbound-addr";
const PLAINTEXT: &str = "--plaintext-addr";

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

/// Which connections a listener is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Taking {
    /// Those to its own address.
    #[default]
    Own,
    /// Those to any address that rules hand over to it, as TPROXY does (`IP_TRANSPARENT`).
    Any,
}

impl Taking {
    /// Makes `socket`, which is for addresses of this one's version of IP, take what this says.
    ///
    /// # Errors
    /// To take what is for any address needs CAP_NET_ADMIN.
    pub(crate) fn apply(self, socket: &Socket, address: SocketAddr) -> io::Result<()> {
        let is_any = self == Self::Any;
        if address.is_ipv6() {
            socket.set_ip_transparent_v6(is_any)
        } else {
            socket.set_ip_transparent_v4(is_any)
        }
    }
}

/// Where to listen.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// The outbound port, as `--outbound-addr`.
    pub outbound: Option<SocketAddr>,
    /// The inbound mutual-TLS port, as `--inbound-addr`.
    pub inbound: Option<SocketAddr>,
    /// Whether the kernel redirects connections to the outbound port.
    pub capture: Capture,
    /// Captured plaintext, as `--plaintext-addr`; none: it is not captured.
    pub plaintext: Option<SocketAddr>,
    /// How the kernel brings it there.
    pub taking: Taking,
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
    /// Where captured plaintext is taken, likewise; none: it is not captured.
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
    /// Whether the kernel redirects connections to the outbound port.
    pub(crate) capture: Capture,
    /// By their places in [`Listeners::upstreams`].
    pub(crate) upstreams: BTreeMap<usize, Vec<TcpListener>>,
}

/// Which of a worker's sockets.
type Place<'a> = &'a dyn Fn(&mut WorkerListeners) -> &mut Vec<TcpListener>;

/// Sockets of the process before, by flag and address: taken as they are instead of new ones.
pub(crate) type Inherit<'a> = &'a mut dyn FnMut(&str, SocketAddr) -> Vec<TcpListener>;

impl Listeners {
    /// Every socket with the flag it belongs to.
    pub(crate) fn by_flag(&self) -> impl Iterator<Item = (String, &TcpListener)> {
        self.workers.iter().flat_map(move |worker| {
            let upstreams = worker.upstreams.iter().flat_map(|(place, sockets)| {
                let flag = self.upstreams.get(*place).map(upstream_flag).unwrap_or_default();
                sockets.iter().map(move |socket| (flag.clone(), socket))
            });
            let others =
                [(OUTBOUND, &worker.outbound), (INBOUND, &worker.inbound), (PLAINTEXT, &worker.plaintext)];
            let others = others
                .into_iter()
                .flat_map(|(flag, sockets)| sockets.iter().map(move |socket| (flag.to_owned(), socket)));
            others.chain(upstreams)
        })
    }
}

fn upstream_flag(upstream: &Upstream) -> String {
    format!("--upstream {}:{}", upstream.service, upstream.port)
}

/// Binds everything for `workers` workers. The first worker's port, where 0 was asked for, is the others' too. What is
/// not given is bound to a loopback port that the system chooses.
///
/// # Errors
/// [`BindError`] with the first address that can't be had; nothing stays bound.
pub fn bind(addresses: &Addresses, workers: NonZeroUsize) -> Result<Listeners, BindError> {
    bind_or_inherit(addresses, workers, &mut |_, _| Vec::new())
}

/// As [`bind`], with the sockets of the process before where there are any: all of them, since a connection may wait in
/// each. More than workers are dealt out, missing ones join them.
///
/// # Errors
/// As [`bind`].
pub(crate) fn bind_or_inherit(
    addresses: &Addresses,
    workers: NonZeroUsize,
    inherit: Inherit<'_>,
) -> Result<Listeners, BindError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let of_worker = |_| WorkerListeners { capture: addresses.capture, ..WorkerListeners::default() };
    let mut all: Vec<WorkerListeners> = (0..workers.get()).map(of_worker).collect();
    let mut each = |address, flag: (&'static str, &str), versions, place: Place<'_>| {
        let found = inherit(flag.1, address);
        let taking = if flag.0 == PLAINTEXT { addresses.taking } else { Taking::Own };
        let (address, listeners) = bind_each(address, flag.0, Kind { versions, taking }, workers, found)?;
        let mut listeners = listeners.into_iter();
        while listeners.len() > 0 {
            for (worker, listener) in all.iter_mut().zip(listeners.by_ref().take(workers.get())) {
                place(worker).push(listener);
            }
        }
        Ok(address)
    };
    let asked = Versions::AsAsked;
    let outbound =
        each(addresses.outbound.unwrap_or(any), (OUTBOUND, OUTBOUND), asked, &|w| &mut w.outbound)?;
    let inbound = each(addresses.inbound.unwrap_or(any), (INBOUND, INBOUND), asked, &|w| &mut w.inbound)?;
    // Peers come by whichever address this workload is announced with.
    let mut twins: Vec<(_, _, Place<'_>)> = Vec::new();
    if inbound.ip().is_unspecified() {
        twins.push((twin(inbound), INBOUND, &|w| &mut w.inbound));
    }
    let mut plaintext = None;
    if let Some(address) = addresses.plaintext {
        let bound = each(address, (PLAINTEXT, PLAINTEXT), asked, &|w| &mut w.plaintext)?;
        plaintext = Some(bound);
        twins.push((twin(bound), PLAINTEXT, &|w| &mut w.plaintext));
    }
    if addresses.capture == Capture::On {
        twins.push((twin(outbound), OUTBOUND, &|w| &mut w.outbound));
    }
    for (twin, flag, place) in twins {
        match twin.map(|twin| each(twin, (flag, flag), Versions::Ipv6Only, place)) {
            None | Some(Ok(_)) => {}
            Some(Err(error)) if lacks_ipv6(&error.source) => {
                tracing::info!(flag, "this machine has no IPv6: only IPv4 is listened on");
            }
            Some(Err(error)) => return Err(error),
        }
    }
    let mut upstreams = Vec::with_capacity(addresses.upstreams.len());
    for (place, upstream) in addresses.upstreams.iter().enumerate() {
        let flag = upstream_flag(upstream);
        let address =
            each(upstream.address, ("--upstream", &flag), asked, &|w| w.upstreams.entry(place).or_default())?;
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
    kind: Kind,
    workers: NonZeroUsize,
    mut listeners: Vec<TcpListener>,
) -> Result<(SocketAddr, Vec<TcpListener>), BindError> {
    let failed = |source| BindError { address, flag, source };
    if kind.taking == Taking::Any {
        // It is not taken back where it is not asked for: the process before may yet go on with these sockets.
        for inherited in &listeners {
            kind.taking.apply(&SockRef::from(inherited), address).map_err(failed)?;
        }
    }
    let bound = match listeners.first() {
        Some(inherited) => inherited.local_addr().map_err(failed)?,
        None => {
            // With SO_REUSEPORT two processes of one user share a port without noticing. A first socket without it
            // notices.
            drop(listening(address, Sharing::No, kind).map_err(failed)?);
            let first = listening(address, Sharing::Yes, kind).map_err(failed)?;
            let bound = first.local_addr().map_err(failed)?;
            listeners.push(first);
            bound
        }
    };
    while listeners.len() < workers.get() {
        listeners.push(listening(bound, Sharing::Yes, kind).map_err(failed)?);
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

/// What a socket takes.
#[derive(Clone, Copy)]
struct Kind {
    versions: Versions,
    taking: Taking,
}

fn listening(address: SocketAddr, sharing: Sharing, kind: Kind) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last minute's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if kind.versions == Versions::Ipv6Only {
        socket.set_only_v6(true)?;
    }
    if kind.taking == Taking::Any {
        kind.taking.apply(&socket, address)?;
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
            assert_eq!(worker.upstreams[&0][0].local_addr().unwrap(), listeners.upstreams[0].address);
        }
    }

    #[test]
    fn no_socket_of_the_process_before_is_left_out_whatever_the_number_of_workers() {
        let addresses = Addresses::default();
        let count = |number| NonZeroUsize::new(number).unwrap();
        let before = bind(&addresses, count(3)).unwrap();
        let kept: Vec<_> =
            before.by_flag().map(|(flag, socket)| (flag, socket.try_clone().unwrap())).collect();
        assert_eq!(kept.len(), 6);
        for workers in [1, 2, 5] {
            let mut inherit = |flag: &str, _| {
                let of_flag = kept.iter().filter(|(kept, _)| kept == flag);
                of_flag.map(|(_, socket)| socket.try_clone().unwrap()).collect()
            };
            let after = bind_or_inherit(&addresses, count(workers), &mut inherit).unwrap();
            assert_eq!((after.outbound, after.inbound), (before.outbound, before.inbound));
            assert_eq!(after.by_flag().count(), 2 * workers.max(3));
            for worker in &after.workers {
                assert!(!worker.outbound.is_empty() && !worker.inbound.is_empty());
            }
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
        let plaintext = Some("0.0.0.0:0".parse().unwrap());
        let addresses = Addresses { plaintext, capture: Capture::On, ..Addresses::default() };
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
