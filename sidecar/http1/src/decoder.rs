//! A body out of a buffer (RFC 9112 §6, §7.1). What enters is what has been read; what leaves are slices of it, then the
//! trailers, then the end. Chunks are read strictly, and everything between them is bounded. Pure.

use crate::error::BodyError;
use crate::fields::{self, may_trail};
use crate::framing::Length;
use crate::head::{self, FIELDS_MAX};
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;

/// Bytes of chunk extensions in one body, which nobody uses and nobody reads: beyond, they are an attack.
const EXTENSIONS_MAX: usize = 16 * 1024;

/// Digits of a chunk's size: as many as fit into 64 bits.
const DIGITS_MAX: usize = 16;

/// Bytes of a body's trailers.
const TRAILERS_MAX: usize = 16 * 1024;

/// A body on its way in.
///
/// ```text
/// Exact ──all bytes──────────────────────────────> Done
/// Size ──> Data ──> DataEnd ─┐    ┌─ no trailers ─> Done
///   └<───────────────────────┘    │
///   └──0──> Trailers ─────────────┴─> Trailed ───> Done
/// UntilClose ──the connection ends───────────────> Done
/// ```
#[derive(Debug)]
pub(crate) enum Decoder {
    /// It is over.
    Done,
    /// It broke; nothing more is read of it.
    Broken,
    /// So many bytes more.
    Exact(u64),
    /// Until the connection's end.
    UntilClose,
    /// In chunks.
    Chunked(Chunked),
}

/// A body in chunks.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: Chunk,
    extensions: usize,
}

#[derive(Debug)]
enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailers { scanned: usize },
    Trailed(Box<HeaderMap>),
}

/// What a look at the buffer gives.
#[derive(Debug)]
pub(crate) enum Step {
    /// Bytes of the body.
    Data(Bytes),
    /// The trailers, after which it is over.
    Trailers(HeaderMap),
    /// More must be read.
    More,
    /// It is over.
    Done,
}

