//! What has come, frame by frame: whole frames are taken off the input and each goes where its type is dealt with. What a
//! frame may be is decided here, what it means for a message in `messages`, for windows in `flow`.

use super::going_away::LAST_WORDS;
use super::stream::Receiving;
use super::{Begun, Engine, Role};
use crate::error::{Error, ErrorCode, Reach, Violation};
use crate::frame::{self, ACK, FRAME_MAX, HEADER_BYTES, Header, Kind, PREFACE};
use crate::hpack::Malformed;
use bytes::{Buf, Bytes, BytesMut};

/// What our PING for a sign of life says.
pub(super) const SIGN_OF_LIFE: [u8; 8] = *b"alive?!?";

/// DATA of this many bytes is handed out as part of the input; less is copied, so that a few bytes that nobody takes do
/// not hold the whole input in memory.
const SLICED_MIN: usize = 4 * 1024;

/// Frames of nothing in a row, beyond what answered requests make up for.
const EMPTY_MAX: u32 = 100;

/// Streams that broke the protocol, beyond what answered requests make up for.
const VIOLATIONS_MAX: u32 = 100;

impl Engine {
    /// Takes whole frames off `input` and acts on them. What is left there is part of a frame, less than 17 KiB.
    pub(crate) fn receive(&mut self, input: &mut BytesMut) {
        self.heard = true;
        while self.failure.is_none() {
            match self.next(input) {
                Ok(true) => {}
                Ok(false) => return,
                Err(Reach::Connection(violation)) => self.break_off(violation),
                Err(Reach::Stream(id, violation)) => self.break_stream(id, violation),
            }
        }
        input.clear();
    }

    /// Acts on the next frame. Returns whether there was one.
    fn next(&mut self, input: &mut BytesMut) -> Result<bool, Reach> {
        if let Begun::Preface(seen) = self.begun {
            let rest = PREFACE.get(seen..).unwrap_or_default();
            let here = rest.len().min(input.len());
            if input.get(..here) != rest.get(..here) {
                return Err(Reach::Connection(Violation::Preface));
            }
            input.advance(here);
            if here < rest.len() {
                self.begun = Begun::Preface(seen + here);
                return Ok(false);
            }
            self.begun = Begun::BeforeSettings;
        }
        let Some(header) = Header::parse(input) else { return Ok(false) };
        if self.begun == Begun::BeforeSettings && (header.kind != Kind::Settings || header.has(ACK)) {
            return Err(Reach::Connection(Violation::SettingsFirst));
        }
        if header.length > FRAME_MAX {
            return Err(Reach::Connection(Violation::FrameTooLarge));
        }
        let end = HEADER_BYTES + header.length;
        if input.len() < end {
            return Ok(false);
        }
        if header.kind == Kind::Data && header.length >= SLICED_MIN {
            let mut payload = input.split_to(end).freeze();
            payload.advance(HEADER_BYTES);
            self.data(header, payload)?;
            return Ok(true);
        }
        let payload = input.get(HEADER_BYTES..end).unwrap_or_default();
        let acted = self.act(header, payload);
        input.advance(end);
        acted?;
        Ok(true)
    }

    fn act(&mut self, header: Header, payload: &[u8]) -> Result<(), Reach> {
        let connection = |violation| Err(Reach::Connection(violation));
        if self.block.is_some() && header.kind != Kind::Continuation {
            return connection(Violation::Continuation);
        }
        match (header.kind, header.stream) {
            (Kind::Data | Kind::Headers | Kind::Priority | Kind::Reset | Kind::Continuation, 0) => {
                connection(Violation::StreamZero)
            }
            (Kind::Settings | Kind::Ping | Kind::GoAway, 1..) => connection(Violation::NotStreamZero),
            (Kind::Data, _) => self.data(header, Bytes::copy_from_slice(payload)),
            (Kind::Headers, _) => self.headers(header, payload),
            (Kind::Continuation, _) => self.continuation(header, payload),
            (Kind::Reset, id) => self.reset(id, payload),
            (Kind::WindowUpdate, id) => self.window_update(id, payload),
            (Kind::Settings, _) => self.settings(header, payload),
            (Kind::Ping, _) => self.pinged(header, payload),
            (Kind::GoAway, _) => self.told_to_go(payload),
            (Kind::PushPromise, _) => connection(Violation::Push),
            // Deprecated (§5.3.2), but its size counts (§6.3).
            (Kind::Priority, _) => match payload.len() {
                5 => Ok(()),
                _ => connection(Violation::FrameSize),
            },
            (Kind::Unknown, _) => Ok(()),
        }
    }

