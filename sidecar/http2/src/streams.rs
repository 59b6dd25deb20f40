//! The ends of a stream, for those who send and take bodies. A stream that is let go of by all of its holders before it
//! is over is reset.

use crate::connection::Shared;
use crate::engine::Key;
use crate::error::{Error, ErrorCode};
use bytes::Bytes;
use http::HeaderMap;
use std::fmt;
use std::task::{Context, Poll};

/// One holder of a stream.
pub(crate) struct Handle {
    pub(crate) engine: Shared,
    pub(crate) key: Key,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        self.engine.borrow_mut().hold(self.key);
        Self { engine: self.engine.clone(), key: self.key }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.engine.borrow_mut().let_go(self.key);
    }
}

/// The end of a stream that sends.
#[derive(Debug)]
pub struct SendStream(pub(crate) Handle);

impl SendStream {
    /// Sends data; with `ends` it is the last. What the windows do not allow yet is queued, so ask for
    /// [room](Self::poll_room) before more than a little is sent.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub fn send_data(&mut self, data: Bytes, ends: bool) -> Result<(), Error> {
        self.0.engine.borrow_mut().send_data(self.0.key, data, ends)
    }

    /// Sends trailers, which end the stream.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), Error> {
        self.0.engine.borrow_mut().send_trailers(self.0.key, trailers)
    }

    /// Resets the stream, if it is not over.
    pub fn send_reset(&mut self, code: ErrorCode) {
        self.0.engine.borrow_mut().send_reset(self.0.key, code);
    }

    /// How many bytes the windows and our own bound allow to queue now; waits until there are some.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        self.0.engine.borrow_mut().poll_room(self.0.key, cx)
    }

    /// Waits until the stream has ended before its time. One task at a time may wait for this or for room.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.0.engine.borrow_mut().poll_reset(self.0.key, cx)
    }
}

/// The end of a stream that takes. A message without a body has none.
#[derive(Debug)]
pub struct RecvStream(pub(crate) Option<Handle>);

impl RecvStream {
    /// The next chunk of data; nothing after the last. Whoever takes one says with [`release`](Self::release) when the
    /// other side may send as much again.
    ///
    /// # Errors
    /// Why the rest will not come: what was taken is not all, whatever the code.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        match &self.0 {
            Some(stream) => stream.engine.borrow_mut().poll_data(stream.key, cx),
            None => Poll::Ready(None),
        }
    }

    /// The trailers, if there are any, once there is no more data.
    ///
    /// # Errors
    /// Why they will not come.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Error>> {
        match &self.0 {
            Some(stream) => stream.engine.borrow_mut().poll_trailers(stream.key, cx),
            None => Poll::Ready(Ok(None)),
        }
    }

    /// So many bytes of what was taken need no more memory here.
    pub fn release(&mut self, bytes: usize) {
        if let Some(stream) = &self.0 {
            stream.engine.borrow_mut().release(stream.key, bytes);
        }
    }

    /// Whether all of the message was taken.
    pub fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|stream| stream.engine.borrow().is_end_stream(stream.key))
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            stream.engine.borrow_mut().stop_reading(stream.key);
        }
    }
}
