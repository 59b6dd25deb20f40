//! A body on its way out: what it has ready is queued behind its head, delimited as the head says, up to a bound.

use crate::connection::Shared;
use crate::encode;
use crate::error::BoxError;
use crate::framing::Encoding;
use crate::out::Out;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is queued of a body before the socket takes some: as much as a socket's buffer holds on one machine.
const QUEUED_MAX: usize = 64 * 1024;

/// A body's way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    encoding: Encoding,
    /// Bytes to come, where they are counted.
    rest: u64,
    is_over: bool,
}

/// How far a body has got.
#[derive(Debug)]
pub(crate) enum Filled {
    /// It has nothing more yet.
    Pending,
    /// What is queued must be written first.
    Full,
    /// All of it is queued.
    Over,
    /// It broke.
    Broken(BoxError),
}

/// A body that ended before the length its head gave.
#[derive(Debug, thiserror::Error)]
#[error("the body is shorter than its Content-Length says")]
struct TooShort;

impl Outgoing {
    pub(crate) fn new(encoding: Encoding) -> Self {
        let (rest, is_over) = match encoding {
            Encoding::Nothing | Encoding::Exact(0) => (0, true),
            Encoding::Exact(length) => (length, false),
            Encoding::Chunked | Encoding::UntilClose => (0, false),
        };
        Self { encoding, rest, is_over }
    }

    /// Whether all of it is queued.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Queues what the body has ready.
    pub(crate) fn poll_fill<IO, B>(
        &mut self,
        shared: &Shared<IO>,
        body: &mut B,
        cx: &mut Context<'_>,
    ) -> Filled
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        while !self.is_over {
            if shared.state.borrow().out.len() >= QUEUED_MAX {
                return Filled::Full;
            }
            // Without a borrow: a body may be another connection's, and that one's another's.
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                // What follows the last byte that was announced is not waited for.
                Poll::Pending if self.is_complete() => None,
                Poll::Pending => return Filled::Pending,
                Poll::Ready(None) => None,
                Poll::Ready(Some(Ok(frame))) => Some(frame),
                Poll::Ready(Some(Err(error))) => {
                    self.is_over = true;
                    return Filled::Broken(error.into());
                }
            };
            let mut state = shared.state.borrow_mut();
            let out = &mut state.out;
            let ended = match frame.map(http_body::Frame::into_data) {
                None => self.end(out, None),
                Some(Ok(data)) => {
                    self.data(out, data);
                    if body.is_end_stream() { self.end(out, None) } else { Ok(()) }
                }
                Some(Err(frame)) => match frame.into_trailers() {
                    Ok(trailers) => self.end(out, Some(&trailers)),
                    // A frame is data or trailers.
                    Err(_other) => Ok(()),
                },
            };
            if let Err(short) = ended {
                self.is_over = true;
                return Filled::Broken(short.into());
            }
        }
        Filled::Over
    }

    fn is_complete(&self) -> bool {
        matches!(self.encoding, Encoding::Exact(_)) && self.rest == 0
    }

    fn data(&mut self, out: &mut Out, mut data: Bytes) {
        match self.encoding {
            Encoding::Nothing => {}
            Encoding::UntilClose => out.push_data(data),
            Encoding::Exact(_) => {
                // More than was announced would be read as another message.
                data.truncate(usize::try_from(self.rest).unwrap_or(usize::MAX));
                self.rest = self.rest.saturating_sub(u64::try_from(data.len()).unwrap_or(u64::MAX));
                out.push_data(data);
            }
            // A chunk without bytes would be the last.
            Encoding::Chunked if data.is_empty() => {}
            Encoding::Chunked => {
                out.push_number::<16>(u64::try_from(data.len()).unwrap_or(u64::MAX));
                out.push(b"\r\n");
                out.push_data(data);
                out.push(b"\r\n");
            }
        }
    }

    fn end(&mut self, out: &mut Out, trailers: Option<&HeaderMap>) -> Result<(), TooShort> {
        self.is_over = true;
        match self.encoding {
            Encoding::Exact(_) if self.rest > 0 => Err(TooShort),
            Encoding::Chunked => {
                encode::trailers(out, trailers);
                Ok(())
            }
            Encoding::Exact(_) | Encoding::Nothing | Encoding::UntilClose => Ok(()),
        }
    }
}
