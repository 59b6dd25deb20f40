//! HTTP/1.1 connections of one origin, lent one request at a time. The one used last is lent first, so that a quiet
//! service keeps few.

use super::{Origin, SendFailure};
use crate::connect::{self, Link};
use crate::http::body::{UpBody, WireBody};
use crate::http::settings;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::{ConnectionProtocol, Side};
use crate::worker::Worker;
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use mesh_mtls::Alpn;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
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
    sender: SendRequest<UpBody>,
    since: Instant,
}

/// A connection lent for one request.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: SendRequest<UpBody>,
    origin: Rc<Origin>,
    reused: bool,
}

impl Pool {
    pub(super) fn sweep(&self, now: Instant) {
        self.0
            .borrow_mut()
            .retain(|idle| !idle.sender.is_closed() && now.saturating_duration_since(idle.since) < IDLE);
    }

    fn take(&self) -> Option<SendRequest<UpBody>> {
        self.0.borrow_mut().pop().map(|idle| idle.sender)
    }
}

pub(super) async fn lease(worker: &Rc<Worker>, origin: &Rc<Origin>) -> Result<Lease, Refusal> {
    while let Some(mut sender) = origin.h1.take() {
        // Ready at once, or as soon as the connection's task has seen the end of the last response.
        if sender.ready().await.is_ok() {
            return Ok(Lease { sender, origin: origin.clone(), reused: true });
        }
    }
    // Boxed, as is what is rare: every request's future would have room for it.
    let link = Box::pin(connect::open(worker, &origin.place, Alpn::Http1)).await?;
    let sender = begin(worker, origin, link).await?;
    Ok(Lease { sender, origin: origin.clone(), reused: false })
}

/// Keeps a connection for the next request.
pub(super) async fn adopt(worker: &Rc<Worker>, origin: &Rc<Origin>, link: Link) -> Result<(), Refusal> {
    let sender = begin(worker, origin, link).await?;
    Lease { sender, origin: origin.clone(), reused: false }.give_back(Instant::now());
    Ok(())
}

async fn begin(worker: &Rc<Worker>, origin: &Origin, link: Link) -> Result<SendRequest<UpBody>, Refusal> {
    let handshake = settings::http1_client().handshake(TokioIo::new(link)).await;
    let (sender, connection) =
        handshake.map_err(|error| Refusal::new(Reason::ConnectFailed).caused_by(error))?;
    let connections = &worker.shared.config.families.connections;
    let open = connections.open(origin.place.direction, Side::Upstream, ConnectionProtocol::Http1);
    worker.tasks.spawn_local("upstream-http1", async move {
        let _open = open;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(sender)
}

impl Lease {
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) fn send(
        &mut self,
        request: Request<UpBody>,
    ) -> impl Future<Output = Result<Response<WireBody>, Box<SendFailure>>> {
        let place = &self.origin.place;
        self.sender.try_send_request(request).map(|response| match response {
            Ok(response) => Ok(response.map(WireBody::Http1)),
            Err(error) => Err(SendFailure::of_http1(error, place)),
        })
    }

    pub(super) fn give_back(self, now: Instant) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = self.origin.h1.0.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { sender: self.sender, since: now });
        }
    }
}
