//! THE PAGE: from the application to the mesh, the steps in order.
//!
//! ```text
//! accept ─> detect ──HTTP──> normalise ─> destination ─> route ─> fault, limit ─> ┌ pick ─> lease ─> send ┐ ─> response
//!              └──opaque──> tcp: limit ─> pick ─> connect ─> relay                └─── retry, hedge ──────┘
//! ```
//! Each step takes what the one before it made: `Accepted`, `Routed`, `Picked`, a `Lease`, `Exchanged`. A failure
//! anywhere is a `Refusal`; it becomes an answer in one place, `Accepted::finish`.

mod attempt;
mod bound;
mod captured;
pub(crate) mod circle;
mod connection;
pub(crate) mod destination;
pub(crate) mod entry;
mod external;
mod fault;
mod foreign;
mod hedge;
mod leaving;
mod request;
mod tcp;
mod tries;
mod tunnel;
#[cfg(test)]
pub(crate) mod world;

use crate::connect::Link;
use crate::http::authority::LastAuthority;
use crate::http::body::{DownBody, WireBody};
use crate::http::interim::Interim;
use crate::http::normalise::normalise;
use crate::limit::Permit;
use crate::listen::original_dst::OriginalDst;
use crate::listen::{Capture, accept};
use crate::refusal::{Reason, Refusal};
use crate::worker::Worker;
use destination::{Destination, Destinations};
use entry::Entry;
use http::{HeaderValue, Method, Request, Response};
use request::{Accepted, Exchanged};
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tries::{Next, Tries};

/// What one request may take while it is under way.
#[cfg(test)]
const REQUEST_FUTURE_MAX: usize = 2312;

/// What an open connection may take while nothing is under way on it.
#[cfg(test)]
const CONNECTION_FUTURE_MAX: usize = 1600;

/// A connection from the application, and what its requests need of it.
pub(crate) struct Downstream {
    pub(crate) worker: Rc<Worker>,
    pub(crate) entry: Rc<Entry>,
    /// Who opened it.
    pub(crate) client: IpAddr,
    /// Its place among the open connections, kept until its last request and tunnel are done.
    pub(crate) permit: Rc<Permit>,
    pub(crate) activity: Rc<crate::listen::activity::Activity>,
    pub(crate) last: LastAuthority,
    /// What the authority of the last request that had one means.
    destination: RefCell<Option<Rc<Destination>>>,
}

impl Downstream {
    /// What an authority means. Most requests ask for the same as the one before.
    fn destination(&self, authority: Option<&HeaderValue>) -> Result<Rc<Destination>, Refusal> {
        let mut last = self.destination.borrow_mut();
        if let (Some(authority), Some(known)) = (authority, &*last)
            && known.host == *authority
        {
            return Ok(known.clone());
        }
        let destination = Destinations::of(&self.worker, &self.entry, authority)?;
        *last = authority.map(|_| destination.clone());
        Ok(destination)
    }
}

/// Takes connections from the application until inbound is done with draining. With `capture`, one that was redirected
/// here goes where it was going, and `entry` is for the others.
pub(crate) async fn listen(
    worker: Rc<Worker>,
    listener: TcpListener,
    entry: Rc<Entry>,
    capture: Capture,
    mut inbound_done: watch::Receiver<bool>,
) {
    let stop = async {
        // An error means that the worker is ending.
        inbound_done.wait_for(|done| *done).await.ok();
    };
    accept::accept_until(listener, &worker.outbound, stop, |stream, source, permit| {
        let original = match capture {
            Capture::On => OriginalDst::of(&stream),
            Capture::Off => None,
        };
        let worker_ = worker.clone();
        match original {
            Some(original) => worker.tasks.spawn_local(
                "captured-connection",
                captured::connection(worker_, original, stream, source, permit),
            ),
            None => worker.tasks.spawn_local(
                "outbound-connection",
                connection(worker_, entry.clone(), stream, source.ip(), permit),
            ),
        };
    })
    .await;
}

