//! A connection from the application: what is spoken on it, and HTTP served on it. Opaque connections are `tcp`'s.

use super::Downstream;
use super::destination::Destinations;
use super::leaving;
use super::tcp::{self, Session};
use crate::connect::{Link, Prefixed};
use crate::deadline;
use crate::detect::{FIRST_READ, More, Spoken, Verdict, either, http_only, judge, read_more};
use crate::http::settings::Hop;
use crate::http::{http1, http2};
use crate::pool::Wire;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::{ConnectionProtocol, Direction, Side};
use bytes::BytesMut;
use mesh_names::AppProtocol;
use std::rc::Rc;
use tokio::time::Instant;

/// What a connection turned out to be.
pub(super) enum Detected {
    /// HTTP of this version.
    Http(Wire, Prefixed<Link>),
    /// Anything else.
    Opaque(Box<Session>),
    /// Closed, or silent for too long.
    Gone,
}

/// Finds out what is spoken: the port's protocol decides where one is declared, else the first bytes of either side.
pub(super) async fn detect(downstream: &Rc<Downstream>, stream: Link) -> Detected {
    let worker = &downstream.worker;
    if downstream.entry.is_proxy() {
        return http_version(downstream, stream).await;
    }
    if let Some(dialled) = downstream.entry.address() {
        return Box::pin(leaving::detect(downstream, stream, dialled)).await;
    }
    let bound = match Destinations::of(worker, &downstream.entry, None) {
        Ok(destination) => destination.bind(worker).await,
        Err(refusal) => Err(refusal),
    };
    match bound {
        Ok(bound) => match bound.app_protocol() {
            AppProtocol::Http | AppProtocol::H2c | AppProtocol::Grpc => {
                http_version(downstream, stream).await
            }
            AppProtocol::Tcp => {
                let tunnel = tcp::open(worker, &bound, downstream.client).await;
                Detected::Opaque(Box::new(Session::new(bound, stream.into(), tunnel)))
            }
            AppProtocol::Detect => {
                let learned = &bound.cluster.learned;
                match either(
                    &downstream.activity,
                    stream,
                    learned,
                    tcp::open(worker, &bound, downstream.client),
                )
                .await
                {
                    Spoken::Http(wire, stream) => Detected::Http(wire, stream),
                    Spoken::Opaque(client, tunnel) => {
                        Detected::Opaque(Box::new(Session::new(bound.clone(), client, tunnel)))
                    }
                    Spoken::Nothing => Detected::Gone,
                }
            }
        },
        Err(refusal) => unknown(downstream, stream, &refusal).await,
    }
}

/// There is nowhere to go: HTTP is told why, anything else is closed, and so is a client that waits to be spoken to.
async fn unknown(downstream: &Rc<Downstream>, stream: Link, refusal: &Refusal) -> Detected {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let mut stream = stream;
    let until = Instant::now() + deadline::REFUSED;
    loop {
        match judge(&first) {
            Verdict::Http1 => return Detected::Http(Wire::Http1, Prefixed::new(first.freeze(), stream)),
            Verdict::Http2 => return Detected::Http(Wire::Http2, Prefixed::new(first.freeze(), stream)),
            Verdict::Opaque => return refused(downstream, refusal),
            Verdict::More => {}
        }
        let closing = downstream.worker.shared.config.closing(Direction::Outbound);
        let more = read_more(&downstream.activity, closing, &mut stream, &mut first);
        match tokio::time::timeout_at(until, more).await {
            Ok(More::Read) => {}
            Ok(none @ (More::Gone | More::Late { .. })) => return gone(downstream, none),
            Err(_elapsed) => return refused(downstream, refusal),
        }
    }
}

/// Counts and says why a connection is closed that can't be told.
fn refused(downstream: &Downstream, refusal: &Refusal) -> Detected {
    let worker = &downstream.worker;
    worker.recorder.refused(Direction::Outbound, refusal.reason);
    worker.complaints.say(refusal.reason, || {
        tracing::info!(reason = refusal.reason.word(), "connection refused: {}", refusal.sentence);
    });
    Detected::Gone
}

/// Where only HTTP is spoken: its version.
async fn http_version(downstream: &Rc<Downstream>, stream: Link) -> Detected {
    let closing = downstream.worker.shared.config.closing(Direction::Outbound);
    match http_only(&downstream.activity, closing, stream).await {
        Ok((wire, stream)) => Detected::Http(wire, stream),
        Err(none) => gone(downstream, none),
    }
}

/// Nothing more comes; a client that began and was too slow is counted.
fn gone(downstream: &Downstream, none: More) -> Detected {
    if none == (More::Late { begun: true }) {
        downstream.worker.recorder.refused(Direction::Outbound, Reason::HeaderTimeout);
    }
    Detected::Gone
}

/// Serves HTTP until the connection ends: by the client, by being idle for too long, or by the drain once the requests
/// in flight are answered, and with HTTP/1, when another process has taken over, once it is quiet.
pub(super) async fn serve(downstream: &Rc<Downstream>, wire: Wire, stream: Prefixed<Link>) {
    let worker = &downstream.worker;
    let config = &worker.shared.config;
    let context = downstream.clone();
    let answer = |request, interim| super::request(context.clone(), request, interim);
    match wire {
        Wire::Http1 => {
            http1::serve(worker, Direction::Outbound, &downstream.activity, stream, answer).await;
        }
        Wire::Http2 => {
            let connections = &config.families.connections;
            let _open = connections.open(Direction::Outbound, Side::Downstream, ConnectionProtocol::Http2);
            let draining = config.outbound_drain.draining();
            if let Err(error) = Box::pin(http2::serve(stream, Hop::Local, draining, answer)).await {
                tracing::debug!(%error, "downstream connection ended");
            }
        }
    }
}
