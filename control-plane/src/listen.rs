//! TLS listeners. What enters: a bound socket; what leaves: connections whose handshake is done, in the order they
//! finish, so that a slow or hostile client delays nobody else. Never done here: what is spoken inside.
//!
//! One task accepts (of discovery, one for each thread that serves it); each handshake is a task of its own, at most [`HANDSHAKES_MAX`] at a time and none longer than
//! [`HANDSHAKE_TIMEOUT`]. At the limit no further connection is accepted: they wait in the kernel's backlog.

use mesh_mtls::{ApiAcceptor, ApiClient, ApiStream};
use mesh_process::{DrainSignal, Tasks};
use prometheus::{IntCounterVec, Opts, Registry};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Handshakes at one time: a thousand sidecars that come back at once are served in a few rounds, and a flood holds no
/// more than this many sockets.
pub const HANDSHAKES_MAX: usize = 256;
/// From the accepted connection to the end of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Finished connections that wait to be taken.
const READY_MAX: usize = 64;
/// After an error of `accept` that is not one connection's, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Counts handshakes of the control plane's listeners.
#[derive(Debug, Clone)]
pub struct HandshakeMetrics {
    total: IntCounterVec,
}

impl HandshakeMetrics {
    /// Registers `outrigger_control_handshakes_total`.
    ///
    /// # Errors
    /// When it is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "outrigger_control_handshakes_total",
            "TLS handshakes of a listener, by their result: ok, or why they failed.",
        );
        let total = IntCounterVec::new(opts, &["listener", "result"])?;
        registry.register(Box::new(total.clone()))?;
        Ok(Self { total })
    }

    fn count(&self, listener: &'static str, result: &str) {
        self.total.with_label_values(&[listener, result]).inc();
    }
}

/// Connections whose handshake is done. Ends when the listener drains.
#[derive(Debug)]
pub struct Incoming {
    ready: mpsc::Receiver<Connection>,
}

/// A TLS connection with a client.
#[derive(Debug)]
pub struct Connection {
    stream: ApiStream<TcpStream>,
    remote: SocketAddr,
}

/// Starts to accept on `listener`. `name` is the listener's in metrics and logs. Accepting ends when `drain` begins or
/// the returned value is dropped; handshakes under way are given up then.
pub fn incoming(
    name: &'static str,
    listener: TcpListener,
    acceptor: ApiAcceptor,
    metrics: HandshakeMetrics,
    tasks: &Tasks,
    drain: DrainSignal,
) -> Incoming {
    let (connections, ready) = mpsc::channel(READY_MAX);
    let door = Door { name, acceptor, metrics, connections, tasks: tasks.clone(), drain };
    tasks.spawn("accept TLS", door.run(listener));
    Incoming { ready }
}

#[derive(Clone)]
struct Door {
    name: &'static str,
    acceptor: ApiAcceptor,
    metrics: HandshakeMetrics,
    connections: mpsc::Sender<Connection>,
    tasks: Tasks,
    drain: DrainSignal,
}

impl Door {
    async fn run(self, listener: TcpListener) {
        tokio::select! {
            () = self.drain.draining() => {}
            () = self.connections.closed() => {}
            () = self.accept_all(&listener) => {}
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        // The semaphore is never closed, so the loop has no end of its own.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            match listener.accept().await {
                Ok((socket, remote)) => {
                    self.tasks.spawn("TLS handshake", self.clone().welcome(socket, remote, slot));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn welcome(self, socket: TcpStream, remote: SocketAddr, slot: OwnedSemaphorePermit) {
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.handshake(socket));
        let outcome = tokio::select! {
            () = self.drain.draining() => return,
            () = self.connections.closed() => return,
            outcome = handshake => outcome,
        };
        let stream = match outcome {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let failure = error.failure();
                self.metrics.count(self.name, failure.label());
                tracing::debug!(listener = self.name, %remote, %failure, "handshake failed");
                return;
            }
            Err(_elapsed) => {
                self.metrics.count(self.name, "timeout");
                tracing::debug!(listener = self.name, %remote, "handshake timed out");
                return;
            }
        };
        self.metrics.count(self.name, "ok");
        // The slot is held until the connection is taken. Ended by whoever takes connections, or by the drain.
        tokio::select! {
            () = self.drain.draining() => {}
            // Nobody takes connections any more: this one is closed.
            sent = self.connections.send(Connection { stream, remote }) => drop(sent),
        }
        drop(slot);
    }

    async fn handshake(&self, socket: TcpStream) -> Result<ApiStream<TcpStream>, mesh_mtls::HandshakeError> {
        socket.set_nodelay(true)?;
        self.acceptor.accept(socket).await
    }
}

/// The client gave up before it was accepted; the next is not concerned.
fn is_of_one_connection(error: &io::Error) -> bool {
    [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused]
        .contains(&error.kind())
}

impl Incoming {
    /// The next connection; `None` when the listener has drained.
    ///
    /// # Cancel safety
    /// Cancel safe: no connection is lost.
    pub async fn next(&mut self) -> Option<Connection> {
        self.ready.recv().await
    }
}

impl Connection {
    /// Who the client proved to be.
    pub fn client(&self) -> &ApiClient {
        self.stream.client()
    }

    /// What is spoken inside.
    pub fn alpn(&self) -> mesh_mtls::Alpn {
        self.stream.alpn()
    }

    /// The client's address.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
