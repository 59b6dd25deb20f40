//! The server's end of a connection.

use crate::config::Config;
use crate::connection::{Driver, Looked};
use crate::engine::Role;
use crate::error::Error;
use crate::pulse::Pulse;
use crate::streams::{Handle, RecvStream, SendStream};
use http::{Request, Response};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// A request, and where it is answered.
pub type Accepted = (Request<RecvStream>, Responder);

/// Begins a connection.
pub fn serve<IO: AsyncRead + AsyncWrite + Unpin>(io: IO, config: Config) -> Server<IO> {
    Server(Driver::new(io, Role::Server, config))
}

/// The connection, which gives out requests. It reads and writes when it is asked for the next one. Dropped, it fails all
/// of its streams.
#[derive(Debug)]
pub struct Server<IO>(Driver<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Server<IO> {
    /// Waits until the client has said what a connection begins with; not for a request.
    ///
    /// # Errors
    /// How it ended before.
    pub fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.0.engine().borrow().has_begun() {
            return Poll::Ready(Ok(()));
        }
        let looked = self.0.poll(cx);
        let engine = self.0.engine().borrow();
        match looked {
            _ if engine.has_begun() => Poll::Ready(Ok(())),
            Poll::Ready(_) => Poll::Ready(Err(engine.failure().cloned().unwrap_or(Error::Closed))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The next request; nothing once the connection is over. To be called until it is pending,
    /// as that is when answers are written.
    ///
    /// # Errors
    /// How the connection ended, if not as it should.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, Error>>> {
        loop {
            let next = self.0.engine().borrow_mut().accept();
            if let Some((key, request)) = next {
                let handle = Handle { engine: self.0.engine().clone(), key };
                let is_whole = handle.engine.borrow().is_end_stream(key);
                let receive = RecvStream((!is_whole).then(|| handle.clone()));
                return Poll::Ready(Some(Ok((request.map(|()| receive), Responder(handle)))));
            }
            match self.0.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Looked::Arrived) => {}
                Poll::Ready(Looked::Over) => {
                    return Poll::Ready(match self.0.engine().borrow().failure() {
                        Some(Error::Closed) | None => None,
                        Some(failure) => Some(Err(failure.clone())),
                    });
                }
            }
        }
    }

    /// Takes no more requests than are under way, and ends once they are answered.
    pub fn shut_down(&mut self) {
        self.0.engine().borrow_mut().shut_down();
    }

    /// Whether the client is alive.
    pub fn pulse(&self) -> Pulse {
        Pulse::new(self.0.engine().clone())
    }
}

/// Where interim responses to a request are sent. A holder of its stream, as a responder is.
#[derive(Debug)]
pub struct Interim(Handle);

impl Interim {
    /// Sends an interim response: one with a status of 1xx but 101. It is left out where the answer has begun, the stream
    /// has ended, or so much waits to be written that the client seems not to read.
    pub fn send(&self, response: &Response<()>) {
        self.0.engine.borrow_mut().respond_before(self.0.key, response);
    }
}

/// Where a request is answered. Dropped unanswered, its stream is reset.
#[derive(Debug)]
pub struct Responder(Handle);

impl Responder {
    /// Sends an answer that has no body.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub fn send(self, response: &Response<()>) -> Result<(), Error> {
        self.0.engine.borrow_mut().respond(self.0.key, response, true)
    }

    /// Sends the head of an answer whose body follows.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub fn send_head(self, response: &Response<()>) -> Result<SendStream, Error> {
        self.0.engine.borrow_mut().respond(self.0.key, response, false)?;
        Ok(SendStream(self.0))
    }

    /// Where what comes before the answer is sent.
    pub fn interim(&self) -> Interim {
        Interim(self.0.clone())
    }

    /// Waits until the client gives the request up, or the connection ends.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.0.engine.borrow_mut().poll_reset(self.0.key, cx)
    }
}
