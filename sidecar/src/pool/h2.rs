//! HTTP/2 connections of one origin. One is opened when it is first needed, however many requests wait for it; another
//! when all are busy. Requests go to the first that is not busy, so that they gather instead of spreading out.

use super::{Origin, SendFailure};
use crate::connect;
use crate::http::body::UpBody;
use crate::http::settings::{self, Hop};
use crate::refusal::{Reason, Refusal};
use crate::telemetry::{ConnectionProtocol, OpenConnection, Side};
use crate::worker::Worker;
use futures_util::FutureExt;
use futures_util::future::Shared;
use http::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use mesh_mtls::Alpn;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::oneshot;

/// Requests in flight on a connection before another is opened: beyond, one slow reader or one lost packet holds up
/// too many others.
const STREAMS_BUSY: usize = 100;

/// Requests in flight on one connection at most; the other side allows 1024.
const STREAMS_MAX: usize = 1000;

/// Connections to one origin, per worker.
const CONNECTIONS_MAX: usize = 4;

/// Requests that wait for an origin's first connection; one more is refused with `queue_full`.
const WAITING_MAX: usize = 1024;

/// What a connection attempt came to, for all who wait for it.
type Opening = Shared<oneshot::Receiver<Result<(), Refusal>>>;

/// The connections of one origin.
#[derive(Debug, Default)]
pub(super) struct Pool {
    open: RefCell<Vec<Rc<Connection>>>,
    opening: RefCell<Option<Opening>>,
    waiting: Cell<usize>,
}

#[derive(Debug)]
struct Connection {
    sender: RefCell<SendRequest<UpBody>>,
    in_flight: Cell<usize>,
}

/// A stream on a shared connection; counted as in flight until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Rc<Connection>,
    origin: Rc<Origin>,
}

/// One that waits for a connection.
struct Waiting<'a>(&'a Cell<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

enum Choice {
    Take(Rc<Connection>),
    Wait,
    Full,
}

impl Pool {
    /// The connection for one more request, and whether another should be opened.
    fn choose(&self) -> (Choice, bool) {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| !connection.sender.borrow().is_closed());
        if let Some(first) = open.iter().find(|c| c.in_flight.get() < STREAMS_BUSY) {
            return (Choice::Take(first.clone()), false);
        }
        let more = open.len() < CONNECTIONS_MAX;
        match open.iter().min_by_key(|c| c.in_flight.get()) {
            Some(least) if least.in_flight.get() < STREAMS_MAX => (Choice::Take(least.clone()), more),
            Some(_) if !more => (Choice::Full, false),
            _ => (Choice::Wait, more),
        }
    }
}

pub(super) async fn lease(worker: &Rc<Worker>, origin: &Rc<Origin>) -> Result<Lease, Refusal> {
    loop {
        let pool = &origin.h2;
        let (choice, more) = pool.choose();
        if more && pool.opening.borrow().is_none() {
            start_opening(worker, origin);
        }
        match choice {
            Choice::Take(connection) => {
                connection.in_flight.set(connection.in_flight.get() + 1);
                return Ok(Lease { connection, origin: origin.clone() });
            }
            Choice::Full => return Err(Reason::QueueFull.into()),
            Choice::Wait => {
                let Some(opening) = pool.opening.borrow().clone() else { continue };
                if pool.waiting.get() >= WAITING_MAX {
                    return Err(Reason::QueueFull.into());
                }
                pool.waiting.set(pool.waiting.get() + 1);
                let _waiting = Waiting(&pool.waiting);
                match opening.await {
                    Ok(result) => result?,
                    Err(_gone) => return Err(Reason::Draining.into()),
                }
            }
        }
    }
}

/// Opens a connection in a task of its own, so that it comes about even if whoever asked first goes away.
fn start_opening(worker: &Rc<Worker>, origin: &Rc<Origin>) {
    let (done, opening) = oneshot::channel();
    *origin.h2.opening.borrow_mut() = Some(opening.shared());
    let (worker_, origin_) = (worker.clone(), origin.clone());
    worker.tasks.spawn_local("upstream-open", async move {
        let opened = open(&worker_, &origin_).await;
        *origin_.h2.opening.borrow_mut() = None;
        // Nobody may be waiting any more.
        done.send(opened).ok();
    });
}

async fn open(worker: &Rc<Worker>, origin: &Rc<Origin>) -> Result<(), Refusal> {
    let link = connect::open(worker, &origin.place, Alpn::H2).await?;
    let hop = if origin.place.is_meshed() { Hop::Mesh } else { Hop::Local };
    let handshake = settings::http2_client(hop).handshake(TokioIo::new(link)).await;
    let (sender, connection) =
        handshake.map_err(|error| Refusal::new(Reason::ConnectFailed).caused_by(error))?;
    let connections = &worker.shared.config.families.connections;
    let open: OpenConnection =
        connections.open(origin.place.direction, Side::Upstream, ConnectionProtocol::Http2);
    worker.tasks.spawn_local("upstream-http2", async move {
        let _open = open;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    let connection = Connection { sender: RefCell::new(sender), in_flight: Cell::new(0) };
    origin.h2.open.borrow_mut().push(Rc::new(connection));
    Ok(())
}

impl Lease {
    pub(super) async fn send(
        &mut self,
        request: Request<UpBody>,
    ) -> Result<Response<Incoming>, Box<SendFailure>> {
        let sent = self.connection.sender.borrow_mut().try_send_request(request);
        sent.await.map_err(|error| SendFailure::of(error, &self.origin.place))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.in_flight.set(self.connection.in_flight.get().saturating_sub(1));
    }
}
