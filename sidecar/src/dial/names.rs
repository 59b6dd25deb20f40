//! Sockets for DNS questions, as hickory asks for them.
//!
//! A datagram leaves from no port that an application might be given: the kernel remembers for up to two minutes that what
//! goes from there to that server is not to be captured, and the application's own question from the same port would
//! leave past us, and find no name of the mesh.

use super::Dial;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};

/// From SYN to open, where hickory gives no time of its own: what its own provider takes.
const CONNECT: Duration = Duration::from_secs(5);

/// hickory's runtime with our sockets. Owns the tasks that drive connections, and ends them when dropped.
#[derive(Clone, Default)]
pub(crate) struct Marked {
    dial: Dial,
    tokio: TokioRuntimeProvider,
}

impl Marked {
    pub(crate) fn new(dial: Dial) -> Self {
        Self { dial, tokio: TokioRuntimeProvider::new() }
    }
}

type Opening<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

impl RuntimeProvider for Marked {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        wait: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        let dial = self.dial;
        Box::pin(async move {
            let opening = dial.tcp_from(local, server);
            let stream = tokio::time::timeout(wait.unwrap_or(CONNECT), opening).await??;
            stream.set_nodelay(true)?;
            Ok(AsyncIoTokioAsStd(stream))
        })
    }

    fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> Opening<Self::Udp> {
        let dial = self.dial;
        Box::pin(async move { dial.udp(SocketAddr::new(local.ip(), away(local.port(), &EPHEMERAL))) })
    }
}

/// The first port that needs no privilege.
const FIRST: u16 = 1024;

/// The ports this machine gives to whoever asks for none (ip(7)).
static EPHEMERAL: LazyLock<RangeInclusive<u16>> = LazyLock::new(|| {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_whitespace().map(str::parse);
    match (ends.next(), ends.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => 32_768..=60_999,
    }
});

/// A port outside of a range for one that hickory has drawn; itself if it is, or if there is hardly any other.
fn away(port: u16, range: &RangeInclusive<u16>) -> u16 {
    /// So many are hard enough to guess for who would forge an answer (RFC 5452 §9.2).
    const ENOUGH: u16 = 8_192;
    let below = range.start().saturating_sub(FIRST);
    let outside = below.saturating_add(u16::MAX - range.end());
    if port == 0 || outside < ENOUGH || (port >= FIRST && !range.contains(&port)) {
        return port;
    }
    match port % outside {
        index if index < below => FIRST + index,
        index => u16::MAX - (index - below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_port_is_outside_of_the_range_if_enough_are(port: u16, ends: (u16, u16)) {
            let range = ends.0.min(ends.1)..=ends.0.max(ends.1);
            let outside = u32::from(range.start().saturating_sub(FIRST)) + u32::from(u16::MAX - range.end());
            let got = away(port, &range);
            if port == 0 || outside < 8_192 {
                prop_assert_eq!(got, port);
            } else {
                prop_assert!(got >= FIRST && !range.contains(&got), "{}", got);
            }
        }
    }

    #[test]
    fn every_port_outside_of_the_range_is_used() {
        let range = 32_768..=60_999;
        let used: std::collections::HashSet<u16> =
            (FIRST..=u16::MAX).map(|port| away(port, &range)).collect();
        assert_eq!(used.len(), usize::from(32_768 - FIRST + (u16::MAX - 60_999)));
    }
}
