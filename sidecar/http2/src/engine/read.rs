//! What holders take: heads, data, trailers; and what happens when they let go of a stream.

use super::stream::{self, Chunks, Key, Receiving};
use super::{Engine, Role};
use crate::error::{Error, ErrorCode};
use bytes::Bytes;
use http::{HeaderMap, Response};
use std::task::{Context, Poll};

impl Engine {
    /// The response's head, once.
    ///
    /// # Errors
    /// Why there will be none.
    pub(crate) fn poll_response(
        &mut self,
        key: Key,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Error>> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(Err(Error::Closed)) };
        if let Some(interim) = &mut stream.interim
            && let Some(head) = interim.waiting.pop_front()
        {
            return Poll::Ready(Ok(head));
        }
        if let Some(head) = stream.head.take() {
            return Poll::Ready(Ok(head));
        }
        if let Some(failure) = &stream.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        stream::wait(&mut stream.reader, cx.waker());
        Poll::Pending
    }

    /// The next chunk of data; nothing once all was taken. Whoever takes one says with [`Engine::release`] when it needs
    /// no more memory.
    ///
    /// # Errors
    /// Why the rest will not come. What came before is taken first.
    pub(crate) fn poll_data(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(Some(Err(Error::Closed))) };
        if let Some(data) = stream.received.pop() {
            return Poll::Ready(Some(Ok(data)));
        }
        if stream.receiving == Receiving::Ended {
            return Poll::Ready(None);
        }
        if let Some(failure) = &stream.failure {
            return Poll::Ready(Some(Err(failure.clone())));
        }
        stream::wait(&mut stream.reader, cx.waker());
        Poll::Pending
    }

    /// The trailers, once all data was taken; nothing if there are none.
    ///
    /// # Errors
    /// Why they will not come.
    pub(crate) fn poll_trailers(
        &mut self,
        key: Key,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, Error>> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(Err(Error::Closed)) };
        if stream.receiving == Receiving::Ended {
            return Poll::Ready(Ok(stream.trailers.take()));
        }
        if let Some(failure) = &stream.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        stream::wait(&mut stream.reader, cx.waker());
        Poll::Pending
    }

    /// Whether the message has ended and all of it was taken.
    pub(crate) fn is_end_stream(&self, key: Key) -> bool {
        self.streams.get(key).is_none_or(|stream| {
            stream.receiving == Receiving::Ended && stream.received.is_empty() && stream.trailers.is_none()
        })
    }

    /// So many bytes that were taken need no more memory: the other side may send as many again.
    pub(crate) fn release(&mut self, key: Key, bytes: usize) {
        self.taken(Some(key), u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Nobody will take the rest of the message: it need not be kept.
    pub(crate) fn stop_reading(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.is_read = false;
        stream.trailers = None;
        let unread = std::mem::take(&mut stream.received);
        if !unread.is_empty() {
            let bytes = Chunks::bytes(&unread);
            self.taken(None, u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    /// Another holder.
    pub(crate) fn hold(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.handles += 1;
        }
    }

    /// A holder less. A stream that nobody holds and that is not over is given up: with CANCEL, or with NO_ERROR if we
    /// have answered and want no more of the request (RFC 9113 §8.1).
    pub(crate) fn let_go(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.handles = stream.handles.saturating_sub(1);
        if stream.handles > 0 {
            return;
        }
        let has_said_all = stream.has_said_all();
        let has_heard_all = stream.receiving == Receiving::Ended;
        let is_over = stream.is_over() || (has_said_all && has_heard_all);
        if !is_over {
            let has_answered = self.role == Role::Server && has_said_all;
            if has_answered && !stream.queue.is_empty() {
                // The rest of the answer goes first; then the stream is looked at again.
                return;
            }
            let code = if has_answered { ErrorCode::NO_ERROR } else { ErrorCode::CANCEL };
            self.send_reset(key, code);
        }
        self.streams.forget_if_gone(key);
    }
}
