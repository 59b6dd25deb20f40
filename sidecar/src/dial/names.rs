//! Sockets for DNS questions, as hickory asks for them.

use super::Dial;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
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
        Box::pin(async move { dial.udp(local) })
    }
}