/// One connection: what is spoken decides the way.
async fn connection(worker: Rc<Worker>, entry: Rc<Entry>, stream: TcpStream, client: IpAddr, permit: Permit) {
    let stream = Link::Plain(stream);
    let activity = worker.watch.connection();
    let downstream = Rc::new(Downstream {
        worker,
        entry,
        client,
        permit: Rc::new(permit),
        activity,
        last: LastAuthority::default(),
        destination: RefCell::default(),
    });
    // Boxed: what is needed for a moment is not held for as long as the connection is open.
    match Box::pin(connection::detect(&downstream, stream)).await {
        connection::Detected::Http(wire, stream) => connection::serve(&downstream, wire, stream).await,
        connection::Detected::Opaque(session) => tcp::carry(&downstream, session).await,
        connection::Detected::Gone => {}
    }
}

/// One request: whatever happens, there is an answer. Not an async function, whose future would have room for the
/// request twice.
fn request(
    downstream: Rc<Downstream>,
    request: Request<WireBody>,
    interim: Interim,
) -> impl Future<Output = Response<DownBody>> {
    let mut accepted = Accepted::new(&downstream, request, interim);
    async move {
        let outcome = exchange(&downstream, &mut accepted).await;
        accepted.finish(outcome)
    }
}

/// The steps of a request.
async fn exchange(downstream: &Rc<Downstream>, accepted: &mut Accepted) -> Result<Box<Exchanged>, Refusal> {
    let worker = &downstream.worker;
    let normalised = normalise(&mut accepted.head, accepted.fields, &downstream.last)?;
    let destination = downstream.destination(normalised.authority.as_ref())?;
    let bound = destination.bind(worker).await?;
    accepted.bound(worker, &bound);
    if accepted.head.method == Method::CONNECT {
        return Box::pin(tunnel::connect(downstream, accepted, &bound)).await;
    }
    let routed = request::route(worker, accepted, destination, bound)?;
    routed.cluster.ready(worker).await?;
    if let Some(faults) = routed.cluster.faults() {
        Box::pin(fault::inject(worker, accepted, &routed, &faults)).await?;
    }
    accepted.place = routed.cluster.enter(routed.deadlines.of_request()).await?;
    if let Some(token) = normalised.upgrade {
        return Box::pin(tunnel::upgrade(downstream, accepted, &routed, token)).await;
    }
    let mut tries = Tries::new(worker, &routed, accepted, downstream.client);
    loop {
        let now = tokio::time::Instant::now();
        let picked = tries.pick(worker, &routed, now)?;
        let outcome = match hedge::delay(worker, accepted, &routed, now) {
            None => attempt::run(worker, accepted, &routed, &tries, picked, now).await,
            // Boxed, as is what is rare.
            Some(delay) => Box::pin(hedge::run(worker, accepted, &routed, &tries, picked, now, delay)).await,
        };
        match tries.judge(worker, &routed, accepted, outcome) {
            Next::Done(exchanged) => return Ok(exchanged),
            Next::Failed(refusal) => return Err(refusal),
            Next::Again(pause) => {
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// A refusal of something this entry can't do.
fn not_supported(sentence: &'static str) -> Refusal {
    Refusal::because(Reason::MethodNotSupported, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_four<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// The size of the future a function returns.
    fn size<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_open_connection_holds_little() {
        let captured = |worker, (original, stream), source, permit| {
            captured::connection(worker, original, stream, source, permit)
        };
        let explicit =
            |worker, entry, (stream, client), permit| connection(worker, entry, stream, client, permit);
        for bytes in [size_of_four(explicit), size_of_four(captured)] {
            assert!(bytes <= CONNECTION_FUTURE_MAX, "{bytes}");
        }
    }

    #[test]
    fn a_requests_future_stays_small() {
        // Allocated once per request.
        let bytes = size(request);
        assert!(bytes <= REQUEST_FUTURE_MAX, "{bytes}");
    }
}
