//! The end of a connection that is asked. Requests come off it one after the other; each is answered before the next is
//! read, so that answers leave in the order of their requests.
//!
//! ```text
//! next ──request──> exchange ──After::Next──> next …
//!   │                  ├─After::Close────────> close
//!   │                  ├─After::Switched─────> the stream is another protocol's
//!   │                  └─After::Gone─────────> dropped: the client has gone
//!   ├──HeadError::Bad──> exchange, with what the client is to be told ──> close
//!   └──nothing more──> close
//! ```
//! While the answer is awaited the client's going away is noticed, and the answer is given up. tokio knows after a read
//! that did not fill its buffer that there is no more, so that this costs no look into the kernel.

use crate::connection::{Continue, Shared, Switch};
use crate::decoder::Decoder;
use crate::encode::{self, Peer};
use crate::error::{BadHead, BoxError, HeadError};
use crate::framing;
use crate::head::RequestHead;
use crate::incoming::Incoming;
use crate::outgoing::{Filled, Outgoing};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of a request's body that nobody wanted, read so that the connection can carry the next request. What is longer
/// costs more than a new connection.
const DRAINED_MAX: usize = 256 * 1024;

/// Bytes that may wait when another interim answer is added.
const INTERIM_WAITING_MAX: usize = 16 * 1024;

/// A connection that is asked.
///
/// Dropping it closes the connection, unless it has become another protocol's.
pub struct Server<IO> {
    shared: Rc<Shared<IO>>,
    /// Of the request that is being answered.
    method: Method,
    version: Version,
    drained: usize,
}

/// Where interim answers to a request go.
pub struct Interim<IO>(Rc<Shared<IO>>);

/// What follows an exchange.
#[derive(Debug)]
pub enum After {
    /// The connection may carry another request.
    Next,
    /// The connection ends here: [`Server::close`].
    Close,
    /// The connection has become another protocol's.
    Switched,
    /// The client has gone, or its connection broke; there is nobody left to be told.
    Gone(io::Error),
    /// The answer's own body broke: what was sent of it is not all, and the client can tell by the connection's end.
    Broken(BoxError),
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Server<IO> {
    /// Serves a stream of which `read` was read already.
    pub fn new(io: IO, read: Bytes) -> Self {
        let shared = Shared::new(io, BytesMut::from(read));
        Self { shared, method: Method::GET, version: Version::HTTP_11, drained: 0 }
    }

    /// Whether bytes of the next request have come, or some of the last one's are still to come.
    pub fn has_begun(&self) -> bool {
        let state = self.shared.state.borrow();
        !state.reader.buffer.is_empty() || !state.body.is_done()
    }

    /// The next request; nothing once the client has closed the connection, or if what is left of the last request is
    /// not worth reading. While nothing comes no buffer is held.
    ///
    /// # Errors
    /// [`HeadError`]; a [`BadHead`] can still be answered, by [`Self::exchange`].
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Request<Incoming<IO>>>, HeadError>> {
        if !ready!(self.poll_drain(cx)) {
            return Poll::Ready(Ok(None));
        }
        Poll::Ready(match ready!(self.poll_head(cx)) {
            Ok(Some(head)) => self.begin(head).map(Some),
            Ok(None) => Ok(None),
            Err(HeadError::Bad(bad)) => Err(self.refuse(bad)),
            Err(error @ (HeadError::Closed | HeadError::Io(_))) => Err(error),
        })
    }

    fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Option<RequestHead>, HeadError>> {
        let mut state = self.shared.state.borrow_mut();
        let state = &mut *state;
        loop {
            if let Some(head) = state.progress.take(&mut state.reader.buffer)? {
                return Poll::Ready(Ok(Some(head)));
            }
            match state.poll_read(cx) {
                Poll::Pending => {
                    state.reader.release();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) if state.reader.buffer.is_empty() => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(HeadError::Closed)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(HeadError::Io(error))),
            }
        }
    }

