//! HTTP/1.1 connections of one origin, lent one request at a time. The one used last is lent first, so that a quiet
//! service keeps few. An idle one is looked at when it is lent and when the pool is swept; nobody watches it meanwhile.

use super::{Origin, SendFailure};
use crate::connect::{self, Link, Place, Prefixed};
use crate::http::body::{UpBody, WireBody};
use crate::http::interim::Interim;
use crate::refusal::Refusal;
use crate::telemetry::{ConnectionProtocol, Direction, OpenConnection, Side};
use crate::worker::Worker;
use futures_util::FutureExt;
use http::{Request, Response};
use mesh_http1::{Answer, Client, Upgraded};
use mesh_mtls::Alpn;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Idle connections kept per origin; one more is closed. As many requests as ran at once lately find one.
const IDLE_MAX: usize = 256;

/// From a connection's last response to its end. Most servers keep one for 60 to 75 s: we close first, so that fewer
/// requests meet a connection that is closing.
const IDLE: Duration = Duration::from_secs(50);

/// Idle connections.
#[derive(Debug, Default)]
pub(super) struct Pool(RefCell<Vec<Idle>>);

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// An open connection, counted as such.
#[derive(Debug)]
struct Connection {
    client: Client<Link>,
    _open: OpenConnection,
}

/// A connection lent for one request.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Connection,
    direction: Direction,
    reused: bool,
    /// Where it goes afterwards; nowhere if it was made for this request alone.
    origin: Option<Rc<Origin>>,
    /// The task that sends the rest of a body whose answer has begun. An answer that is over, or that nobody waits for any
    /// more, needs no more of it.
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest(AbortHandle);

impl Pool {
    pub(super) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|idle| {
            now.saturating_duration_since(idle.since) < IDLE && idle.connection.client.is_open()
        });
    }

    fn take(&self) -> Option<Connection> {
        self.0.borrow_mut().pop().map(|idle| idle.connection)
    }
}

pub(super) async fn lease(worker: &Rc<Worker>, origin: &Rc<Origin>) -> Result<Lease, Refusal> {
    while let Some(connection) = origin.h1.take() {
        if connection.client.is_open() {
            return Ok(Lease::new(connection, origin, true));
        }
    }
    // Boxed, as is what is rare: every request's future would have room for it.
    let link = Box::pin(connect::open(worker, &origin.place, Alpn::Http1)).await?;
    Ok(Lease::new(Connection::new(worker, &origin.place, link), origin, false))
}

/// A connection for one request.
pub(super) async fn alone(worker: &Rc<Worker>, place: &Place) -> Result<Lease, Refusal> {
    let link = connect::open(worker, place, Alpn::Http1).await?;
    let connection = Connection::new(worker, place, link);
    Ok(Lease { connection, direction: place.direction, reused: false, origin: None, rest: None })
}

/// Keeps a connection for the next request.
pub(super) fn adopt(worker: &Rc<Worker>, origin: &Rc<Origin>, link: Link) {
    Lease::new(Connection::new(worker, &origin.place, link), origin, false).give_back(Instant::now());
}

impl Connection {
    fn new(worker: &Worker, place: &Place, link: Link) -> Self {
        let connections = &worker.shared.config.families.connections;
        let _open = connections.open(place.direction, Side::Upstream, ConnectionProtocol::Http1);
        Self { client: Client::new(link), _open }
    }
}

impl Lease {
    fn new(connection: Connection, origin: &Rc<Origin>, reused: bool) -> Self {
        let direction = origin.place.direction;
        Self { connection, direction, reused, origin: Some(origin.clone()), rest: None }
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) fn send(
        &mut self,
        request: Request<UpBody>,
        interim: &Interim,
    ) -> impl Future<Output = Result<Response<WireBody>, Box<SendFailure>>> {
        let Self { connection, direction, rest, .. } = self;
        let direction = *direction;
        connection.client.send(request, |head| interim.pass(head)).map(move |sent| match sent {
            Ok(Answer { response, rest: more }) => {
                // It ends with its connection, which ends with this lease: a supervised task.
                *rest = more.map(|more| Rest(tokio::task::spawn_local(more).abort_handle()));
                Ok(response.map(WireBody::Http1))
            }
            Err(failure) => Err(SendFailure::of_http1(*failure, direction)),
        })
    }

    pub(super) fn give_back(self, now: Instant) {
        let Self { mut connection, origin: Some(origin), .. } = self else { return };
        if !connection.client.settle() {
            return;
        }
        let mut idle = origin.h1.0.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { connection, since: now });
        }
    }

    pub(super) fn into_stream(self) -> Option<Prefixed<Link>> {
        let Upgraded { io, read } = self.connection.client.into_upgraded()?;
        Some(Prefixed::new(read, io))
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.abort();
    }
}
