//! A request body that can be sent again: what has been read of it is kept, up to a bound, so that another attempt can
//! start from the beginning. Attempts read in turn; one that was given up reads nothing more.

use super::body::{WireBody, WireError};
use crate::deadline::Idle;
use crate::refusal::Reason;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use mesh_http1::BodyError;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Most bytes kept per request. Linkerd's value: nearly all RPC messages are smaller, and a worker full of retriable
/// requests stays bounded. A longer body is sent once; after that its request is not retried.
pub(crate) const KEPT_MAX: usize = 64 * 1024;

/// A body, and what has been read of it.
#[derive(Debug, Clone)]
pub(crate) struct Replay(Rc<RefCell<Kept>>);

#[derive(Debug)]
struct Kept {
    body: WireBody,
    frames: Vec<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Whether everything read so far is in `frames`.
    complete: bool,
    /// There will be no other attempt.
    settled: bool,
    /// The attempt that may read.
    attempt: u32,
    /// Told when something new was read.
    idle: Option<Rc<Idle>>,
}

/// The body as one attempt sends it.
#[derive(Debug)]
pub(crate) struct Attempt {
    kept: Rc<RefCell<Kept>>,
    attempt: u32,
    next: usize,
    trailers_sent: bool,
}

/// The attempt was given up, or the body's beginning is lost.
#[derive(Debug, thiserror::Error)]
#[error("this attempt was given up")]
pub(crate) struct GivenUp;

impl Replay {
    /// Keeps what is read of `body`; `idle` is told of it.
    pub(crate) fn new(body: WireBody, idle: Option<Rc<Idle>>) -> Self {
        Self(Rc::new(RefCell::new(Kept {
            body,
            frames: Vec::new(),
            bytes: 0,
            trailers: None,
            ended: false,
            complete: true,
            settled: false,
            attempt: 0,
            idle,
        })))
    }

    /// The body for the next attempt; earlier ones read nothing more.
    pub(crate) fn attempt(&self) -> Attempt {
        let mut kept = self.0.borrow_mut();
        kept.attempt += 1;
        Attempt { kept: self.0.clone(), attempt: kept.attempt, next: 0, trailers_sent: false }
    }

    /// Whether another attempt would see the body from its beginning.
    pub(crate) fn is_replayable(&self) -> bool {
        self.0.borrow().complete
    }

    /// Whether all of it was read, by the attempt that is under way, and is kept: another attempt beside it takes nothing from
    /// it.
    pub(crate) fn is_whole(&self) -> bool {
        let kept = self.0.borrow();
        kept.complete && (kept.ended || kept.body.is_end_stream())
    }

    /// There will be no other attempt: what was kept is freed as soon as it is sent.
    pub(crate) fn settle(&self) {
        self.0.borrow_mut().settled = true;
    }
}

impl Body for Attempt {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let mut kept = this.kept.borrow_mut();
        let kept = &mut *kept;
        if kept.attempt != this.attempt {
            return Poll::Ready(Some(Err(Box::new(GivenUp))));
        }
        if kept.complete {
            if let Some(frame) = kept.frames.get(this.next) {
                this.next += 1;
                return Poll::Ready(Some(Ok(Frame::data(frame.clone()))));
            }
            if kept.ended {
                let trailers = if this.trailers_sent { None } else { kept.trailers.clone() };
                this.trailers_sent = true;
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            if kept.settled {
                kept.complete = false;
                kept.frames = Vec::new();
            }
        } else if kept.ended {
            return Poll::Ready(None);
        }
        let Some(frame) = ready!(Pin::new(&mut kept.body).poll_frame(cx)) else {
            kept.ended = true;
            return Poll::Ready(None);
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Some(Err(Box::new(DownstreamBroke(error))))),
        };
        if let Some(idle) = &kept.idle {
            idle.touch();
        }
        if let Some(data) = frame.data_ref()
            && kept.complete
        {
            kept.bytes = kept.bytes.saturating_add(data.len());
            if kept.bytes <= KEPT_MAX {
                kept.frames.push(data.clone());
                this.next = kept.frames.len();
            } else {
                kept.complete = false;
                kept.frames = Vec::new();
            }
        }
        if frame.is_trailers() {
            kept.ended = true;
            this.trailers_sent = true;
            kept.trailers = frame.trailers_ref().cloned();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.borrow();
        let unread = kept.complete && self.next < kept.frames.len();
        !unread
            && (self.trailers_sent || kept.trailers.is_none())
            && (kept.ended || kept.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.kept.borrow();
        let again: usize =
            if kept.complete { kept.frames.iter().skip(self.next).map(Bytes::len).sum() } else { 0 };
        let again = u64::try_from(again).unwrap_or(u64::MAX);
        let rest = if kept.ended { SizeHint::with_exact(0) } else { kept.body.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(again));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(again));
        }
        hint
    }
}

/// The downstream's body broke; told apart from upstream's failures when a request ends.
#[derive(Debug, thiserror::Error)]
#[error("the request's body broke off")]
pub(crate) struct DownstreamBroke(#[source] pub(crate) WireError);

impl DownstreamBroke {
    /// If an error has this one among its causes: what the downstream did. It went away, or sent what is no body.
    pub(crate) fn is_cause_of(error: &(dyn std::error::Error + 'static)) -> Option<Reason> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(Self(broke)) = error.downcast_ref() {
                return Some(match broke {
                    WireError::Http1(BodyError::Invalid(_)) => Reason::BadRequest,
                    WireError::Http1(_) | WireError::Http2(_) => Reason::DownstreamClosed,
                });
            }
            cause = error.source();
        }
        None
    }
}
