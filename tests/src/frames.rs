//! HTTP/2 by hand: frames are written as given, whether the protocol allows them or not, and what comes back is noted
//! frame by frame. What enters are bytes and conditions; what leaves is what the other side was [`Seen`] to do. Nothing
//! is encoded or repaired for whoever writes; of a response's head only the status is read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub mod kind {
    /// §6.1.
    pub const DATA: u8 = 0;
    /// §6.2.
    pub const HEADERS: u8 = 1;
    /// §6.3.
    pub const PRIORITY: u8 = 2;
    /// §6.4.
    pub const RST_STREAM: u8 = 3;
    /// §6.5.
    pub const SETTINGS: u8 = 4;
    /// §6.6.
    pub const PUSH_PROMISE: u8 = 5;
    /// §6.7.
    pub const PING: u8 = 6;
    /// §6.8.
    pub const GOAWAY: u8 = 7;
    /// §6.9.
    pub const WINDOW_UPDATE: u8 = 8;
    /// §6.10.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames (RFC 9113 §6).
pub mod flag {
    /// Of SETTINGS and PING.
    pub const ACK: u8 = 1;
    /// Of DATA and HEADERS.
    pub const END_STREAM: u8 = 1;
    /// Of HEADERS and CONTINUATION.
    pub const END_HEADERS: u8 = 4;
    /// Of DATA and HEADERS.
    pub const PADDED: u8 = 8;
    /// Of HEADERS.
    pub const PRIORITY: u8 = 32;
    /// A request without a body in one frame.
    pub const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// How long nothing may come until that is an error. Reached only where the other side is wrong.
const WITHIN: Duration = Duration::from_secs(20);

/// A frame (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that enters no table, names and values of less than 127 bytes as they are (RFC 7541 §6.2.2).
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
    [&[0, length(name)], name, &[length(value)], value].concat()
}

/// What the other side says of itself in its first SETTINGS, or by not saying it (RFC 9113 §6.5.2).
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub streams_max: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub stream_window: u32,
    /// SETTINGS_MAX_FRAME_SIZE.
    pub frame_bytes_max: u32,
}

/// What came of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// The statuses of its heads, interim ones too; 0 where it is no plain number.
    pub statuses: Vec<u16>,
    /// How many bytes of DATA came.
    pub data: usize,
    /// It was ended.
    pub ended: bool,
    /// It was reset, with this error.
    pub reset: Option<u32>,
}

/// What the other side was seen to do.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By stream.
    pub streams: BTreeMap<u32, Stream>,
    /// The last GOAWAY's error.
    pub goaway: Option<u32>,
    /// The connection has ended.
    pub closed: bool,
    /// Payloads of answered PINGs.
    pub pongs: BTreeSet<Vec<u8>>,
    /// How often our SETTINGS were acknowledged.
    pub settings_acks: usize,
}

impl Seen {
    /// What came of this stream.
    pub fn stream(&self, stream: u32) -> Stream {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    /// What it has done so far.
    pub seen: Seen,
    /// What it says of itself.
    pub offered: Offered,
}

impl Peer {
    /// Connects, sends the preface with empty SETTINGS, and reads up to the other side's SETTINGS.
    ///
    /// # Errors
    /// Nobody listens there, or what comes first is no SETTINGS frame.
    pub fn open(addr: &str) -> io::Result<Self> {
        Self::open_with(addr, &[PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat())
    }

    /// The same with other first bytes.
    ///
    /// # Errors
    /// As [`Peer::open`].
    pub fn open_with(addr: &str, first: &[u8]) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        stream.set_nodelay(true)?;
        let offered = Offered { streams_max: None, stream_window: 65_535, frame_bytes_max: 16_384 };
        let mut peer = Self { stream, seen: Seen::default(), offered };
        peer.send(first)?;
        let (head, payload) = peer.next()?;
        if head[3] != kind::SETTINGS || head[4] & flag::ACK != 0 {
            return Err(io::Error::other(format!("the first frame is no SETTINGS: {head:?}")));
        }
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match setting[1] {
                3 => peer.offered.streams_max = Some(value),
                4 => peer.offered.stream_window = value,
                5 => peer.offered.frame_bytes_max = value,
                _ => {}
            }
        }
        peer.send(&frame(kind::SETTINGS, flag::ACK, 0, &[]))?;
        Ok(peer)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Another handle, to write from another thread.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn writer(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Reads frames until `what` is the case, or the connection has ended.
    ///
    /// # Errors
    /// Nothing came for 20 seconds.
    pub fn until(&mut self, what: impl Fn(&Seen) -> bool) -> io::Result<&Seen> {
        while !self.seen.closed && !what(&self.seen) {
            match self.next() {
                Ok((head, payload)) => self.note(head, &payload),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(io::Error::other(format!("nothing more comes; seen: {:?}", self.seen)));
                }
                // Closed or reset: what was said before counts.
                Err(_) => self.seen.closed = true,
            }
        }
        Ok(&self.seen)
    }

