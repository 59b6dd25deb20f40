//! Connections kept for the next request. What enters is an [`Origin`], one place requests can be sent; what leaves is a
//! [`Lease`] on a connection there, which hands the connection back when the response has passed. HTTP/1.1 connections
//! are lent one at a time; HTTP/2 connections are few and shared by many requests, because requests that share a
//! connection share its writes and its TLS records.

mod failure;
mod h1;
mod h2;

pub(crate) use failure::SendFailure;

use crate::connect::{self, Link, Place, Prefixed, Security};
use crate::http::body::{UpBody, WireBody};
use crate::http::interim::Interim;
use crate::refusal::{Reason, Refusal};
use crate::worker::Worker;
use futures_util::FutureExt;
use futures_util::future::{Either, Shared};
use http::{Request, Response};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Which HTTP is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// One place requests can be sent, and the connections to it.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) place: Place,
    h1: h1::Pool,
    h2: h2::Pool,
    /// What a place outside that speaks TLS has chosen.
    chosen: Cell<Option<Wire>>,
    choosing: RefCell<Option<Choosing>>,
}

/// What finding out which HTTP is spoken came to, for all who wait for it.
type Choosing = Shared<oneshot::Receiver<Result<Wire, Refusal>>>;

/// All origins of a worker that somebody uses. A service's endpoint and another service's endpoint that are the same
/// place share its connections.
#[derive(Debug, Default)]
pub(crate) struct Origins(RefCell<HashMap<Place, Weak<Origin>>>);

/// The right to send one request on a connection.
#[derive(Debug)]
pub(crate) enum Lease {
    /// The whole connection.
    Http1(h1::Lease),
    /// A stream of it.
    Http2(h2::Lease),
}

impl Origins {
    /// The origin at `place`, with the connections it has.
    pub(crate) fn at(&self, place: &Place) -> Rc<Origin> {
        let mut origins = self.0.borrow_mut();
        if let Some(origin) = origins.get(place).and_then(Weak::upgrade) {
            return origin;
        }
        let origin = Rc::new(Origin {
            place: place.clone(),
            h1: h1::Pool::default(),
            h2: h2::Pool::default(),
            chosen: Cell::new(None),
            choosing: RefCell::default(),
        });
        origins.insert(place.clone(), Rc::downgrade(&origin));
        origin
    }

    /// Closes connections that were idle for long and forgets origins nobody uses.
    pub(crate) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, origin| {
            origin.upgrade().is_some_and(|origin| {
                origin.h1.sweep(now);
                true
            })
        });
    }
}

/// A connection to send one request on: one that is open, or a new one.
///
/// # Errors
/// A refusal that says why no connection could be opened; nothing was sent.
pub(crate) async fn lease(worker: &Rc<Worker>, origin: &Rc<Origin>, wire: Wire) -> Result<Lease, Refusal> {
    let lease = match wire {
        Wire::Http1 => h1::lease(worker, origin).await.map(Lease::Http1),
        Wire::Http2 => h2::lease(worker, origin).await.map(Lease::Http2),
    };
    if lease.is_err() && matches!(origin.place.security, Security::Tls(_)) {
        // It may have changed its mind.
        origin.chosen.set(None);
    }
    lease
}

/// A connection of its own, for a request that asks to change the protocol.
///
/// # Errors
/// A refusal that says why no connection could be opened; nothing was sent.
pub(crate) async fn alone(worker: &Rc<Worker>, place: &Place) -> Result<Lease, Refusal> {
    h1::alone(worker, place).await.map(Lease::Http1)
}

/// Which HTTP a place outside of the mesh chooses to speak. One connection finds out, for all who wait, and is kept for
/// one of them.
///
/// # Errors
/// A refusal that says why no connection could be opened.
pub(crate) async fn choice(worker: &Rc<Worker>, origin: &Rc<Origin>) -> Result<Wire, Refusal> {
    if let Some(wire) = origin.chosen.get() {
        return Ok(wire);
    }
    let known = origin.choosing.borrow().clone();
    let choosing = match known {
        Some(choosing) => choosing,
        None => start_choosing(worker, origin),
    };
    choosing.await.unwrap_or_else(|_gone| Err(Reason::Draining.into()))
}

/// In a task of its own, so that it ends even if whoever asked first goes away.
fn start_choosing(worker: &Rc<Worker>, origin: &Rc<Origin>) -> Choosing {
    let (done, choosing) = oneshot::channel();
    let choosing = choosing.shared();
    *origin.choosing.borrow_mut() = Some(choosing.clone());
    let (worker_, origin_) = (worker.clone(), origin.clone());
    worker.tasks.spawn_local("upstream-choice", async move {
        let chosen = choose(&worker_, &origin_).await;
        origin_.chosen.set(chosen.as_ref().ok().copied());
        *origin_.choosing.borrow_mut() = None;
        // Nobody may be waiting any more.
        done.send(chosen).ok();
    });
    choosing
}

async fn choose(worker: &Rc<Worker>, origin: &Rc<Origin>) -> Result<Wire, Refusal> {
    let (link, wire) = connect::open_http(worker, &origin.place).await?;
    match wire {
        Wire::Http1 => h1::adopt(worker, origin, link),
        Wire::Http2 => h2::adopt(worker, origin, link),
    }
    Ok(wire)
}

impl Lease {
    /// Whether the connection has carried a request before, so that the other side may be closing it just now.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.is_reused(),
            Self::Http2(_) => true,
        }
    }

    /// Whether a connection had to be opened first, which says nothing about how fast requests are answered.
    pub(crate) fn has_waited(&self) -> bool {
        match self {
            Self::Http1(lease) => !lease.is_reused(),
            Self::Http2(lease) => lease.waited,
        }
    }

    /// Sends a request at once; what is returned waits for the head of the response, and passes on what comes before it. Not an async function, whose future
    /// would have room for the request as long as it waits.
    ///
    /// # Errors
    /// [`SendFailure`], with the request if none of it was sent.
    pub(crate) fn send(
        &mut self,
        request: Request<UpBody>,
        interim: &Interim,
    ) -> impl Future<Output = Result<Response<WireBody>, Box<SendFailure>>> {
        match self {
            Self::Http1(lease) => Either::Left(lease.send(request, interim)),
            Self::Http2(lease) => Either::Right(lease.send(request, interim)),
        }
    }

    /// The response has passed completely: the connection may carry another request.
    pub(crate) fn give_back(self, now: Instant) {
        match self {
            Self::Http1(lease) => lease.give_back(now),
            Self::Http2(_) => {}
        }
    }

    /// The connection itself, after an answer that changed its protocol.
    pub(crate) fn into_stream(self) -> Option<Prefixed<Link>> {
        match self {
            Self::Http1(lease) => lease.into_stream(),
            Self::Http2(_) => None,
        }
    }
}