    /// DATA (§6.1).
    fn data(&mut self, header: Header, mut payload: Bytes) -> Result<(), Reach> {
        let id = header.stream;
        if id == 0 {
            return Err(Reach::Connection(Violation::StreamZero));
        }
        if self.block.is_some() {
            return Err(Reach::Connection(Violation::Continuation));
        }
        let ends = header.has(frame::END_STREAM);
        if header.length == 0 && !ends {
            self.suspicion.empty_frames += 1;
            if self.suspicion.empty_frames > EMPTY_MAX {
                return Err(Reach::Connection(Violation::EmptyFrames));
            }
        }
        // The padding counts (§6.9.1).
        let length = header.length as u32;
        self.flow.received(length)?;
        let Some(key) = self.streams.find(id) else {
            self.taken(None, length);
            self.on_unknown(id)?;
            return match self.streams.was_opened(id) && !self.streams.was_reset(id) {
                true => Err(Reach::Connection(Violation::ClosedStream)),
                false => Ok(()),
            };
        };
        if header.has(frame::PADDED) {
            let padded = payload.len();
            let data = header.unpadded(&payload).map_err(Reach::Connection)?.len();
            payload = payload.slice(1..1 + data);
            // Nobody takes the padding.
            self.taken(Some(key), (padded - data) as u32);
        }
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let verdict = match stream.receiving {
            Receiving::Head => Some(Violation::DataFirst),
            Receiving::Ended => Some(Violation::ClosedStream),
            Receiving::Body => {
                stream.window -= i64::from(length);
                (stream.window < 0).then_some(Violation::BeyondWindow)
            }
        };
        let bytes = payload.len() as u32;
        if let Some(violation) = verdict {
            self.taken(None, bytes);
            return Err(Reach::Stream(id, violation));
        }
        let is_fitting = match &mut stream.awaited {
            Some(awaited) => match awaited.checked_sub(u64::from(bytes)) {
                Some(rest) => {
                    *awaited = rest;
                    !ends || rest == 0
                }
                None => false,
            },
            None => true,
        };
        if !is_fitting {
            self.taken(None, bytes);
            return Err(Reach::Stream(id, Violation::Malformed(Malformed::BodyLength)));
        }
        if ends {
            stream.receiving = Receiving::Ended;
        }
        if stream.is_read {
            if bytes > 0 {
                stream.received.push(payload);
                self.suspicion.empty_frames = self.suspicion.empty_frames.saturating_sub(1);
            }
            stream.wake_reader();
        } else {
            self.taken(None, bytes);
        }
        if ends {
            self.settle(key);
        }
        Ok(())
    }

    /// A frame on a stream that is not there: ignored if we have reset the stream, as it was under way then, or if it was
    /// opened after we said that we take no more (§5.1, §6.8).
    pub(super) fn on_unknown(&mut self, id: u32) -> Result<(), Reach> {
        if !self.streams.was_opened(id) {
            let is_ignored = self.role == Role::Server && id % 2 == 1 && self.going_away.is_final();
            return if is_ignored { Ok(()) } else { Err(Reach::Connection(Violation::IdleStream)) };
        }
        Ok(())
    }