    /// Reads until this stream is over: ended or reset.
    ///
    /// # Errors
    /// As [`Peer::until`].
    pub fn until_over(&mut self, stream: u32) -> io::Result<Stream> {
        let over = |seen: &Seen| seen.streams.get(&stream).is_some_and(|s| s.ended || s.reset.is_some());
        Ok(self.until(over)?.stream(stream))
    }

    fn next(&mut self) -> io::Result<([u8; 9], Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload)?;
        Ok((head, payload))
    }

    fn note(&mut self, head: [u8; 9], payload: &[u8]) {
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let code = |at: usize| payload.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        match kind {
            kind::DATA | kind::HEADERS => {
                let stream = self.seen.streams.entry(id).or_default();
                if kind == kind::DATA {
                    stream.data += payload.len();
                } else {
                    stream.statuses.push(status(payload).unwrap_or(0));
                }
                stream.ended |= flags & flag::END_STREAM != 0;
            }
            kind::RST_STREAM => self.seen.streams.entry(id).or_default().reset = code(0),
            kind::GOAWAY => self.seen.goaway = code(4),
            kind::PING if flags & flag::ACK != 0 => {
                self.seen.pongs.insert(payload.to_vec());
            }
            kind::SETTINGS if flags & flag::ACK != 0 => self.seen.settings_acks += 1,
            _ => {}
        }
    }
}

/// The status of a response's head, which is its first field (RFC 9113 §8.3).
fn status(block: &[u8]) -> Option<u16> {
    // A change of the table's size may stand before it (RFC 7541 §6.3).
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    let (first, rest) = block.get(start..)?.split_first()?;
    let known = [200, 204, 206, 304, 400, 404, 500];
    match first {
        0x88..=0x8e => known.get(usize::from(first - 0x88)).copied(),
        // A literal with the name `:status`, in any of the three forms.
        0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e => {
            let (length, rest) = rest.split_first()?;
            let text = rest.get(..usize::from(length & 0x7f))?;
            let digits = if length & 0x80 == 0 { text.to_vec() } else { unhuffed(text)? };
            std::str::from_utf8(&digits).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// Three digits in the code of RFC 7541 appendix B: `0` to `2` have five bits, the others six.
fn unhuffed(text: &[u8]) -> Option<Vec<u8>> {
    let bits = text.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let (mut left, mut digits) = (text.len() * 8, Vec::new());
    for _ in 0..3 {
        left = left.checked_sub(5)?;
        let five = bits >> left & 0x1f;
        if five < 3 {
            digits.push(b'0' + u8::try_from(five).ok()?);
        } else {
            left = left.checked_sub(1)?;
            let six = bits >> left & 0x3f;
            digits.push(b'3' + u8::try_from(six.checked_sub(0x19)?).ok()?);
        }
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_form_it_may_have() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(b"\x48\x03431"), Some(431));
        // 302 as RFC 7541 appendix C.6.1 has it; 431 and 501 likewise.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x08, 0x83, 0x69, 0x90, 0xff]), Some(431));
        assert_eq!(status(&[0x40, 0x01, b'a', 0x01, b'b']), None);
    }
}
