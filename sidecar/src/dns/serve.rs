//! The sockets of the server, and their bounds. Enters: datagrams and connections from programs on this machine. Leaves:
//! answers to whoever asked. Never here: what the answers are.

use super::conversation::converse;
use super::forward::Forwarder;
use super::meaning::Place;
use super::names::MeshNames;
use super::reply::Transport;
use super::respond::Responder;
use super::upstreams::{Source, Upstreams};
use crate::dial::Dial;
use crate::telemetry::{DnsBound, DnsMetrics};
use futures_util::future::{join, join_all};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Questions being answered at once, over UDP and TCP. One more is answered SERVFAIL at once: a resolver that hears
/// nothing asks again and makes it worse.
pub(super) const QUESTIONS_MAX: usize = 512;
/// TCP connections at once. One more waits to be accepted until another ends, idle ones after ten seconds.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Longest question. A name has at most 255 bytes; the rest is room for EDNS options.
pub(super) const QUESTION_BYTES: usize = 4096;
/// Pause after a failure of the machine, so that a loop does not spin.
const RECOVERY: Duration = Duration::from_millis(50);
/// How often another port is tried when the system's choice for TCP is taken for UDP.
const PORT_TRIES: usize = 16;

/// Both sockets of one address, bound before anything is served.
#[derive(Debug)]
pub(crate) struct Sockets {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    address: SocketAddr,
}

impl Sockets {
    /// Binds UDP and TCP to the same port; with port 0 to one the system chooses.
    ///
    /// # Errors
    /// When either can't be had.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            let tcp = std::net::TcpListener::bind(address)?;
            let chosen = tcp.local_addr()?;
            match std::net::UdpSocket::bind(chosen) {
                Ok(udp) => {
                    udp.set_nonblocking(true)?;
                    tcp.set_nonblocking(true)?;
                    return Ok(Self { udp, tcp, address: chosen });
                }
                Err(error) if error.kind() != io::ErrorKind::AddrInUse || tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Goes on with the sockets of the process before.
    ///
    /// # Errors
    /// They are no sockets any more.
    pub(crate) fn inherited(udp: std::net::UdpSocket, tcp: std::net::TcpListener) -> io::Result<Self> {
        let address = tcp.local_addr()?;
        Ok(Self { udp, tcp, address })
    }

    /// The sockets themselves, to be handed to the next process.
    pub(crate) fn parts(&self) -> (&std::net::UdpSocket, &std::net::TcpListener) {
        (&self.udp, &self.tcp)
    }

    /// Where they are bound, with the number the system chose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The DNS server.
#[derive(Debug)]
pub(crate) struct Server<N> {
    sockets: Vec<(Arc<UdpSocket>, TcpListener)>,
    service: Service<N>,
}

/// What everybody who serves needs.
#[derive(Debug)]
struct Service<N> {
    responder: Arc<Responder<N>>,
    questions: Arc<Semaphore>,
    metrics: DnsMetrics,
}

impl<N> Clone for Service<N> {
    fn clone(&self) -> Self {
        Self {
            responder: self.responder.clone(),
            questions: self.questions.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

impl<N: MeshNames> Server<N> {
    /// A server on these sockets. To be called on the runtime that will run it.
    ///
    /// # Errors
    /// When the runtime does not take a socket.
    pub(crate) fn new(
        sockets: Vec<Sockets>,
        names: N,
        place: Place,
        source: Source,
        dial: Dial,
        metrics: DnsMetrics,
    ) -> io::Result<Self> {
        let own = sockets.iter().map(Sockets::address).collect();
        let forwarder = Arc::new(Forwarder::new(Upstreams::new(source, own), dial, metrics.clone()));
        let taken = sockets.into_iter().map(|Sockets { udp, tcp, .. }| {
            Ok((Arc::new(UdpSocket::from_std(udp)?), TcpListener::from_std(tcp)?))
        });
        Ok(Self {
            sockets: taken.collect::<io::Result<_>>()?,
            service: Service {
                responder: Arc::new(Responder { names, place, forwarder, metrics: metrics.clone() }),
                questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
                metrics,
            },
        })
    }

    /// Serves until told to stop, which is to be the last thing: an application that drains still looks names up. From then
    /// on no question is taken any more, so that whoever else has these sockets gets it; what was asked before is
    /// answered, within the deadline of any question.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self { sockets, service } = self;
        let serving = sockets.into_iter().map(|(udp, tcp)| {
            join(serve_datagrams(udp, service.clone(), &stop), serve_connections(tcp, service.clone(), &stop))
        });
        join_all(serving).await;
        service.responder.forwarder.stop();
    }
}

async fn serve_datagrams<N: MeshNames>(
    socket: Arc<UdpSocket>,
    service: Service<N>,
    stop: &CancellationToken,
) {
    let mut answering = JoinSet::new();
    // One byte more, so that a question that was cut is told from one that just fits.
    let mut buffer = vec![0; QUESTION_BYTES + 1];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, peer)) => {
                    let Some(bytes) = buffer.get(..length.min(QUESTION_BYTES)) else { continue };
                    let Ok(place) = service.questions.clone().try_acquire_owned() else {
                        service.metrics.limited(DnsBound::Questions);
                        if let Some(answer) = service.responder.overloaded(bytes, Transport::Udp) {
                            // Without room in the socket's buffer it is lost, as any datagram may be.
                            drop(socket.try_send_to(&answer, peer));
                        }
                        continue;
                    };
                    let (socket, responder, bytes) = (socket.clone(), service.responder.clone(), bytes.to_vec());
                    answering.spawn(async move {
                        if let Some(answer) = responder.answer(&bytes, Transport::Udp).await
                            && let Err(error) = socket.send_to(&answer, peer).await
                        {
                            tracing::debug!(%peer, %error, "a DNS answer cannot be sent");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot receive DNS questions for now");
                    tokio::time::sleep(RECOVERY).await;
                }
            },
            Some(ended) = answering.join_next(), if !answering.is_empty() => note(ended),
            () = stop.cancelled() => break,
        }
    }
    while let Some(ended) = answering.join_next().await {
        note(ended);
    }
}

async fn serve_connections<N: MeshNames>(
    listener: TcpListener,
    service: Service<N>,
    stop: &CancellationToken,
) {
    let mut conversations = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if conversations.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    // An answer is one write.
                    stream.set_nodelay(true).ok();
                    let Service { responder, questions, metrics } = service.clone();
                    let stop = stop.clone();
                    conversations.spawn(async move {
                        converse(stream, &responder, &questions, &metrics, &stop).await;
                    });
                    if conversations.len() == CONNECTIONS_MAX {
                        service.metrics.limited(DnsBound::Connections);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a DNS connection for now");
                    tokio::time::sleep(RECOVERY).await;
                }
            },
            Some(ended) = conversations.join_next(), if !conversations.is_empty() => note(ended),
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    while let Some(ended) = conversations.join_next().await {
        note(ended);
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "the answer to a DNS question panicked");
    }
}