    /// As [`Self::poll_next`].
    ///
    /// # Errors
    /// As [`Self::poll_next`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn next(&mut self) -> Result<Option<Request<Incoming<IO>>>, HeadError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Reads what is left of the last request; false if that is too much.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.shared.state.borrow_mut();
        while !state.body.is_done() {
            match ready!(state.poll_body(cx)) {
                None => break,
                Some(Err(_)) => return Poll::Ready(false),
                Some(Ok(frame)) => {
                    self.drained += frame.data_ref().map_or(0, Bytes::len);
                    if self.drained > DRAINED_MAX {
                        return Poll::Ready(false);
                    }
                }
            }
        }
        self.drained = 0;
        Poll::Ready(true)
    }

    /// The request with this head.
    fn begin(&mut self, head: RequestHead) -> Result<Request<Incoming<IO>>, HeadError> {
        let RequestHead { method, uri, version, headers, seen } = head;
        let length = match framing::of_request(&method, version, &seen) {
            Ok(length) => length,
            Err(bad) => return Err(self.refuse(bad)),
        };
        (self.method, self.version) = (method.clone(), version);
        let mut body = self.shared.begin_body(length);
        let mut state = self.shared.state.borrow_mut();
        let is_1_1 = version == Version::HTTP_11;
        state.keeps_alive = !seen.close && (is_1_1 || seen.keep_alive);
        state.continues = match seen.expects_continue && is_1_1 && !state.body.is_done() {
            true => Continue::Owed,
            false => Continue::Nothing,
        };
        state.takes_interim = is_1_1;
        state.switch = Switch::Never;
        if method == Method::CONNECT || (seen.upgrade && is_1_1) {
            state.switch = Switch::Possible;
            body = body.asking(&self.shared);
        }
        drop(state);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Where interim answers to the request that came last go.
    pub fn interim(&self) -> Interim<IO> {
        Interim(self.shared.clone())
    }

    /// Nothing more is read of what can't be understood.
    fn refuse(&mut self, bad: BadHead) -> HeadError {
        (self.method, self.version) = (Method::GET, Version::HTTP_11);
        let mut state = self.shared.state.borrow_mut();
        state.keeps_alive = false;
        state.switch = Switch::Never;
        state.continues = Continue::Nothing;
        state.takes_interim = false;
        state.body = Decoder::Broken;
        HeadError::Bad(bad)
    }

    /// Awaits the answer to the request that came last, or to what could not be read as one, and sends it: its head and
    /// what its body has ready in one write, the rest as it comes. An answer with `Connection: close` is the last.
    ///
    /// # Cancel safety
    /// Not safe: the connection is to be dropped.
    pub async fn exchange<F, B>(&mut self, mut answer: F) -> After
    where
        F: Future<Output = Response<B>> + Unpin,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let shared = &*self.shared;
        let answered = poll_fn(|cx| {
            shared.is_polling.set(true);
            let polled = Pin::new(&mut answer).poll(cx);
            shared.is_polling.set(false);
            match polled {
                Poll::Ready(response) => Poll::Ready(Ok(response)),
                Poll::Pending => shared.poll_interim(cx).map(Err),
            }
        });
        let response = match answered.await {
            Ok(response) => response,
            Err(gone) => return After::Gone(gone),
        };
        // What made the answer is done.
        drop(answer);
        let (head, mut body) = response.into_parts();
        let (mut outgoing, stays) = self.begin_answer(&head, &body);
        let status = head.status;
        drop(head);
        let shared = &*self.shared;
        let sent = poll_fn(|cx| shared.poll_send(&mut outgoing, &mut body, cx)).await;
        match sent {
            Sent::All => self.end_answer(status, stays),
            Sent::Gone(error) => After::Gone(error),
            Sent::Broken(error) => After::Broken(error),
        }
    }

    fn begin_answer<B: Body>(&self, head: &http::response::Parts, body: &B) -> (Outgoing, bool) {
        let known = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        let mut state = self.shared.state.borrow_mut();
        if state.continues == Continue::Owed {
            // Whether its body follows nobody can know (RFC 9110 §10.1.1).
            state.keeps_alive = false;
        }
        state.continues = Continue::Nothing;
        state.takes_interim = false;
        let keeps_alive = state.keeps_alive;
        let peer = Peer { method: &self.method, version: self.version, keeps_alive };
        let (encoding, stays) = encode::answer(&mut state.out, head, known, peer);
        (Outgoing::new(encoding), stays)
    }

    fn end_answer(&self, status: StatusCode, stays: bool) -> After {
        let mut state = self.shared.state.borrow_mut();
        state.out.release();
        let switches = status == StatusCode::SWITCHING_PROTOCOLS
            || (self.method == Method::CONNECT && status.is_success());
        let was_possible = std::mem::replace(&mut state.switch, Switch::Never) == Switch::Possible;
        if switches && was_possible {
            state.switch = Switch::Done;
        }
        if !state.body.is_done() {
            // Whoever still has the body reads nothing more of it.
            state.turn = state.turn.wrapping_add(1);
        }
        let (switching, keeps_alive) = (state.switching.take(), state.keeps_alive);
        drop(state);
        if let Some(switching) = switching {
            switching.wake();
        }
        match (switches, was_possible, stays && keeps_alive) {
            (true, true, _) => After::Switched,
            (false, _, true) => After::Next,
            (true, false, _) | (false, _, false) => After::Close,
        }
    }

    /// Closes the connection in such a way that the client gets all of the last answer: what it still sends is read, and
    /// thrown away, until it has closed too. Who calls this bounds the time (RFC 9112 §9.6).
    pub async fn close(self) {
        let taken = {
            let mut state = self.shared.state.borrow_mut();
            let mut unread = std::mem::take(&mut state.reader.buffer);
            let is_unread = !state.body.is_done() || !unread.is_empty();
            unread.clear();
            state.io.take().map(|io| (io, unread, is_unread))
        };
        let Some((mut io, mut unread, mut is_unread)) = taken else { return };
        // A client that is gone needs no end.
        if io.shutdown().await.is_err() {
            return;
        }
        if !is_unread {
            // Bytes that nobody has seen would turn the end into a reset.
            let read = poll_fn(|cx| {
                let read = std::pin::pin!(io.read_buf(&mut unread)).poll(cx);
                Poll::Ready(matches!(read, Poll::Ready(Ok(1..))))
            });
            is_unread = read.await;
        }
        while is_unread {
            unread.clear();
            is_unread = matches!(io.read_buf(&mut unread).await, Ok(1..));
        }
    }
}

