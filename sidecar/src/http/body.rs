//! Bodies on their way. Upwards a body is empty, streamed as it comes, or kept for another attempt; downwards it is the
//! upstream's, or our own few words. The one downwards is where a request ends: when its last byte has passed, or when
//! it is dropped, it hands back the connection, reports to the balancer and counts.

use super::http2::Opened;
use super::replay::{Attempt, DownstreamBroke};
use crate::cluster::Load;
use crate::connect::Link;
use crate::deadline::Ends;
use crate::http::grpc;
use crate::limit::Taken;
use crate::listen::activity::Busy;
use crate::pool::Lease;
use crate::refusal::{Fault, Reason};
use crate::telemetry::{Exchange, ServiceSeries};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mesh_http1::Incoming;
use mesh_http2::RecvStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::time::Instant;

/// What a body fails with.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body as a connection delivers it.
#[derive(Debug)]
pub(crate) enum WireBody {
    /// In HTTP/1.
    Http1(Incoming<Link>),
    /// In HTTP/2.
    Http2 {
        /// The stream it comes on.
        receive: RecvStream,
        /// Whether its data has ended; trailers may follow.
        data_ended: bool,
    },
    /// None: the stream of an HTTP/2 CONNECT, which becomes a tunnel.
    Tunnel(Opened),
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// In HTTP/1.
    #[error(transparent)]
    Http1(mesh_http1::BodyError),
    /// In HTTP/2.
    #[error(transparent)]
    Http2(mesh_http2::Error),
}

impl WireBody {
    /// The body that comes on this stream.
    pub(crate) fn http2(receive: RecvStream) -> Self {
        Self::Http2 { receive, data_ended: false }
    }
}

impl Body for WireBody {
    type Data = Bytes;
    type Error = WireError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(WireError::Http1),
            Self::Tunnel(_) => Poll::Ready(None),
            Self::Http2 { receive, data_ended } => {
                if !*data_ended {
                    match ready!(receive.poll_data(cx)) {
                        Some(Ok(data)) => {
                            // Whoever takes the data waits for its own peer's windows before it asks for more.
                            receive.release(data.len());
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                        // Any reset before END_STREAM, CANCEL and NO_ERROR too, means that the body is not all here.
                        Some(Err(error)) => return Poll::Ready(Some(Err(WireError::Http2(error)))),
                        None => *data_ended = true,
                    }
                }
                let trailers = ready!(receive.poll_trailers(cx)).map_err(WireError::Http2);
                Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)).transpose())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2 { receive, .. } => receive.is_end_stream(),
            Self::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2 { .. } if self.is_end_stream() => SizeHint::with_exact(0),
            // A Content-Length field stays in the head and says the same.
            Self::Http2 { .. } => SizeHint::default(),
            Self::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

/// A request's body on its way up.
#[derive(Debug)]
pub(crate) enum UpBody {
    /// There is none.
    Empty,
    /// As it comes; sent at most once.
    Once(WireBody, Rc<ServiceSeries>),
    /// Kept for another attempt.
    Kept(Attempt, Rc<ServiceSeries>),
}

impl Body for UpBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (polled, series) = match self.get_mut() {
            Self::Empty => return Poll::Ready(None),
            Self::Once(body, series) => {
                let broke = |error| -> BodyError { Box::new(DownstreamBroke(error)) };
                (Pin::new(body).poll_frame(cx).map(|frame| frame.map(|f| f.map_err(broke))), series)
            }
            Self::Kept(body, series) => (Pin::new(body).poll_frame(cx), series),
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            series.request_bytes.add(u64::try_from(data.len()).unwrap_or(0));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once(body, _) => body.is_end_stream(),
            Self::Kept(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Once(body, _) => body.size_hint(),
            Self::Kept(body, _) => body.size_hint(),
        }
    }
}

/// A response's body on its way down.
#[derive(Debug)]
pub(crate) struct DownBody {
    source: Source,
    held: Held,
    ends: Option<Box<Ends>>,
}

#[derive(Debug)]
enum Source {
    Upstream(WireBody),
    Words(Option<Bytes>),
}

/// What a request holds until its end.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What is counted at its end.
    pub(crate) exchange: Option<Exchange>,
    /// The connection it came over.
    pub(crate) lease: Option<Lease>,
    /// Its share of the endpoint's load.
    pub(crate) load: Option<Load>,
    /// The downstream connection's note that it is in use.
    pub(crate) busy: Option<Busy>,
    /// What it has of a limit.
    pub(crate) taken: Option<Taken>,
}

impl DownBody {
    /// An upstream's body.
    pub(crate) fn upstream(body: WireBody, held: Held, ends: Option<Box<Ends>>) -> Self {
        let mut body = Self { source: Source::Upstream(body), held, ends };
        body.end_if_over();
        body
    }

    /// Words of our own; none if empty.
    pub(crate) fn words(words: Bytes) -> Self {
        let words = Some(words).filter(|words| !words.is_empty());
        Self { source: Source::Words(words), held: Held::default(), ends: None }
    }

    /// Adds what is held until the end.
    pub(crate) fn holding(mut self, held: Held) -> Self {
        self.held = held;
        self
    }

    fn end_if_over(&mut self) {
        if self.is_end_stream() {
            self.held.end(None);
        }
    }
}

impl Held {
    /// The request is over: as it should be, or for `reason`. Said again it means nothing.
    fn end(&mut self, reason: Option<Reason>) {
        if self.is_over() {
            return;
        }
        let now = Instant::now();
        if let Some(lease) = self.lease.take()
            && reason.is_none()
        {
            lease.give_back(now);
        }
        if let Some(mut load) = self.load.take() {
            if reason.is_some_and(|reason| reason.row().fault != Fault::Downstream) {
                load.failed();
            }
            load.end(now);
        }
        if let Some(exchange) = self.exchange.take() {
            exchange.finish(reason, now);
        }
        self.busy = None;
        self.taken = None;
    }

    fn is_over(&self) -> bool {
        self.exchange.is_none() && self.busy.is_none()
    }
}

impl Body for DownBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(ends) = &mut this.ends
            && let Poll::Ready(reason) = ends.poll(cx)
        {
            this.ends = None;
            this.held.end(Some(reason));
            return Poll::Ready(Some(Err(reason.row().sentence.into())));
        }
        let polled = match &mut this.source {
            Source::Words(words) => Poll::Ready(words.take().map(|words| Ok(Frame::data(words)))),
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                this.held.end(None);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let reason = DownstreamBroke::is_cause_of(&error).unwrap_or(Reason::UpstreamReset);
                this.held.end(Some(reason));
                Poll::Ready(Some(Err(Box::new(error))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(ends) = &this.ends {
                    ends.touch();
                }
                if let Some(exchange) = &mut this.held.exchange {
                    if let Some(data) = frame.data_ref() {
                        exchange.sent(data.len());
                    } else if let Some(trailers) = frame.trailers_ref() {
                        let status = grpc::status(trailers);
                        exchange.grpc(status);
                        if let Some(load) = &mut this.held.load {
                            load.trailers(status);
                        }
                    }
                }
                this.end_if_over();
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Words(words) => words.is_none(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Words(words) => {
                SizeHint::with_exact(words.as_ref().map_or(0, |w| u64::try_from(w.len()).unwrap_or(0)))
            }
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for DownBody {
    fn drop(&mut self) {
        if !self.held.is_over() {
            let reason = (!self.is_end_stream()).then_some(Reason::DownstreamClosed);
            self.held.end(reason);
        }
    }
}
