//! A connection from the application: what is spoken on it, and HTTP served on it. Opaque connections are `tcp`'s.

use super::Downstream;
use super::destination::Destinations;
use super::leaving;
use super::tcp::{self, Session};
use crate::connect::Prefixed;
use crate::deadline;
use crate::detect::{FIRST_READ, More, Spoken, Verdict, either, http_only, judge, read_more};
use crate::http::body::WireBody;
use crate::http::explain::Explained;
use crate::http::http2;
use crate::http::settings::{self, Hop};
use crate::listen::activity::Watched;
use crate::pool::Wire;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::{ConnectionProtocol, Direction, Side};
use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_names::AppProtocol;
use std::convert::Infallible;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What a connection turned out to be.
pub(super) enum Detected {
    /// HTTP of this version.
    Http(Wire, Prefixed<TcpStream>),
    /// Anything else.
    Opaque(Box<Session>),
    /// Closed, or silent for too long.
    Gone,
}

/// Finds out what is spoken: the port's protocol decides where one is declared, else the first bytes of either side.
pub(super) async fn detect(downstream: &Rc<Downstream>, stream: TcpStream) -> Detected {
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
                let tunnel = tcp::open(worker, &bound).await;
                Detected::Opaque(Box::new(Session::new(
                    bound,
                    Prefixed::new(Default::default(), stream),
                    tunnel,
                )))
            }
            AppProtocol::Detect => {
                let learned = &bound.cluster.learned;
                match either(&downstream.activity, stream, learned, tcp::open(worker, &bound)).await {
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
async fn unknown(downstream: &Rc<Downstream>, stream: TcpStream, refusal: &Refusal) -> Detected {
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
        let drain = &downstream.worker.shared.config.outbound_drain;
        let more = read_more(&downstream.activity, drain, &mut stream, &mut first);
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
async fn http_version(downstream: &Rc<Downstream>, stream: TcpStream) -> Detected {
    let drain = &downstream.worker.shared.config.outbound_drain;
    match http_only(&downstream.activity, drain, stream).await {
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
/// in flight are answered.
pub(super) async fn serve(downstream: &Rc<Downstream>, wire: Wire, stream: Prefixed<TcpStream>) {
    let worker = &downstream.worker;
    let connections = &worker.shared.config.families.connections;
    let protocol = match wire {
        Wire::Http1 => ConnectionProtocol::Http1,
        Wire::Http2 => ConnectionProtocol::Http2,
    };
    let _open = connections.open(Direction::Outbound, Side::Downstream, protocol);
    let drain = &worker.shared.config.outbound_drain;
    match wire {
        Wire::Http1 => serve_http1(downstream, stream).await,
        Wire::Http2 => {
            let context = downstream.clone();
            let handed_over = &worker.shared.config.handed_over;
            let draining = async {
                tokio::select! {
                    () = drain.draining() => {}
                    () = handed_over.draining() => {}
                }
            };
            let answer = |request| super::request(context.clone(), request);
            let served = http2::serve(stream, Hop::Local, draining, answer);
            if let Err(error) = served.await {
                tracing::debug!(%error, "downstream connection ended");
            }
        }
    }
}

async fn serve_http1(downstream: &Rc<Downstream>, stream: Prefixed<TcpStream>) {
    let worker = &downstream.worker;
    let context = downstream.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let context = context.clone();
        async move {
            let mut response = super::request(context.clone(), request.map(WireBody::Http1)).await;
            context.worker.shared.config.say_last(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let io = Explained::new(Watched::new(stream, &downstream.activity), downstream.activity.owed());
    let connection = settings::http1_server().serve_connection(TokioIo::new(io), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        in_head = downstream.activity.overdue() => {
            if in_head {
                worker.recorder.refused(Direction::Outbound, Reason::HeaderTimeout);
            }
            return;
        }
        () = worker.shared.config.outbound_drain.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "downstream connection ended");
    }
    if let Some(reason) = downstream.activity.owed().refused() {
        worker.recorder.refused(Direction::Outbound, reason);
    }
}