impl Decoder {
    /// A body of this length.
    pub(crate) fn new(length: Length) -> Self {
        match length {
            Length::Exact(0) => Self::Done,
            Length::Exact(length) => Self::Exact(length),
            Length::UntilClose => Self::UntilClose,
            Length::Chunked => Self::Chunked(Chunked { state: Chunk::Size, extensions: 0 }),
        }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How many bytes are still to come, if that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Exact(rest) => Some(*rest),
            Self::Broken | Self::UntilClose | Self::Chunked(_) => None,
        }
    }

    /// The next part that the buffer has.
    ///
    /// # Errors
    /// [`BodyError::Invalid`].
    pub(crate) fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, BodyError> {
        match self {
            Self::Done => Ok(Step::Done),
            Self::Broken => Err(BodyError::Closed),
            Self::UntilClose if buffer.is_empty() => Ok(Step::More),
            Self::UntilClose => Ok(Step::Data(buffer.split().freeze())),
            Self::Exact(_) if buffer.is_empty() => Ok(Step::More),
            Self::Exact(rest) => {
                let data = up_to(buffer, rest);
                if *rest == 0 {
                    *self = Self::Done;
                }
                Ok(Step::Data(data))
            }
            Self::Chunked(chunked) => {
                let step = chunked.step(buffer);
                // Looked at at once, so that the last bytes are known to be the last.
                let step = step.and_then(|step| match step {
                    Step::Data(data) => chunked.is_over(buffer).map(|over| (Step::Data(data), over)),
                    Step::Trailers(_) | Step::Done => Ok((step, true)),
                    Step::More => Ok((step, false)),
                });
                match step {
                    Ok((step, over)) => {
                        if over {
                            *self = Self::Done;
                        }
                        Ok(step)
                    }
                    Err(error) => {
                        *self = Self::Broken;
                        Err(error)
                    }
                }
            }
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// [`BodyError::Closed`] if the body has not.
    pub(crate) fn end(&mut self) -> Result<(), BodyError> {
        match self {
            Self::Done => Ok(()),
            Self::UntilClose => {
                *self = Self::Done;
                Ok(())
            }
            Self::Broken | Self::Exact(_) | Self::Chunked(_) => {
                *self = Self::Broken;
                Err(BodyError::Closed)
            }
        }
    }
}

/// Takes what is there, and no more than `rest`.
fn up_to(buffer: &mut BytesMut, rest: &mut u64) -> Bytes {
    let amount = usize::try_from(*rest).unwrap_or(usize::MAX).min(buffer.len());
    *rest = rest.saturating_sub(u64::try_from(amount).unwrap_or(u64::MAX));
    buffer.split_to(amount).freeze()
}

impl Chunked {
    /// Whether what the buffer has ends the body without trailers.
    fn is_over(&mut self, buffer: &mut BytesMut) -> Result<bool, BodyError> {
        if matches!(self.state, Chunk::Data(_)) {
            return Ok(false);
        }
        self.advance(buffer)
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, BodyError> {
        if self.advance(buffer)? {
            return Ok(Step::Done);
        }
        match &mut self.state {
            Chunk::Data(_) if buffer.is_empty() => Ok(Step::More),
            Chunk::Data(rest) => {
                let data = up_to(buffer, rest);
                if *rest == 0 {
                    self.state = Chunk::DataEnd;
                }
                Ok(Step::Data(data))
            }
            Chunk::Trailed(trailers) => Ok(Step::Trailers(std::mem::take(trailers))),
            Chunk::Size | Chunk::DataEnd | Chunk::Trailers { .. } => Ok(Step::More),
        }
    }

    /// Goes on to where data or trailers can be taken, or more must be read; true if the body is over.
    fn advance(&mut self, buffer: &mut BytesMut) -> Result<bool, BodyError> {
        loop {
            match &mut self.state {
                Chunk::Data(_) | Chunk::Trailed(_) => return Ok(false),
                Chunk::Size => match self.size(buffer)? {
                    None => return Ok(false),
                    Some(0) => self.state = Chunk::Trailers { scanned: 0 },
                    Some(size) => self.state = Chunk::Data(size),
                },
                Chunk::DataEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.state = Chunk::Size;
                    }
                    None if buffer.first().is_none_or(|byte| *byte == b'\r') => return Ok(false),
                    Some(_) | None => {
                        return Err(BodyError::Invalid("a chunk is longer than it says"));
                    }
                },
                Chunk::Trailers { scanned } => {
                    match buffer.get(..2) {
                        Some(b"\r\n") => {
                            buffer.advance(2);
                            return Ok(true);
                        }
                        None if buffer.first().is_none_or(|byte| *byte == b'\r') => return Ok(false),
                        Some(_) | None => {}
                    }
                    let end = head::end(buffer, scanned)
                        .map_err(|_| BodyError::Invalid("a line of the trailers does not end in CR LF"))?;
                    match end {
                        Some(end) if end <= TRAILERS_MAX => {
                            let section = buffer.split_to(end).freeze();
                            self.state = Chunk::Trailed(Box::new(trailers(&section)?));
                        }
                        None if buffer.len() <= TRAILERS_MAX => return Ok(false),
                        Some(_) | None => {
                            return Err(BodyError::Invalid("the trailers are longer than 16 KiB"));
                        }
                    }
                }
            }
        }
    }

    /// A chunk's size, if its line is complete: digits, and extensions that nobody reads.
    fn size(&mut self, buffer: &mut BytesMut) -> Result<Option<u64>, BodyError> {
        let Some(end) = memchr(b'\n', buffer) else {
            let most = DIGITS_MAX + EXTENSIONS_MAX.saturating_sub(self.extensions);
            return match buffer.len() <= most {
                true => Ok(None),
                false => Err(BodyError::Invalid("the extensions are longer than 16 KiB")),
            };
        };
        let line = buffer.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        let line = line.ok_or(BodyError::Invalid("a chunk's line does not end in CR LF"))?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) =
            line.split_at_checked(digits).ok_or(BodyError::Invalid("a chunk has no size"))?;
        if digits.is_empty() || digits.len() > DIGITS_MAX {
            return Err(BodyError::Invalid("a chunk's size is not 1 to 16 hexadecimal digits"));
        }
        self.extensions = self.extensions.saturating_add(extension.len());
        if self.extensions > EXTENSIONS_MAX {
            return Err(BodyError::Invalid("the extensions are longer than 16 KiB"));
        }
        // Blanks are allowed before a semicolon (RFC 9112 §7.1.1), and some servers fill the line up with them.
        let named = extension.trim_ascii_start();
        let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
        if !(named.is_empty() || named.starts_with(b";")) || extension.iter().any(is_control) {
            return Err(BodyError::Invalid("a chunk's size is followed by what is no extension"));
        }
        let size = digits.iter().fold(0_u64, |size, digit| {
            let value = char::from(*digit).to_digit(16).unwrap_or_default();
            (size << 4) | u64::from(value)
        });
        buffer.advance(end + 1);
        Ok(Some(size))
    }
}

