//! What holders send: heads, data, trailers, resets. A head is encoded at once, in the order in which heads are sent, which
//! is the order their tables need; data that fits the windows and the output too. The rest waits in its stream's queue and
//! is written in turns, a frame of each stream.

use super::stream::{self, Key, Receiving, Sending, Stream, Then};
use super::{Engine, Role};
use crate::error::{Error, ErrorCode, Violation};
use crate::frame::{self, FRAME_MAX, HEADER_BYTES};
use crate::head;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use std::task::{Context, Poll};

impl Engine {
    /// Opens a stream with a request; it has one holder then. If the other side takes no more at present, it waits.
    ///
    /// # Errors
    /// [`Error::NotOpened`], or [`Error::Unsendable`]; nothing was sent.
    pub(crate) fn open(&mut self, request: Request<()>, ends: bool) -> Result<Key, Error> {
        if !self.takes_requests() {
            return Err(Error::NotOpened);
        }
        head::check_request(&request).map_err(Error::Unsendable)?;
        let mut stream = Stream::new(0, Receiving::Head, self.config.stream_window, self.peer.initial_window);
        stream.is_head_request = request.method() == Method::HEAD;
        stream.handles = 1;
        stream.then = if ends { Then::End } else { Then::More };
        if self.may_open() {
            let key = self.streams.insert(stream);
            self.write_request(key, &request);
            return Ok(key);
        }
        stream.sending = Sending::Waiting(Box::new(request));
        let key = self.streams.insert(stream);
        self.waiting.push_back(key);
        Ok(key)
    }

    fn may_open(&self) -> bool {
        self.waiting.is_empty() && self.has_place()
    }

    fn has_place(&self) -> bool {
        self.streams.open() < self.peer.streams_max as usize
    }

    /// Opens the streams of requests that wait, as many as the other side takes.
    pub(super) fn open_waiting(&mut self) {
        while self.role == Role::Client && self.failure.is_none() && self.has_place() {
            let Some(key) = self.waiting.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.credit = i64::from(self.peer.initial_window);
            if let Sending::Waiting(request) = std::mem::replace(&mut stream.sending, Sending::Open) {
                self.write_request(key, &request);
                self.make_ready(key);
                if self.streams.get(key).is_some_and(|stream| stream.queue.is_empty()) {
                    self.write_trailers(key);
                }
            }
        }
    }

    fn write_request(&mut self, key: Key, request: &Request<()>) {
        let Some(id) = self.streams.next_of_ours() else {
            return self.fail_stream(key, Error::NotOpened);
        };
        self.streams.opened(key, id);
        let encoder = &mut self.encoder;
        let output = self.output.bytes();
        let start = output.len();
        output.extend_from_slice(&[0; HEADER_BYTES]);
        head::encode_request(request, encoder, output);
        self.finish_head(key, start);
        if self.output.is_overfull() {
            self.break_off(Violation::Unread);
        }
    }

