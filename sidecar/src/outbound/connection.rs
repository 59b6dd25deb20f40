//! A connection from the application: what is spoken on it, and HTTP served on it. Opaque connections are `tcp`'s.

use super::destination::BoundPort;
use super::tcp::{self, Session, Tunnel};
use super::{Downstream, Entry};
use crate::connect::Prefixed;
use crate::deadline;
use crate::detect::{Verdict, judge, judge_http};
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
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Bytes read at once while nothing is known.
const FIRST_READ: usize = 2048;

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
    if downstream.entry == Entry::Proxy {
        return http_version(downstream, stream).await;
    }
    let bound = match worker.destinations.of(worker, downstream.entry, None) {
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
            AppProtocol::Detect => either_side(downstream, stream, bound).await,
        },
        Err(refusal) => unknown(downstream, stream, &refusal).await,
    }
}

/// Nothing is known of the service: HTTP is told why, anything else is closed.
async fn unknown(downstream: &Rc<Downstream>, stream: TcpStream, refusal: &Refusal) -> Detected {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let mut stream = stream;
    loop {
        match judge(&first) {
            Verdict::Http1 => return Detected::Http(Wire::Http1, Prefixed::new(first.freeze(), stream)),
            Verdict::Http2 => return Detected::Http(Wire::Http2, Prefixed::new(first.freeze(), stream)),
            Verdict::Opaque => {
                downstream.worker.recorder.refused(Direction::Outbound, refusal.reason);
                tracing::info!(reason = refusal.reason.word(), "connection refused: {}", refusal.sentence);
                return Detected::Gone;
            }
            Verdict::More => {}
        }
        if !read_more(downstream, &mut stream, &mut first).await {
            return Detected::Gone;
        }
    }
}

/// Where only HTTP is spoken: its version.
async fn http_version(downstream: &Rc<Downstream>, mut stream: TcpStream) -> Detected {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    loop {
        let wire = match judge_http(&first) {
            Verdict::Http1 if !first.is_empty() => Wire::Http1,
            Verdict::Http2 => Wire::Http2,
            Verdict::Http1 | Verdict::Opaque | Verdict::More => {
                if read_more(downstream, &mut stream, &mut first).await {
                    continue;
                }
                return Detected::Gone;
            }
        };
        return Detected::Http(wire, Prefixed::new(first.freeze(), stream));
    }
}

/// More of a client's first bytes; `false` when there are none.
async fn read_more(downstream: &Downstream, stream: &mut TcpStream, first: &mut BytesMut) -> bool {
    let draining = &downstream.worker.shared.config.drain;
    let read = tokio::select! {
        read = stream.read_buf(first) => read,
        _ = downstream.activity.overdue() => {
            if !first.is_empty() {
                downstream.worker.recorder.refused(Direction::Outbound, Reason::HeaderTimeout);
            }
            return false;
        }
        () = draining.draining(), if first.is_empty() => return false,
    };
    downstream.activity.received();
    matches!(read, Ok(amount) if amount > 0)
}

/// Where anything may be spoken, nobody is waited for: while the client is silent the tunnel to the server is opened,
/// and if the server speaks first, that decides. A tunnel that turns out not to be needed is dropped.
async fn either_side(downstream: &Rc<Downstream>, mut stream: TcpStream, bound: Rc<BoundPort>) -> Detected {
    let worker = downstream.worker.clone();
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let mut opening = Some(Box::pin(tcp::open(&worker, &bound)));
    let mut tunnel: Option<Result<Tunnel, Refusal>> = None;
    loop {
        let partial = !first.is_empty();
        tokio::select! {
            // The client first: bytes that are there already spare the tunnel.
            biased;
            read = stream.read_buf(&mut first) => match read {
                Ok(0) if first.is_empty() => {
                    // It has nothing to say, but may be there to listen.
                    break;
                }
                Ok(_) => {
                    downstream.activity.received();
                    match judge(&first) {
                        Verdict::Http1 => return Detected::Http(Wire::Http1, Prefixed::new(first.freeze(), stream)),
                        Verdict::Http2 => return Detected::Http(Wire::Http2, Prefixed::new(first.freeze(), stream)),
                        Verdict::Opaque => break,
                        Verdict::More if first.len() >= crate::detect::LOOK_MAX => break,
                        Verdict::More => {}
                    }
                }
                Err(_broken) => return Detected::Gone,
            },
            opened = async { match &mut opening { Some(opening) => opening.await, None => std::future::pending().await } } => {
                opening = None;
                tunnel = Some(opened);
            }
            spoke = async { match &mut tunnel { Some(Ok(tunnel)) => tunnel.spoke().await, _ => std::future::pending().await } } => {
                if !spoke {
                    tracing::debug!("the server ended before anybody spoke");
                }
                break;
            }
            () = tokio::time::sleep(deadline::PARTIAL), if partial => break,
            _ = downstream.activity.overdue() => return Detected::Gone,
        }
    }
    let tunnel = match (tunnel, opening) {
        (Some(tunnel), _) => tunnel,
        (None, Some(opening)) => opening.await,
        (None, None) => Err(Reason::ConnectFailed.into()),
    };
    let session = Session::new(bound.clone(), Prefixed::new(first.freeze(), stream), tunnel);
    Detected::Opaque(Box::new(session))
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
    let drain = &worker.shared.config.drain;
    match wire {
        Wire::Http1 => serve_http1(downstream, stream).await,
        Wire::Http2 => {
            let context = downstream.clone();
            let served =
                http2::serve(stream, Hop::Local, drain, |request| super::request(context.clone(), request));
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
        async move { Ok::<_, Infallible>(super::request(context, request.map(WireBody::Http1)).await) }
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
        () = worker.shared.config.drain.draining() => {
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