fn trailers(section: &Bytes) -> Result<HeaderMap, BodyError> {
    const INVALID: BodyError = BodyError::Invalid("a trailer is not a valid field");
    let mut found = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let found = match httparse::parse_headers(section, &mut found) {
        Ok(httparse::Status::Complete((length, found))) if length == section.len() => found,
        Ok(_) | Err(_) => return Err(INVALID),
    };
    let mut trailers = HeaderMap::new();
    for (name, value) in &fields::read(section, found).map_err(|_| INVALID)?.0 {
        if may_trail(name) {
            trailers.append(name, value.clone());
        }
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The body's bytes and trailers, and what is left of the buffer.
    fn all(text: &[u8]) -> Result<(Vec<u8>, String, Vec<u8>), String> {
        let mut decoder = Decoder::new(Length::Chunked);
        let mut buffer = BytesMut::from(text);
        let (mut body, mut trailers) = (Vec::new(), String::new());
        loop {
            match decoder.step(&mut buffer).map_err(|error| error.to_string())? {
                Step::Data(data) => body.extend_from_slice(&data),
                Step::Trailers(map) => trailers = format!("{map:?}"),
                Step::More => return Err("more".to_owned()),
                Step::Done => return Ok((body, trailers, buffer.to_vec())),
            }
        }
    }

    /// RFC 9112 §7.1.
    #[test]
    fn chunks_are_read_as_the_grammar_has_them() {
        for (text, body) in [
            ("0\r\n\r\n", ""),
            ("3\r\nabc\r\n0\r\n\r\n", "abc"),
            ("0003\r\nabc\r\n00\r\n\r\n", "abc"),
            ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
            ("3;a=b;c\r\nabc\r\n0;d\r\n\r\n", "abc"),
            ("3 ; a=\"b;c\"\r\nabc\r\n0\r\n\r\n", "abc"),
            ("3  \r\nabc\r\n0\r\n\r\n", "abc"),
        ] {
            let (got, trailers, rest) = all(format!("{text}rest").as_bytes()).unwrap();
            assert_eq!(
                (got.as_slice(), trailers.as_str(), rest.as_slice()),
                (body.as_bytes(), "", &b"rest"[..])
            );
        }
    }

    #[test]
    fn whatever_is_no_chunk_breaks_the_body() {
        for text in [
            "\r\nabc",
            "x\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "-3\r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "3 a\r\nabc\r\n0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "3;a\nabc\r\n0\r\n\r\n",
            "3;a\rb\r\nabc\r\n0\r\n\r\n",
            "3;\0\r\nabc\r\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabc0\r\n\r\n",
            "10000000000000000\r\nabc",
            "fffffffffffffffff\r\nabc",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\nA: b\r\n c\r\n\r\n",
            "0\r\nContent-Length: x\r\n\r\n",
        ] {
            let error = all(text.as_bytes()).unwrap_err();
            assert_ne!(error, "more", "{text:?}");
        }
    }

    #[test]
    fn what_surrounds_chunks_is_bounded() {
        let extended = |length: usize| format!("0;{}\r\n\r\n", "x".repeat(length - 1));
        assert!(all(extended(EXTENSIONS_MAX).as_bytes()).is_ok());
        assert!(all(extended(EXTENSIONS_MAX + 1).as_bytes()).is_err());
        let many = |n: usize| format!("{}0\r\n\r\n", "1;x\r\na\r\n".repeat(n));
        assert!(all(many(EXTENSIONS_MAX / 2).as_bytes()).is_ok());
        assert!(all(many(EXTENSIONS_MAX / 2 + 1).as_bytes()).is_err());
        let endless = "3;".to_owned() + &"x".repeat(2 * EXTENSIONS_MAX);
        assert_ne!(all(endless.as_bytes()).unwrap_err(), "more");
        let trailed = |length: usize| format!("0\r\na: {}\r\n\r\n", "x".repeat(length - 7));
        assert!(all(trailed(TRAILERS_MAX).as_bytes()).is_ok());
        assert!(all(trailed(TRAILERS_MAX + 1).as_bytes()).is_err());
        let fields = |n: usize| format!("0\r\n{}\r\n", "a: b\r\n".repeat(n));
        assert!(all(fields(FIELDS_MAX).as_bytes()).is_ok());
        assert!(all(fields(FIELDS_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn trailers_come_last_without_what_frames_or_addresses_a_message() {
        let text = b"1\r\na\r\n0\r\nSum: 1\r\nsum: 2\r\nHost: b\r\nContent-Length: 3\r\nX: 4\r\n\r\n";
        let (body, trailers, _) = all(text).unwrap();
        assert_eq!(body, b"a");
        assert_eq!(trailers, r#"{"sum": "1", "sum": "2", "x": "4"}"#);
    }

    #[test]
    fn the_last_bytes_are_known_to_be_the_last_if_the_end_came_with_them() {
        for (text, is_last) in
            [("1\r\na\r\n0\r\n\r\n", true), ("1\r\na\r\n0\r\n\r", false), ("1\r\na", false)]
        {
            let mut decoder = Decoder::new(Length::Chunked);
            let step = decoder.step(&mut BytesMut::from(text)).unwrap();
            assert!(matches!(step, Step::Data(data) if data == "a"));
            assert_eq!(decoder.is_done(), is_last, "{text:?}");
        }
        let mut decoder = Decoder::new(Length::Exact(1));
        assert!(matches!(decoder.step(&mut BytesMut::from("ab")), Ok(Step::Data(data)) if data == "a"));
        assert!(decoder.is_done());
    }

    #[test]
    fn only_a_body_without_a_length_may_end_with_the_connection() {
        for (length, is_end) in
            [(Length::Exact(1), false), (Length::Chunked, false), (Length::UntilClose, true)]
        {
            let mut decoder = Decoder::new(length);
            assert_eq!(decoder.end().is_ok(), is_end, "{length:?}");
            assert_eq!(decoder.is_done(), is_end);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_chunks_or_an_error(bytes: Vec<u8>, text in "[0-9a-f;\r\n x:]{0,60}") {
            drop(all(&bytes));
            drop(all(text.as_bytes()));
        }

        #[test]
        fn it_does_not_matter_in_which_parts_chunks_come(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            trailer in proptest::option::of("[!-~]{1,9}"),
            part in 1_usize..20,
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            let trailer = trailer.map(|value| format!("t: {value}\r\n")).unwrap_or_default();
            text.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
            let (mut decoder, mut buffer) = (Decoder::new(Length::Chunked), BytesMut::new());
            let (mut body, mut parts, mut trailers) = (Vec::new(), text.chunks(part), 0);
            loop {
                match decoder.step(&mut buffer).unwrap() {
                    Step::Data(data) => body.extend_from_slice(&data),
                    Step::Trailers(map) => trailers = map.len(),
                    Step::More => buffer.extend_from_slice(parts.next().unwrap()),
                    Step::Done => break,
                }
            }
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(trailers, usize::from(!trailer.is_empty()));
            prop_assert!(buffer.is_empty() && parts.next().is_none());
        }
    }
}