    /// Sends a response's head.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) fn respond(&mut self, key: Key, response: &Response<()>, ends: bool) -> Result<(), Error> {
        let stream = self.writable(key)?;
        stream.then = if ends { Then::End } else { Then::More };
        stream.is_answered = true;
        self.write_response(key, response);
        Ok(())
    }

    /// Sends the head of an interim response, unless the response itself has begun or the other side does not read.
    pub(crate) fn respond_before(&mut self, key: Key, response: &Response<()>) {
        let has_room = self.output.room() > 0;
        match self.writable(key) {
            Ok(stream) if has_room && !stream.is_answered => self.write_response(key, response),
            Ok(_) | Err(_) => {}
        }
    }

    fn write_response(&mut self, key: Key, response: &Response<()>) {
        let start = self.output.bytes().len();
        self.output.bytes().extend_from_slice(&[0; HEADER_BYTES]);
        head::encode_response(response, &mut self.encoder, self.output.bytes());
        self.finish_head(key, start);
    }

    /// Makes frames of the header block that was appended from `start` on.
    fn finish_head(&mut self, key: Key, start: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let ends = matches!(stream.then, Then::End) && stream.queue.is_empty();
        frame::finish_headers(self.output.bytes(), start, FRAME_MAX, ends, stream.id);
        if ends {
            stream.sending = Sending::Ended;
            self.settle(key);
        }
        self.wake();
    }

    /// A stream on which more may be sent.
    fn writable(&mut self, key: Key) -> Result<&mut Stream, Error> {
        let stream = self.streams.get_mut(key).ok_or(Error::Closed)?;
        match &stream.failure {
            Some(failure) => Err(failure.clone()),
            None if stream.has_said_all() => Err(Error::Unsendable("it has ended already")),
            None => Ok(stream),
        }
    }

    /// Sends data, now or when the windows allow.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) fn send_data(&mut self, key: Key, data: Bytes, ends: bool) -> Result<(), Error> {
        let room = self.output.room();
        let credit = usize::try_from(self.flow.credit).unwrap_or(0);
        let is_free = self.flow.ready.is_empty();
        let stream = self.writable(key)?;
        if ends {
            stream.then = Then::End;
        }
        if data.is_empty() && !ends {
            return Ok(());
        }
        let allowed = credit.min(usize::try_from(stream.credit).unwrap_or(0));
        let is_open = matches!(stream.sending, Sending::Open) && stream.queue.is_empty();
        let fits = data.is_empty() || (is_free && data.len() <= FRAME_MAX.min(room).min(allowed));
        if is_open && fits {
            self.write_data(key, &data);
            self.wake();
            return Ok(());
        }
        if data.is_empty() {
            // It goes with what is queued.
            return Ok(());
        }
        let bytes = data.len();
        stream.queued += bytes;
        stream.queue.push(data);
        self.flow.queued += bytes;
        self.make_ready(key);
        self.wake();
        Ok(())
    }

    /// Sends trailers, after what is queued.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) fn send_trailers(&mut self, key: Key, trailers: HeaderMap) -> Result<(), Error> {
        let stream = self.writable(key)?;
        stream.then = Then::Trailers(Box::new(trailers));
        if stream.queue.is_empty() && matches!(stream.sending, Sending::Open) {
            self.write_trailers(key);
        }
        self.wake();
        Ok(())
    }

    fn write_trailers(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !matches!(stream.then, Then::Trailers(_)) {
            return;
        }
        let Then::Trailers(trailers) = std::mem::replace(&mut stream.then, Then::End) else { return };
        let start = self.output.bytes().len();
        self.output.bytes().extend_from_slice(&[0; HEADER_BYTES]);
        head::encode_trailers(&trailers, &mut self.encoder, self.output.bytes());
        self.finish_head(key, start);
    }

    /// Writes one DATA frame, which ends the stream if nothing follows it.
    fn write_data(&mut self, key: Key, data: &[u8]) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let is_last = stream.queue.is_empty();
        let ends = is_last && matches!(stream.then, Then::End);
        frame::data(self.output.bytes(), stream.id, data, ends);
        let bytes = i64::try_from(data.len()).unwrap_or(i64::MAX);
        stream.credit -= bytes;
        self.flow.credit -= bytes;
        if ends {
            stream.sending = Sending::Ended;
            self.settle(key);
        } else if is_last {
            self.write_trailers(key);
        }
    }

    /// Moves queued data to the output, as long as the output and the connection's window have room: a frame of each
    /// stream in turn.
    pub(crate) fn transmit(&mut self) {
        self.open_waiting();
        while self.flow.credit > 0 && self.output.room() > 0 {
            let Some(key) = self.flow.ready.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.is_ready = false;
            let most = stream.credit.min(self.flow.credit);
            let most = usize::try_from(most).unwrap_or(0).min(FRAME_MAX);
            if let Some(data) = stream.queue.take(most) {
                stream.queued = stream.queued.saturating_sub(data.len());
                self.flow.queued = self.flow.queued.saturating_sub(data.len());
                stream.wake_writer();
                self.write_data(key, &data);
                self.make_ready(key);
            }
        }
    }

    /// Resets a stream, if it is not over.
    pub(crate) fn send_reset(&mut self, key: Key, code: ErrorCode) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.is_over() {
            return;
        }
        let id = stream.id;
        if id > 0 && self.failure.is_none() {
            frame::reset(self.output.bytes(), id, code);
            self.streams.note_reset(id);
            self.wake();
        }
        self.fail_stream(key, Error::Cancelled(code));
    }

    /// A stream has ended before its time. What has come stays for its reader, what is queued goes.
    pub(super) fn fail_stream(&mut self, key: Key, error: Error) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.is_over() {
            return;
        }
        let was_waiting = matches!(stream.sending, Sending::Waiting(_));
        stream.failure = Some(error);
        stream.sending = Sending::Ended;
        stream.queue = stream::Chunks::default();
        let queued = std::mem::take(&mut stream.queued);
        self.flow.queued = self.flow.queued.saturating_sub(queued);
        // The writer first: it drops what the reader would otherwise find broken.
        stream.wake_writer();
        stream.wake_reader();
        if was_waiting {
            self.waiting.retain(|waiting| *waiting != key);
        }
        self.unlist(key);
        if queued > 0 {
            self.feed();
        }
        self.settle(key);
    }

    /// How many bytes may be queued on a stream; waits while there are none.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) fn poll_room(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        let room = match self.writable(key) {
            Ok(_) => self.streams.get(key).map_or(0, |stream| self.room(stream)),
            Err(error) => return Poll::Ready(Err(error)),
        };
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        let starves = i64::try_from(self.flow.queued).unwrap_or(i64::MAX) >= self.flow.credit;
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(Err(Error::Closed)) };
        stream::wait(&mut stream.writer, cx.waker());
        if starves && !stream.is_starved {
            stream.is_starved = true;
            self.flow.starved.push_back(key);
        }
        Poll::Pending
    }

    /// Waits until a stream has ended before its time.
    pub(crate) fn poll_reset(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(Error::Closed) };
        if let Some(failure) = &stream.failure {
            return Poll::Ready(failure.clone());
        }
        stream::wait(&mut stream.writer, cx.waker());
        Poll::Pending
    }
}
