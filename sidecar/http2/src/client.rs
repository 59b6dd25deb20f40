//! The client's end of a connection.

use crate::config::Config;
use crate::connection::{Driver, Shared};
use crate::engine::Role;
use crate::error::Error;
use crate::pulse::Pulse;
use crate::streams::{Handle, RecvStream, SendStream};
use http::{Request, Response};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// Begins a connection. Nothing is written before its future is polled; requests may be sent at once.
pub fn connect<IO: AsyncRead + AsyncWrite + Unpin>(io: IO, config: Config) -> (Opener, Client<IO>) {
    let client = Client(Driver::new(io, Role::Client, config));
    let engine = client.0.engine().clone();
    engine.borrow_mut().add_opener();
    (Opener(engine), client)
}

/// The connection: a future that reads and writes as long as it is polled, and is ready when the connection is over:
/// closed by the other side, or no longer needed by anyone. Dropped, it fails all of its streams.
#[derive(Debug)]
#[must_use = "a connection does nothing unless it is polled"]
pub struct Client<IO>(Driver<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Client<IO> {
    /// Whether the other side is alive.
    pub fn pulse(&self) -> Pulse {
        Pulse::new(self.0.engine().clone())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Client<IO> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let driver = &mut self.get_mut().0;
        ready!(driver.poll(cx));
        Poll::Ready(match driver.engine().borrow().failure() {
            Some(Error::Closed) | None => Ok(()),
            Some(failure) => Err(failure.clone()),
        })
    }
}

/// Opens streams. The connection ends when the last of its openers is dropped and its streams are over.
pub struct Opener(Shared);

impl Opener {
    /// Whether another request may be sent: not after the connection's end or the other side's GOAWAY.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().takes_requests()
    }

    /// Sends a request that has no body.
    ///
    /// # Errors
    /// [`Error::NotOpened`], [`Error::Unsendable`]; nothing was sent.
    pub fn send(&self, request: Request<()>) -> Result<ResponseFuture, Error> {
        let key = self.0.borrow_mut().open(request, true)?;
        let handle = Handle { engine: self.0.clone(), key };
        Ok(ResponseFuture(RecvStream(Some(handle))))
    }

    /// Sends the head of a request whose body follows.
    ///
    /// # Errors
    /// As [`Opener::send`].
    pub fn send_head(&self, request: Request<()>) -> Result<(ResponseFuture, SendStream), Error> {
        let key = self.0.borrow_mut().open(request, false)?;
        let handle = Handle { engine: self.0.clone(), key };
        let send = SendStream(handle.clone());
        Ok((ResponseFuture(RecvStream(Some(handle))), send))
    }
}

impl Clone for Opener {
    fn clone(&self) -> Self {
        self.0.borrow_mut().add_opener();
        Self(self.0.clone())
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.borrow_mut().remove_opener();
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

/// Waits for the head of a response. Dropped before, it wants none. Awaited, it passes over interim ones.
#[derive(Debug)]
#[must_use = "without it nobody wants the response"]
pub struct ResponseFuture(RecvStream);

/// The head of a response.
#[derive(Debug)]
pub enum Head {
    /// With a status of 1xx; another follows (RFC 9110 §15.2).
    Interim(Response<()>),
    /// The response.
    Last(Response<RecvStream>),
}

impl ResponseFuture {
    /// The next head.
    ///
    /// # Errors
    /// Why none will come.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Error>> {
        let receive = &mut self.0;
        let Some(stream) = &receive.0 else { return Poll::Ready(Err(Error::Closed)) };
        let mut engine = stream.engine.borrow_mut();
        let head = ready!(engine.poll_response(stream.key, cx))?;
        if head.status().is_informational() {
            return Poll::Ready(Ok(Head::Interim(head)));
        }
        let is_over = engine.is_end_stream(stream.key);
        drop(engine);
        let stream = receive.0.take();
        // A stream that has nothing more to give need not be held.
        Poll::Ready(Ok(Head::Last(head.map(|()| RecvStream(stream.filter(|_| !is_over))))))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<RecvStream>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Head::Last(response) = ready!(this.poll_head(cx))? {
                return Poll::Ready(Ok(response));
            }
        }
    }
}
