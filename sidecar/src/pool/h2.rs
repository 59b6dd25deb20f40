//! HTTP/2 connections of one origin. One is opened when it is first needed, however many requests wait for it; another
//! when all are busy. Requests go to the first that is not busy, so that they gather instead of spreading out.

use super::{Origin, SendFailure};
use crate::connect::{self, Link, Prefixed};
use crate::http::beside::Beside;
use crate::http::body::{UpBody, WireBody};
use crate::http::http2::{Alive, Sent, Silence, send_at_once, send_rest};
use crate::http::interim::Interim;
use crate::http::settings::{self, Hop};
use crate::refusal::{Reason, Refusal};
use crate::telemetry::{ConnectionProtocol, OpenConnection, Side};
use crate::worker::Worker;
use futures_util::FutureExt;
use futures_util::future::Shared;
use http::{Request, Response};
use http_body::Body as _;
use mesh_http2::{Head, Opener, SendStream};
use mesh_mtls::Alpn;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

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
    opener: Opener,
    in_flight: Cell<usize>,
}

/// A stream on a shared connection; counted as in flight until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Rc<Connection>,
    origin: Rc<Origin>,
    /// It had to wait for the connection.
    pub(super) waited: bool,
    /// The task that sends what the request's body did not have at once. A response that is over, or that nobody waits
    /// for any more, needs no more of it.
    sending: Option<AbortHandle>,
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
        // Most often it is the first, and no other is asked whether it still takes requests.
        let mut free = open.iter().filter(|c| c.in_flight.get() < STREAMS_BUSY);
        if let Some(first) = free.find(|c| c.is_ready()) {
            return (Choice::Take(first.clone()), false);
        }
        open.retain(|connection| connection.is_ready());
        let more = open.len() < CONNECTIONS_MAX;
        match open.iter().min_by_key(|c| c.in_flight.get()) {
            Some(least) if least.in_flight.get() < STREAMS_MAX => (Choice::Take(least.clone()), more),
            Some(_) if !more => (Choice::Full, false),
            _ => (Choice::Wait, more),
        }
    }
}

pub(super) async fn lease(worker: &Rc<Worker>, origin: &Rc<Origin>) -> Result<Lease, Refusal> {
    let mut waited = false;
    loop {
        let pool = &origin.h2;
        let (choice, more) = pool.choose();
        if more && pool.opening.borrow().is_none() {
            start_opening(worker, origin);
        }
        match choice {
            Choice::Take(connection) => {
                connection.in_flight.set(connection.in_flight.get() + 1);
                return Ok(Lease { connection, origin: origin.clone(), waited, sending: None });
            }
            Choice::Full => return Err(Reason::QueueFull.into()),
            Choice::Wait => {
                let Some(opening) = pool.opening.borrow().clone() else { continue };
                if pool.waiting.get() >= WAITING_MAX {
                    return Err(Reason::QueueFull.into());
                }
                waited = true;
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
    adopt(worker, origin, link);
    Ok(())
}

/// Adds a connection to the pool.
pub(super) fn adopt(worker: &Rc<Worker>, origin: &Rc<Origin>, link: Link) {
    let hop = if origin.place.is_meshed() { Hop::Mesh } else { Hop::Local };
    let (opener, mut driver) = mesh_http2::connect(Prefixed::from(link), settings::http2_client(hop));
    let mut alive = Alive::new(driver.pulse());
    let connections = &worker.shared.config.families.connections;
    let open: OpenConnection =
        connections.open(origin.place.direction, Side::Upstream, ConnectionProtocol::Http2);
    let connection = Rc::new(Connection { opener, in_flight: Cell::new(0) });
    origin.h2.open.borrow_mut().push(connection.clone());
    // Weak, so that the connection ends once neither the pool nor a request holds it.
    let watched = Rc::downgrade(&connection);
    worker.tasks.spawn_local("upstream-http2", async move {
        let _open = open;
        let is_busy = || watched.upgrade().is_some_and(|connection| connection.in_flight.get() > 0);
        let silence = if hop == Hop::Mesh { Silence::Ask } else { Silence::AskWhileBusy };
        let lost = pin!(alive.lost(is_busy, silence));
        tokio::select! {
            biased;
            ended = &mut driver => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "upstream connection ended");
                }
            }
            () = Beside::new(lost) => tracing::debug!("upstream connection lost: no sign of life"),
        }
    });
}

impl Connection {
    /// Whether it takes another request: not after its end, an error, or the other side's GOAWAY.
    fn is_ready(&self) -> bool {
        self.opener.is_ready()
    }
}

impl Lease {
    pub(super) fn send(
        &mut self,
        request: Request<UpBody>,
        interim: &Interim,
    ) -> impl Future<Output = Result<Response<WireBody>, Box<SendFailure>>> {
        let (head, body) = request.into_parts();
        let is_whole = body.is_end_stream();
        let Self { connection, origin, sending, .. } = self;
        let head = Request::from_parts(head, ());
        let opened = match is_whole {
            true => connection.opener.send(head).map(|response| (response, None)),
            false => {
                connection.opener.send_head(head).map(|(response, stream)| (response, Some((stream, body))))
            }
        };
        let place = &origin.place;
        async move {
            let (mut response, rest) = opened.map_err(|error| SendFailure::of_http2(error, place))?;
            let broke = match rest {
                Some((stream, body)) => send_body(stream, body, sending).await?,
                None => None,
            };
            let last = loop {
                match poll_fn(|cx| response.poll_head(cx)).await {
                    Ok(Head::Interim(head)) => interim.pass(head),
                    Ok(Head::Last(response)) => break Ok(response.map(WireBody::http2)),
                    Err(error) => break Err(error),
                }
            };
            last.map_err(|error| match broke.and_then(|why| why.get()) {
                Some(reason) => SendFailure::of_body(reason),
                None => SendFailure::of_http2(error, place),
            })
        }
    }
}

/// Sends what the body has at once, and the rest in a task of its own; returned is where that says why the body broke.
async fn send_body(
    mut stream: SendStream,
    mut body: UpBody,
    sending: &mut Option<AbortHandle>,
) -> Result<Option<Rc<Cell<Option<Reason>>>>, Box<SendFailure>> {
    match poll_fn(|cx| Poll::Ready(send_at_once(cx, &mut stream, &mut body))).await {
        Sent::All | Sent::Closed => Ok(None),
        Sent::Broken(reason) => Err(SendFailure::of_body(reason)),
        Sent::Part => {
            let why = Rc::new(Cell::new(None));
            let broke = why.clone();
            // It ends with its stream, which ends with the connection: a supervised task.
            let rest = async move {
                if let Sent::Broken(reason) = send_rest(&mut stream, &mut body).await {
                    why.set(Some(reason));
                }
            };
            *sending = Some(tokio::task::spawn_local(rest).abort_handle());
            Ok(Some(broke))
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.in_flight.set(self.connection.in_flight.get().saturating_sub(1));
        if let Some(sending) = &self.sending {
            sending.abort();
        }
    }
}
