//! The end of a connection that asks. One request at a time: its head and what its body has ready leave in one write, the
//! answer's head is awaited while the rest is sent, and the answer's body is read by whoever polls it.
//!
//! An idle connection needs no task. Whether the other side has closed it is seen by a look at its read side, without one
//! into the kernel as long as that has said nothing.

use crate::connection::Shared;
use crate::encode;
use crate::error::{BadHead, BoxError, SendError};
use crate::framing;
use crate::head::AnswerHead;
use crate::incoming::Incoming;
use crate::outgoing::{Filled, Outgoing};
use crate::upgrade::Upgraded;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Interim answers before the answer (RFC 9110 §15.2).
const INFORMATIONAL_MAX: u32 = 32;

/// A connection that asks.
///
/// Dropping it closes the connection: an answer's body that is not over breaks off.
pub struct Client<IO> {
    shared: Rc<Shared<IO>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer<IO, B> {
    /// Its head, and its body.
    pub response: Response<Incoming<IO>>,
    /// Set where it came before the request's body had left.
    pub rest: Option<Rest<IO, B>>,
}

/// A request that got no answer.
#[derive(Debug)]
pub struct Failure<B> {
    /// Why.
    pub error: SendError,
    /// The request, if not a byte of it was sent and its body was not read.
    pub unsent: Option<Request<B>>,
}

/// A request on its way, and its answer.
#[must_use]
pub struct Sending<'a, IO, B, F> {
    shared: &'a Rc<Shared<IO>>,
    request: Option<Request<B>>,
    interim: F,
    outgoing: Outgoing,
    is_writing: bool,
    /// Whether some of the body was taken.
    is_read: bool,
    informational: u32,
}