    /// RST_STREAM (§6.4).
    fn reset(&mut self, id: u32, payload: &[u8]) -> Result<(), Reach> {
        let code = match payload.first_chunk::<4>() {
            Some(code) if payload.len() == 4 => ErrorCode::from_wire(u32::from_be_bytes(*code)),
            _ => return Err(Reach::Connection(Violation::FrameSize)),
        };
        let Some(key) = self.streams.find(id) else { return self.on_unknown(id) };
        self.fail_stream(key, Error::Reset(code));
        self.forget_arrived(key)
    }

    /// SETTINGS (§6.5).
    fn settings(&mut self, header: Header, payload: &[u8]) -> Result<(), Reach> {
        if header.has(ACK) {
            return match payload.len() {
                0 => Ok(()),
                _ => Err(Reach::Connection(Violation::FrameSize)),
            };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(Reach::Connection(Violation::FrameSize));
        }
        if self.begun == Begun::BeforeSettings {
            self.begun = Begun::Yes;
            // Whoever sets no limit has none (§6.5.2).
            self.peer.streams_max = u32::MAX;
        }
        for setting in payload.chunks_exact(6) {
            if let [a, b, c, d, e, f] = setting {
                let (id, value) = (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f]));
                self.set(id, value).map_err(Reach::Connection)?;
            }
        }
        frame::settings_ack(self.output.bytes());
        self.answered(HEADER_BYTES)
    }

    fn set(&mut self, id: u16, value: u32) -> Result<(), Violation> {
        match id {
            1 => self.encoder.resize(value as usize),
            2 if value > 1 || (value == 1 && self.role == Role::Client) => return Err(Violation::Setting),
            3 => self.peer.streams_max = value,
            4 => {
                if value > (1 << 31) - 1 {
                    return Err(Violation::WindowOverflow);
                }
                let by = i64::from(value) - i64::from(self.peer.initial_window);
                self.peer.initial_window = value;
                self.shift_credit(by)?;
            }
            // Ours stay as they are: larger ones would only make others wait longer.
            5 if !(FRAME_MAX..1 << 24).contains(&(value as usize)) => return Err(Violation::Setting),
            // What they say is up to them, or for nobody (§6.5.2).
            _ => {}
        }
        Ok(())
    }

    /// PING (§6.7).
    fn pinged(&mut self, header: Header, payload: &[u8]) -> Result<(), Reach> {
        let payload: [u8; 8] = payload.try_into().map_err(|_| Reach::Connection(Violation::FrameSize))?;
        if !header.has(ACK) {
            frame::ping(self.output.bytes(), ACK, payload);
            return self.answered(HEADER_BYTES + 8);
        }
        match payload {
            SIGN_OF_LIFE => self.is_pinging = false,
            LAST_WORDS => self.heard_last_words(),
            _ => {}
        }
        Ok(())
    }

    /// An answer was written that the other side should read.
    pub(super) fn answered(&mut self, bytes: usize) -> Result<(), Reach> {
        match self.output.answered(bytes) {
            true => Err(Reach::Connection(Violation::Unread)),
            false => Ok(()),
        }
    }

    /// The other side broke the protocol on a stream: the stream ends.
    fn break_stream(&mut self, id: u32, violation: Violation) {
        if violation != Violation::TooManyStreams {
            self.suspicion.violations += 1;
            if self.suspicion.violations > VIOLATIONS_MAX {
                return self.break_off(Violation::Violations);
            }
        }
        frame::reset(self.output.bytes(), id, violation.code());
        if let Err(Reach::Connection(violation) | Reach::Stream(_, violation)) =
            self.answered(HEADER_BYTES + 4)
        {
            return self.break_off(violation);
        }
        self.streams.note_reset(id);
        if let Some(key) = self.streams.find(id) {
            self.fail_stream(key, Error::Stream(violation));
            if let Err(Reach::Connection(violation) | Reach::Stream(_, violation)) = self.forget_arrived(key)
            {
                self.break_off(violation);
            }
        }
    }
}
