//! One connection: takes calls off it, has each answered by a task of its own, and notices when the client's machine is
//! gone. It ends when the client closes it, when it is lost, or after the last call once the drain has begun.

use super::{Services, streaming, unary};
use crate::peer::PeerIdentity;
use http::{Method, Request};
use mesh_http2::{Config, Pulse, RecvStream, Responder};
use mesh_process::{DrainSignal, Tasks};
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// From the end of the handshake to the first words of HTTP/2.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// A sidecar from which nothing is heard is asked after this time …
const PING_EVERY: Duration = Duration::from_secs(10);
/// … and taken to be gone when it does not answer in this. Together they bound how long a machine that vanished keeps its
/// endpoint; the registry's own grace time comes on top.
const PING_ANSWER: Duration = Duration::from_secs(5);

/// The call that is a stream.
const DISCOVERY: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Largest request of discovery that is read: a client that resumes names what it holds, about 100 bytes a resource.
const DISCOVERY_BYTES_MAX: usize = 16 << 20;

/// A sidecar needs its stream and now and then a certificate. Requests are small but for the first of a stream that
/// resumes; what is sent is bounded by one response beyond this.
const CONFIG: Config = Config {
    streams_max: 16,
    first_streams: 0,
    stream_window: 1 << 16,
    connection_window: 1 << 18,
    send_buffer: 1 << 16,
    head_bytes: 16 << 10,
    keeps_buffers: false,
};

/// How a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the client said nothing on it")]
    Silent,
    #[error("the client gave no sign of life")]
    Lost,
    #[error(transparent)]
    Http2(#[from] mesh_http2::Error),
}

/// Serves a connection of `peer` until it has ended. Calls are tasks of `tasks` on this thread.
///
/// # Errors
/// How it ended, if it was not closed as it should be.
pub(crate) async fn serve<IO: AsyncRead + AsyncWrite + Unpin>(
    io: IO,
    peer: PeerIdentity,
    services: Services,
    tasks: &Tasks,
    drain: DrainSignal,
) -> Result<(), Ended> {
    let mut connection = mesh_http2::serve(io, CONFIG);
    let begun = tokio::time::timeout(BEGIN_WITHIN, poll_fn(|cx| connection.poll_begun(cx)));
    begun.await.map_err(|_elapsed| Ended::Silent)??;
    let mut alive = Alive::new(connection.pulse());
    let mut draining = pin!(drain.draining());
    let mut is_draining = false;
    loop {
        let accepted = tokio::select! {
            accepted = poll_fn(|cx| connection.poll_accept(cx)) => accepted,
            () = &mut draining, if !is_draining => {
                is_draining = true;
                connection.shut_down();
                continue;
            }
            () = alive.lost() => return Err(Ended::Lost),
        };
        match accepted {
            None => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok((request, responder))) => answer(request, responder, &peer, &services, tasks),
        }
    }
}

fn answer(
    request: Request<RecvStream>,
    responder: Responder,
    peer: &PeerIdentity,
    services: &Services,
    tasks: &Tasks,
) {
    let peer = peer.clone();
    if request.method() == Method::POST && request.uri().path() == DISCOVERY {
        let requests = streaming::Messages::new(request.into_body(), DISCOVERY_BYTES_MAX);
        match services.discovery.admit(&peer) {
            Err(status) => streaming::refuse(responder, &status),
            Ok(admitted) => {
                let Some(answers) = streaming::Answers::begin(responder) else { return };
                tasks.spawn_local("discovery stream", admitted.run(requests, answers));
            }
        }
    } else {
        let routes = services.unary.clone();
        tasks.spawn_local("call", unary::answer(routes, request, peer, responder));
    }
}

/// Watches whether the client is alive.
struct Alive {
    pulse: Pulse,
    look_at: Instant,
    is_asked: bool,
}

impl Alive {
    fn new(pulse: Pulse) -> Self {
        Self { pulse, look_at: Instant::now() + PING_EVERY, is_asked: false }
    }

    /// Returns once the client is gone.
    ///
    /// # Cancel safety
    /// Safe: what was seen is kept.
    async fn lost(&mut self) {
        loop {
            tokio::time::sleep_until(self.look_at).await;
            let was_heard = self.pulse.was_heard();
            if !was_heard && self.is_asked {
                return;
            }
            self.is_asked = !was_heard;
            if self.is_asked {
                self.pulse.ask();
            }
            self.look_at = Instant::now() + if self.is_asked { PING_ANSWER } else { PING_EVERY };
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