/// How an answer left.
enum Sent {
    All,
    Gone(io::Error),
    Broken(BoxError),
}

impl<IO> Interim<IO> {
    /// Sends an interim answer: one with a status of 1xx but 101. To be called by what makes the answer, while
    /// [`Server::exchange`] polls it, which then writes. It is left out where the client speaks HTTP/1.0, the answer has
    /// begun, or so much waits to be written that the client seems not to read.
    pub fn send(&self, response: Response<()>) {
        let mut state = self.0.state.borrow_mut();
        if state.takes_interim && state.out.len() < INTERIM_WAITING_MAX {
            encode::interim(&mut state.out, &response.into_parts().0);
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Shared<IO> {
    /// Writes what comes before the answer. Ready once the client has gone.
    fn poll_interim(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match self.state.borrow_mut().poll_write(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        self.poll_gone(cx)
    }

    /// Whether the client has gone, as far as can be seen without reading a byte more than the connection holds anyway.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if !state.body_is_over() {
            // Whoever reads the body sees it.
            match &mut state.waiting {
                Some(waiting) => waiting.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        if !state.reader.buffer.is_empty() || !state.body.is_done() {
            return Poll::Pending;
        }
        match ready!(state.poll_read(cx)) {
            Ok(0) => Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
            // The next request; it waits for its turn.
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }
    }

    fn poll_send<B>(&self, outgoing: &mut Outgoing, body: &mut B, cx: &mut Context<'_>) -> Poll<Sent>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        loop {
            self.is_polling.set(true);
            let filled = outgoing.poll_fill(self, body, cx);
            self.is_polling.set(false);
            let written = self.state.borrow_mut().poll_write(cx);
            match (written, filled) {
                (Poll::Ready(Err(error)), _) => return Poll::Ready(Sent::Gone(error)),
                // What came before has left, as far as the socket takes it.
                (_, Filled::Broken(error)) => return Poll::Ready(Sent::Broken(error)),
                (Poll::Ready(Ok(())), Filled::Over) => return Poll::Ready(Sent::All),
                (Poll::Ready(Ok(())), Filled::Full) => {}
                (Poll::Pending, _) | (Poll::Ready(Ok(())), Filled::Pending) => {
                    return self.poll_gone(cx).map(Sent::Gone);
                }
            }
        }
    }
}

impl<IO> Drop for Server<IO> {
    fn drop(&mut self) {
        self.shared.close(None);
    }
}

impl<IO> fmt::Debug for Interim<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interim").finish_non_exhaustive()
    }
}

impl<IO> fmt::Debug for Server<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
