//! Header blocks become messages: requests that arrive, responses and trailers for those who wait for them
//! (RFC 9113 §8.1). Every block is decoded, whoever wants it, since the next ones refer to it.

use super::stream::{Receiving, Sending, Stream};
use super::{Arrived, Block, Engine, Key, Role};
use crate::error::{ErrorCode, Reach, Violation};
use crate::frame::{END_HEADERS, END_STREAM, Header, PRIORITY};
use crate::head::{BodyLength, Section};
use crate::hpack::Malformed;
use http::StatusCode;

/// Responses with a status of 1xx before the final one (RFC 9110 §15.2).
const INTERIM_MAX: u32 = 32;

/// Streams that are reset before anybody took the request, beyond what answered requests make up for.
const EARLY_RESETS_MAX: u32 = 100;

/// Frames of one header block, however small they are.
const BLOCK_FRAMES_MAX: usize = 64;

/// Fields that are added on a request's way through us; the map need not grow for them.
const FIELDS_ADDED: usize = 4;

/// The map of a message's fields is made for so many at most before they are seen.
const FIELDS_EXPECTED_MAX: usize = 24;

impl Engine {
    /// HEADERS (RFC 9113 §6.2).
    pub(super) fn headers(&mut self, header: Header, payload: &[u8]) -> Result<(), Reach> {
        let mut block = header.unpadded(payload).map_err(Reach::Connection)?;
        if header.has(PRIORITY) {
            block = block.get(5..).ok_or(Reach::Connection(Violation::FrameSize))?;
        }
        let ends = header.has(END_STREAM);
        if header.has(END_HEADERS) {
            return self.section(header.stream, ends, block);
        }
        self.block = Some(Block { stream: header.stream, ends, bytes: block.to_vec(), frames: 1 });
        Ok(())
    }

    /// CONTINUATION (RFC 9113 §6.10).
    pub(super) fn continuation(&mut self, header: Header, payload: &[u8]) -> Result<(), Reach> {
        let Some(block) = &mut self.block else {
            return Err(Reach::Connection(Violation::StrayContinuation));
        };
        if block.stream != header.stream {
            return Err(Reach::Connection(Violation::Continuation));
        }
        block.frames += 1;
        let bytes_max = 2 * self.config.head_bytes as usize;
        if block.frames > BLOCK_FRAMES_MAX || block.bytes.len() + payload.len() > bytes_max {
            return Err(Reach::Connection(Violation::EndlessBlock));
        }
        block.bytes.extend_from_slice(payload);
        if !header.has(END_HEADERS) {
            return Ok(());
        }
        match self.block.take() {
            Some(block) => self.section(block.stream, block.ends, &block.bytes),
            None => Ok(()),
        }
    }

    /// A whole header section.
    fn section(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Reach> {
        let mut section = Section::new(self.fields + FIELDS_ADDED, self.config.head_bytes as usize);
        self.decoder
            .decode(block, &mut section)
            .map_err(|error| Reach::Connection(Violation::Hpack(error)))?;
        match self.streams.find(id) {
            None if self.role == Role::Server => self.request(id, ends, section),
            // Its head, or its trailers, after we have reset it.
            None if self.streams.was_opened(id) => self.after_the_end(id),
            None => Err(Reach::Connection(Violation::IdleStream)),
            Some(key) => match self.streams.get(key).map(|stream| stream.receiving) {
                Some(Receiving::Head) => self.response(key, id, ends, section),
                Some(Receiving::Body) => self.trailers(key, id, ends, section),
                Some(Receiving::Ended) => Err(Reach::Stream(id, Violation::ClosedStream)),
                None => Ok(()),
            },
        }
    }

    fn after_the_end(&self, id: u32) -> Result<(), Reach> {
        match self.streams.was_reset(id) {
            true => Ok(()),
            false => Err(Reach::Connection(Violation::ClosedStream)),
        }
    }

    /// A request, on a stream that it opens.
    fn request(&mut self, id: u32, ends: bool, section: Section) -> Result<(), Reach> {
        if self.streams.was_opened(id) && self.streams.was_reset(id) {
            return Ok(());
        }
        if self.going_away.is_final() && !self.streams.was_opened(id) {
            // It is told so already.
            return Ok(());
        }
        if !self.streams.peer_uses(id) {
            let violation = match self.streams.was_opened(id) {
                true => Violation::ClosedStream,
                false => Violation::StreamId,
            };
            return Err(Reach::Connection(violation));
        }
        if self.output.is_overfull() {
            return Err(Reach::Connection(Violation::Unread));
        }
        // Streams that are over count as long as somebody works on them, but do not keep new ones out at once.
        let most = self.config.streams_max as usize;
        if self.streams.open() >= most || self.streams.kept() >= 2 * most {
            return Err(Reach::Stream(id, Violation::TooManyStreams));
        }
        self.fields = section.count().min(FIELDS_EXPECTED_MAX);
        let malformed = |why| Reach::Stream(id, Violation::Malformed(why));
        let (request, length) = section.request().map_err(malformed)?;
        let body = body(length, ends).map_err(malformed)?;
        let receiving = if ends { Receiving::Ended } else { Receiving::Body };
        let mut stream = Stream::new(id, receiving, self.config.stream_window, self.peer.initial_window);
        stream.awaited = body;
        // Whoever takes the request.
        stream.handles = 1;
        let key = self.streams.insert(stream);
        self.arrived.push_back(Arrived { key, request });
        Ok(())
    }

    /// A stream has ended before its request was taken: nobody needs to.
    pub(super) fn forget_arrived(&mut self, key: Key) -> Result<(), Reach> {
        // The newest ones are those that are reset so early, and few are there at any time.
        let Some(place) = self.arrived.iter().rposition(|arrived| arrived.key == key) else { return Ok(()) };
        self.arrived.remove(place);
        self.stop_reading(key);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.handles = stream.handles.saturating_sub(1);
        }
        self.streams.forget_if_gone(key);
        self.suspicion.early_resets += 1;
        match self.suspicion.early_resets > EARLY_RESETS_MAX {
            true => Err(Reach::Connection(Violation::RapidReset)),
            false => Ok(()),
        }
    }

