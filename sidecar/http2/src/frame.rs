//! Frames as bytes (RFC 9113 §4.1, §6): their headers are read, and those without a header block are written. Pure.

use crate::error::{ErrorCode, Violation};

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 9;

/// The largest frame we take, and the largest we may send before the other side has said otherwise (RFC 9113 §4.2). We say
/// nothing else: larger frames would only make others wait longer.
pub(crate) const FRAME_MAX: usize = 16_384;

/// What a client says first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's type (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// §6.1
    Data,
    /// §6.2
    Headers,
    /// §6.3
    Priority,
    /// §6.4
    Reset,
    /// §6.5
    Settings,
    /// §6.6
    PushPromise,
    /// §6.7
    Ping,
    /// §6.8
    GoAway,
    /// §6.9
    WindowUpdate,
    /// §6.10
    Continuation,
    /// An extension's, to be ignored (§5.5).
    Unknown,
}

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITY: u8 = 0x20;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) length: usize,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Header {
    /// The header at the beginning of `bytes`, if all of it is there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, id @ ..] = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            length: u32::from_be_bytes([0, *a, *b, *c]) as usize,
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Headers,
                2 => Kind::Priority,
                3 => Kind::Reset,
                4 => Kind::Settings,
                5 => Kind::PushPromise,
                6 => Kind::Ping,
                7 => Kind::GoAway,
                8 => Kind::WindowUpdate,
                9 => Kind::Continuation,
                _ => Kind::Unknown,
            },
            flags: *flags,
            stream: u32::from_be_bytes(*id) & 0x7fff_ffff,
        })
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without its padding (§6.1, §6.2).
    pub(crate) fn unpadded(self, payload: &[u8]) -> Result<&[u8], Violation> {
        if !self.has(PADDED) {
            return Ok(payload);
        }
        let (padding, rest) = payload.split_first().ok_or(Violation::FrameSize)?;
        let length = rest.len().checked_sub(usize::from(*padding)).ok_or(Violation::Padding)?;
        Ok(rest.get(..length).unwrap_or_default())
    }
}

/// Four bytes as a number, without the reserved bit.
pub(crate) fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff)
}

/// A frame's header. The length fits: nothing larger than a peer's maximum is ever made, which is 24 bits.
fn header_bytes(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEADER_BYTES] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

pub(crate) fn header(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&header_bytes(length, kind, flags, stream));
}

pub(crate) fn data(out: &mut Vec<u8>, stream: u32, payload: &[u8], end: bool) {
    header(out, payload.len(), 0, if end { END_STREAM } else { 0 }, stream);
    out.extend_from_slice(payload);
}

pub(crate) fn reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    header(out, 4, 3, 0, stream);
    out.extend_from_slice(&code.to_wire().to_be_bytes());
}

pub(crate) fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    header(out, settings.len() * 6, 4, 0, 0);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(crate) fn settings_ack(out: &mut Vec<u8>) {
    header(out, 0, 4, ACK, 0);
}

pub(crate) fn ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    header(out, 8, 6, flags, 0);
    out.extend_from_slice(&payload);
}

pub(crate) fn go_away(out: &mut Vec<u8>, last: u32, code: ErrorCode, why: &str) {
    header(out, 8 + why.len(), 7, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.to_wire().to_be_bytes());
    out.extend_from_slice(why.as_bytes());
}

pub(crate) fn window_update(out: &mut Vec<u8>, stream: u32, by: u32) {
    header(out, 4, 8, 0, stream);
    out.extend_from_slice(&by.to_be_bytes());
}

/// Makes the frames of a header block that was appended from `start` on, behind room for one frame's header: one HEADERS,
/// and CONTINUATION for what is above `most` bytes.
pub(crate) fn finish_headers(out: &mut Vec<u8>, start: usize, most: usize, end: bool, stream: u32) {
    let end = if end { END_STREAM } else { 0 };
    let length = out.len().saturating_sub(start + HEADER_BYTES);
    if length <= most {
        let header = header_bytes(length, 1, END_HEADERS | end, stream);
        if let Some(room) = out.get_mut(start..start + HEADER_BYTES) {
            room.copy_from_slice(&header);
        }
        return;
    }
    let block = out.split_off(start + HEADER_BYTES);
    out.truncate(start);
    let count = block.len().div_ceil(most);
    for (number, part) in (1..).zip(block.chunks(most)) {
        let last = if number == count { END_HEADERS } else { 0 };
        match number {
            1 => header(out, part.len(), 1, last | end, stream),
            _ => header(out, part.len(), 9, last, stream),
        }
        out.extend_from_slice(part);
    }
}