/// What is left of a request's body whose answer has begun. Somebody has to poll it: another task than the one that reads
/// the answer, since neither may wait for the other. Dropping it leaves the request incomplete.
#[must_use]
pub struct Rest<IO, B> {
    shared: Rc<Shared<IO>>,
    outgoing: Outgoing,
    body: B,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Client<IO> {
    /// Asks over a stream that nothing was read of.
    pub fn new(io: IO) -> Self {
        Self { shared: Shared::new(io, BytesMut::new()) }
    }

    /// The exchange is over: whether both messages are complete and the answer allows another exchange. While it waits for
    /// that the connection holds no buffer.
    pub fn settle(&mut self) -> bool {
        let is_reusable = self.is_reusable();
        self.shared.state.borrow_mut().reader.release();
        is_reusable
    }

    /// Whether both messages of the last exchange are complete, and the answer allows another.
    fn is_reusable(&self) -> bool {
        let state = self.shared.state.borrow();
        state.keeps_alive
            && state.is_sent
            && state.body.is_done()
            && state.reader.buffer.is_empty()
            && state.io.is_some()
    }

    /// Whether an idle connection still is one: the other side has neither closed it nor sent anything.
    pub fn is_open(&self) -> bool {
        if !self.is_reusable() {
            return false;
        }
        let mut state = self.shared.state.borrow_mut();
        let Some(io) = &mut state.io else { return false };
        let (mut byte, mut cx) = ([0], Context::from_waker(Waker::noop()));
        Pin::new(io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Sends a request; what is returned sends the rest and awaits the answer. `interim` is given the heads with a status of
    /// 1xx that come before it, but 101, which is an answer.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the connection unusable.
    pub fn send<B, F>(&mut self, request: Request<B>, interim: F) -> Sending<'_, IO, B, F>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
        F: FnMut(Response<()>) + Unpin,
    {
        let (head, body) = request.into_parts();
        let known = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        let mut state = self.shared.state.borrow_mut();
        // Until both messages are known to be complete.
        (state.keeps_alive, state.is_sent, state.reading) = (false, false, None);
        let encoding = encode::request(&mut state.out, &head, known);
        drop(state);
        Sending {
            shared: &self.shared,
            request: Some(Request::from_parts(head, body)),
            interim,
            outgoing: Outgoing::new(encoding),
            is_writing: true,
            is_read: false,
            informational: 0,
        }
    }

    /// The stream, after an answer that changes the protocol.
    pub fn into_upgraded(self) -> Option<Upgraded<IO>> {
        self.shared.state.borrow_mut().take_upgraded()
    }
}

impl<IO, B, F> Future for Sending<'_, IO, B, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    F: FnMut(Response<()>) + Unpin,
{
    type Output = Result<Answer<IO, B>, Box<Failure<B>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let written = if this.is_writing { this.poll_write(cx) } else { Ok(()) };
            let head = match written {
                Ok(()) => ready!(this.poll_head(cx)),
                Err(error) => Err(error),
            };
            match head {
                Ok(head) if is_informational(&head) => {
                    this.informational += 1;
                    if this.informational > INFORMATIONAL_MAX {
                        return Poll::Ready(Err(this.failed(SendError::Answer(BadHead::NotHttp))));
                    }
                    (this.interim)(head.into_response(()));
                }
                Ok(head) => return Poll::Ready(this.answer(head)),
                Err(error) => return Poll::Ready(Err(this.failed(error))),
            }
        }
    }
}

/// Whether another head follows (RFC 9110 §15.2).
fn is_informational(head: &AnswerHead) -> bool {
    head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS
}

impl<IO, B, F> Sending<'_, IO, B, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Sends what there is to send.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), SendError> {
        let Some(request) = &mut self.request else { return Ok(()) };
        loop {
            let filled = match self.outgoing.is_over() {
                true => Filled::Over,
                false => {
                    self.is_read = true;
                    self.outgoing.poll_fill(self.shared, request.body_mut(), cx)
                }
            };
            if let Filled::Broken(error) = filled {
                return Err(SendError::Body(error));
            }
            let mut state = self.shared.state.borrow_mut();
            match (state.poll_write(cx), filled) {
                (Poll::Ready(Ok(())), Filled::Over) => {
                    state.is_sent = true;
                    state.out.release();
                    self.is_writing = false;
                    return Ok(());
                }
                (Poll::Ready(Ok(())), Filled::Full) => {}
                (Poll::Ready(Ok(())), Filled::Pending | Filled::Broken(_)) | (Poll::Pending, _) => {
                    return Ok(());
                }
                (Poll::Ready(Err(error)), _) if !state.out.has_written() => {
                    return Err(SendError::Unsent(error));
                }
                (Poll::Ready(Err(_)), _) => {
                    // The other side takes no more of it; it may have said why.
                    state.out.clear();
                    self.is_writing = false;
                    return Ok(());
                }
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, SendError>> {
        let mut state = self.shared.state.borrow_mut();
        let state = &mut *state;
        loop {
            match state.progress.take::<AnswerHead>(&mut state.reader.buffer) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(bad) => return Poll::Ready(Err(SendError::Answer(bad))),
            }
            match ready!(state.poll_read(cx)) {
                Ok(0) => return Poll::Ready(Err(SendError::Closed)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(SendError::Io(error))),
            }
        }
    }

    fn answer(&mut self, head: AnswerHead) -> Result<Answer<IO, B>, Box<Failure<B>>> {
        let AnswerHead { status, version, seen, .. } = &head;
        let (status, version) = (*status, *version);
        let method = self.request.as_ref().map_or(&Method::GET, Request::method);
        let length = match framing::of_answer(method, status, version, seen) {
            Ok(length) => length,
            Err(bad) => return Err(self.failed(SendError::Answer(bad))),
        };
        let body = self.shared.begin_body(length);
        let mut state = self.shared.state.borrow_mut();
        state.keeps_alive = !seen.close
            && (version == Version::HTTP_11 || seen.keep_alive)
            && length != framing::Length::UntilClose
            && status != StatusCode::SWITCHING_PROTOCOLS;
        state.reader.release();
        let rest = self.is_writing.then(|| self.request.take()).flatten().map(|request| {
            // Registered by the answer's reader once it waits.
            state.reading = Some(Waker::noop().clone());
            let outgoing = std::mem::replace(&mut self.outgoing, Outgoing::new(framing::Encoding::Nothing));
            Rest { shared: self.shared.clone(), outgoing, body: request.into_body() }
        });
        drop(state);
        Ok(Answer { response: head.into_response(body), rest })
    }

    /// There will be no answer. The connection ends.
    fn failed(&mut self, error: SendError) -> Box<Failure<B>> {
        self.shared.close(None);
        let is_unsent = matches!(error, SendError::Unsent(_)) && !self.is_read;
        Box::new(Failure { error, unsent: self.request.take().filter(|_| is_unsent) })
    }
}

impl<IO, B> Future for Rest<IO, B>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let filled = this.outgoing.poll_fill(&this.shared, &mut this.body, cx);
            if let Filled::Broken(error) = filled {
                // The other side must not take what it has for all of it.
                this.shared.close(Some(error));
                return Poll::Ready(());
            }
            let mut state = this.shared.state.borrow_mut();
            match (ready!(state.poll_write(cx)), filled) {
                (Ok(()), Filled::Over) => {
                    state.is_sent = true;
                    state.out.release();
                    return Poll::Ready(());
                }
                (Ok(()), Filled::Full) => {}
                (Ok(()), Filled::Pending | Filled::Broken(_)) => return Poll::Pending,
                // The answer may be complete without it.
                (Err(_gone), _) => return Poll::Ready(()),
            }
        }
    }
}

impl<IO> Drop for Client<IO> {
    fn drop(&mut self) {
        self.shared.close(None);
    }
}

impl<IO> fmt::Debug for Client<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl<IO, B> fmt::Debug for Rest<IO, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("outgoing", &self.outgoing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