    /// A response's head.
    fn response(&mut self, key: Key, id: u32, ends: bool, section: Section) -> Result<(), Reach> {
        self.fields = section.count().min(FIELDS_EXPECTED_MAX);
        let malformed = |why| Reach::Stream(id, Violation::Malformed(why));
        let (response, length) = section.response().map_err(malformed)?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let status = response.status();
        if status.is_informational() {
            if ends || status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(malformed(Malformed::Status));
            }
            let interim = stream.interim.get_or_insert_default();
            interim.seen += 1;
            if interim.seen > INTERIM_MAX {
                return Err(Reach::Stream(id, Violation::EndlessInterim));
            }
            interim.waiting.push_back(response);
            stream.wake_reader();
            return Ok(());
        }
        // These say how long the body would be, and have none (RFC 9110 §8.6, §15.4.5).
        let has_none =
            stream.is_head_request || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = if has_none { Some(0) } else { length };
        stream.awaited = body(length, ends).map_err(malformed)?;
        stream.head = Some(response);
        stream.receiving = if ends { Receiving::Ended } else { Receiving::Body };
        stream.wake_reader();
        if ends {
            self.settle(key);
        }
        Ok(())
    }

    fn trailers(&mut self, key: Key, id: u32, ends: bool, section: Section) -> Result<(), Reach> {
        let malformed = |why| Reach::Stream(id, Violation::Malformed(why));
        if !ends {
            return Err(malformed(Malformed::SecondHead));
        }
        let trailers = section.trailers().map_err(malformed)?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.awaited.is_some_and(|awaited| awaited > 0) {
            return Err(malformed(Malformed::BodyLength));
        }
        stream.receiving = Receiving::Ended;
        if stream.is_read {
            stream.trailers = Some(trailers);
        }
        stream.wake_reader();
        self.settle(key);
        Ok(())
    }

    /// A stream may be over now: it counts no more, and a request that waits may take its place.
    pub(super) fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        if !stream.is_over() {
            let is_answered = self.role == Role::Server && matches!(stream.sending, Sending::Ended);
            if is_answered && stream.handles == 0 {
                // Nobody wants the rest of the request (RFC 9113 §8.1).
                self.send_reset(key, ErrorCode::NO_ERROR);
            }
            return;
        }
        if stream.failure.is_none() {
            let suspicion = &mut self.suspicion;
            suspicion.empty_frames = suspicion.empty_frames.saturating_sub(1);
            suspicion.early_resets = suspicion.early_resets.saturating_sub(1);
            suspicion.violations = suspicion.violations.saturating_sub(1);
        }
        self.unlist(key);
        self.streams.closed(key);
        self.streams.forget_if_gone(key);
        // A request may take its place, or the connection end.
        if !self.waiting.is_empty() || self.going_away.is_any() || self.openers == 0 {
            self.wake();
        }
    }
}

/// What is still to come of a body.
fn body(length: BodyLength, ends: bool) -> Result<BodyLength, Malformed> {
    match length {
        Some(1..) if ends => Err(Malformed::BodyLength),
        length => Ok(length),
    }
}
