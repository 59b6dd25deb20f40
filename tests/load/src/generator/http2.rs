//! HTTP/2 by prior knowledge: connections shared by many slots, one stream per slot. Also what gRPC runs on.

use super::expect::{Expected, Head};
use super::plan::Plan;
use super::record::Failure;
use super::run::{Shared, connect};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Version, response};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Flow-control windows: large enough never to be what is measured.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Longest body of an answer.
const BODY_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// One connection, opened when first needed and again after it has closed.
#[derive(Default)]
pub(super) struct Link {
    sender: RefCell<Option<SendRequest<Bytes>>>,
    /// Lets one slot open the connection while the others wait for it.
    opening: Mutex<()>,
}

/// A whole answer.
pub(super) struct Exchanged {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

/// One stream's slot of plain HTTP.
pub(super) async fn slot(shared: Rc<Shared>, link: Rc<Link>) -> Rc<Link> {
    let expected = Expected::of(&shared.plan);
    let body = expected.posted();
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let request = request(&shared.plan, method, &shared.plan.options.path);
    while let Some(due) = shared.arrivals.next().await {
        let outcome = match &request {
            Ok(request) => link.exchange(&shared, request, body.clone()).await,
            Err(failure) => Err(Failure::new("request", &failure.words)),
        };
        let checked = outcome.and_then(|exchanged| {
            let head = Head::from_response(exchanged.head.status.as_u16(), &exchanged.head.headers);
            shared.recorder.ok(due, &expected.check(&head, &exchanged.body)?);
            Ok(())
        });
        if let Err(failure) = checked {
            shared.recorder.failed(due, &failure);
        }
    }
    link
}

/// A request to the plan's authority.
pub(super) fn request(plan: &Plan, method: Method, path: &str) -> Result<Request<()>, Failure> {
    let mut request = Request::builder()
        .method(method)
        .version(Version::HTTP_2)
        .uri(format!("http://{}{path}", plan.authority))
        .body(())
        .map_err(|error| Failure::new("request", error))?;
    request.headers_mut().extend(plan.headers.iter().cloned());
    Ok(request)
}

impl Link {
    /// Sends `request` and reads the whole answer, within the plan's timeout.
    pub(super) async fn exchange(
        &self,
        shared: &Shared,
        request: &Request<()>,
        body: Option<Bytes>,
    ) -> Result<Exchanged, Failure> {
        let deadline = Instant::now() + shared.plan.timeout;
        let exchanging = async {
            match self.attempt(&shared.plan, request, body.clone()).await {
                // The server says that it has not processed this one: RFC 9113 section 8.7.
                Err(Refused::NotProcessed(_)) => {
                    shared.recorder.resent();
                    self.attempt(&shared.plan, request, body).await
                }
                outcome => outcome,
            }
        };
        match tokio::time::timeout_at(deadline, exchanging).await {
            Ok(Ok(exchanged)) => Ok(exchanged),
            Ok(Err(Refused::NotProcessed(failure) | Refused::Failed(failure))) => Err(failure),
            Err(_) => Err(Failure::new("timeout", "no whole answer in time")),
        }
    }

    async fn attempt(
        &self,
        plan: &Plan,
        request: &Request<()>,
        body: Option<Bytes>,
    ) -> Result<Exchanged, Refused> {
        let mut sender = self.ready(plan).await?;
        let (answer, mut stream) = sender.send_request(request.clone(), body.is_none())?;
        if let Some(body) = body {
            stream.send_data(body, true)?;
        }
        let (head, mut receiving) = answer.await?.into_parts();
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(data) = receiving.data().await {
            let data = data?;
            receiving.flow_control().release_capacity(data.len())?;
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
            if rest.len() > BODY_LIMIT_BYTES {
                return Err(Refused::Failed(Failure::new("protocol", "a body without end")));
            }
        }
        let trailers = receiving.trailers().await?;
        let body = match rest.is_empty() {
            true => first,
            false => {
                let mut whole = BytesMut::from(first);
                whole.unsplit(rest);
                whole.freeze()
            }
        };
        Ok(Exchanged { head, body, trailers })
    }

    /// A sender with room for one more stream.
    async fn ready(&self, plan: &Plan) -> Result<SendRequest<Bytes>, Refused> {
        if let Some(sender) = self.usable().await {
            return Ok(sender);
        }
        let _only_one = self.opening.lock().await;
        if let Some(sender) = self.usable().await {
            return Ok(sender);
        }
        let stream = connect(plan).await.map_err(Refused::Failed)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(stream)
            .await?;
        // Each stream reports how its connection ended.
        tokio::task::spawn_local(async move { connection.await.ok() });
        self.sender.replace(Some(sender.clone()));
        Ok(sender)
    }

    async fn usable(&self) -> Option<SendRequest<Bytes>> {
        let sender = self.sender.borrow().clone()?;
        match sender.ready().await {
            Ok(sender) => Some(sender),
            Err(_) => {
                // Another slot may have opened a new connection meanwhile; it is kept if it is ready.
                let current = self.sender.borrow().clone()?;
                current.ready().await.ok()
            }
        }
    }
}

enum Refused {
    NotProcessed(Failure),
    Failed(Failure),
}

impl From<h2::Error> for Refused {
    fn from(error: h2::Error) -> Self {
        let not_processed = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        let cause = match error.reason() {
            Some(reason) if error.is_go_away() => format!("goaway-{reason:?}"),
            Some(reason) => format!("reset-{reason:?}"),
            None => error.get_io().map_or("protocol", super::http1::cause).to_owned(),
        };
        let failure = Failure::new(cause, error);
        if not_processed { Self::NotProcessed(failure) } else { Self::Failed(failure) }
    }
}
