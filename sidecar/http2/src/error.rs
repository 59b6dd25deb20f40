//! What goes wrong on a connection: what the other side did, as a [`Violation`] with its section of RFC 9113, and what that
//! means for whoever waits on a stream, as an [`Error`].

use crate::hpack::{HpackError, Malformed};
use std::fmt;
use std::io;
use std::sync::Arc;

/// An error code of HTTP/2 (RFC 9113 §7), as RST_STREAM and GOAWAY carry it. Any number may come.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(u32);

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0);
    /// The protocol was broken.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Something is wrong with whoever says so.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More came than a window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame for a stream that is over.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame's size is wrong.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// The request was not processed.
    pub const REFUSED_STREAM: Self = Self(7);
    /// Nobody wants the stream any more.
    pub const CANCEL: Self = Self(8);
    /// A header block can't be decoded.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The other side makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);

    pub(crate) const fn from_wire(code: u32) -> Self {
        Self(code)
    }

    pub(crate) const fn to_wire(self) -> u32 {
        self.0
    }

    fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(self.0 as usize).copied()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the other side did that it may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The preface is not HTTP/2's (§3.4).
    #[error("the connection does not begin as HTTP/2 does")]
    Preface,
    /// The first frame is not SETTINGS (§3.4).
    #[error("the first frame is not SETTINGS")]
    SettingsFirst,
    /// A frame above the size we allow (§4.2).
    #[error("a frame is larger than 16,384 bytes")]
    FrameTooLarge,
    /// A frame whose size its type does not have (§6).
    #[error("a frame's size is wrong for its type")]
    FrameSize,
    /// A frame that belongs to a stream, on none (§6).
    #[error("a frame that belongs to a stream comes on stream 0")]
    StreamZero,
    /// A frame that belongs to the connection, on a stream (§6).
    #[error("a frame that belongs to the connection comes on a stream")]
    NotStreamZero,
    /// Padding longer than its frame (§6.1).
    #[error("a frame's padding is longer than the frame")]
    Padding,
    /// A frame on a stream that was never opened (§5.1).
    #[error("a frame comes on a stream that was never opened")]
    IdleStream,
    /// A frame on a stream that is over (§5.1).
    #[error("a frame comes on a stream that has ended")]
    ClosedStream,
    /// A number the other side may not give to its streams, or not any more (§5.1.1).
    #[error("a stream's number is not the client's, or not larger than those before")]
    StreamId,
    /// A push that nobody asked for (§8.4).
    #[error("PUSH_PROMISE though push is disabled, or from a client")]
    Push,
    /// Something between the frames of a header block (§6.10).
    #[error("a header block is not continued by the next frame")]
    Continuation,
    /// A continuation of nothing (§6.10).
    #[error("CONTINUATION without a header block before it")]
    StrayContinuation,
    /// A header block in too many frames, or of too many bytes.
    #[error("a header block goes on and on")]
    EndlessBlock,
    /// A header block that can't be decoded (§4.3).
    #[error(transparent)]
    Hpack(#[from] HpackError),
    /// A setting with a value it can't have (§6.5.2).
    #[error("a setting has a value that it can't have")]
    Setting,
    /// A window that would exceed 2^31 - 1 (§6.9.1).
    #[error("a window grows beyond 2^31 - 1")]
    WindowOverflow,
    /// A window that grows by nothing (§6.9).
    #[error("WINDOW_UPDATE by 0")]
    WindowUnchanged,
    /// More data than the window allows (§6.9.1).
    #[error("more data comes than the window allows")]
    BeyondWindow,
    /// DATA before the head of its message (§8.1).
    #[error("DATA comes before the head of its message")]
    DataFirst,
    /// A message that breaks the rules of HTTP (§8.1.1).
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// More streams than we allow; they were not processed (§5.1.2).
    #[error("more streams are open than we allow")]
    TooManyStreams,
    /// Frames of nothing, again and again (§10.5).
    #[error("empty frames come again and again")]
    EmptyFrames,
    /// Streams that are opened and reset at once (CVE-2023-44487).
    #[error("streams are opened only to be reset")]
    RapidReset,
    /// Streams on which the protocol is broken, again and again.
    #[error("streams break the protocol again and again")]
    Violations,
    /// What we have to say is not read, while more is asked of us, or begun by us (§10.5).
    #[error("what this side has to say is not read, and becomes ever more")]
    Unread,
    /// Interim responses without end (§8.1).
    #[error("interim responses go on and on")]
    EndlessInterim,
}

impl Violation {
    /// The error code that the other side is told.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::FrameTooLarge | Self::FrameSize => ErrorCode::FRAME_SIZE_ERROR,
            Self::ClosedStream => ErrorCode::STREAM_CLOSED,
            Self::Hpack(_) => ErrorCode::COMPRESSION_ERROR,
            Self::WindowOverflow | Self::BeyondWindow => ErrorCode::FLOW_CONTROL_ERROR,
            Self::TooManyStreams => ErrorCode::REFUSED_STREAM,
            Self::EmptyFrames
            | Self::RapidReset
            | Self::Violations
            | Self::Unread
            | Self::EndlessBlock
            | Self::EndlessInterim => ErrorCode::ENHANCE_YOUR_CALM,
            Self::Preface
            | Self::SettingsFirst
            | Self::StreamZero
            | Self::NotStreamZero
            | Self::Padding
            | Self::IdleStream
            | Self::StreamId
            | Self::Push
            | Self::Continuation
            | Self::StrayContinuation
            | Self::Setting
            | Self::WindowUnchanged
            | Self::DataFirst
            | Self::Malformed(_) => ErrorCode::PROTOCOL_ERROR,
        }
    }
}

/// How far a violation reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The connection goes on without the stream.
    Stream(u32, Violation),
    /// The connection ends.
    Connection(Violation),
}

/// Why a stream, or the connection with all its streams, ended before its time.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The other side reset the stream.
    #[error("the other side reset the stream: {0}")]
    Reset(ErrorCode),
    /// We reset the stream.
    #[error("the stream was reset on this side: {0}")]
    Cancelled(ErrorCode),
    /// The other side is ending the connection and will not process the stream, or has ended it for an error.
    #[error("the other side ended the connection: {0}")]
    GoAway(ErrorCode),
    /// The other side broke the protocol on the stream.
    #[error("the other side broke HTTP/2 on the stream: {0}")]
    Stream(Violation),
    /// The other side broke the protocol for the whole connection.
    #[error("the other side broke HTTP/2: {0}")]
    Connection(Violation),
    /// The connection failed underneath.
    #[error(transparent)]
    Io(Broken),
    /// The connection was closed before the stream was over.
    #[error("the connection was closed in the middle of a message")]
    Closed,
    /// The stream never reached the connection, which ended or takes no more.
    #[error("the connection takes no more streams")]
    NotOpened,
    /// The message can't be sent in HTTP/2.
    #[error("the message can't be sent in HTTP/2: {0}")]
    Unsendable(&'static str),
}

/// A connection that failed underneath, for all of its streams.
#[derive(Debug, Clone)]
pub struct Broken(Arc<io::Error>);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection failed")
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The error itself, so that it can be found by its type.
        Some(&*self.0)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Broken(Arc::new(error)))
    }
}

impl Broken {
    /// What kind of failure it was.
    pub fn kind(&self) -> io::ErrorKind {
        self.0.kind()
    }
}

impl Error {
    /// Whether the other side said, or can't but have, that it did not process the stream (RFC 9113 §8.7): a request may
    /// be sent again whatever its method.
    pub fn is_unprocessed(&self) -> bool {
        match self {
            Self::Reset(code) => *code == ErrorCode::REFUSED_STREAM,
            Self::GoAway(_) | Self::NotOpened => true,
            Self::Cancelled(_)
            | Self::Stream(_)
            | Self::Connection(_)
            | Self::Io(_)
            | Self::Closed
            | Self::Unsendable(_) => false,
        }
    }

    /// The error code that ended the stream or the connection, whoever said it.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Reset(code) | Self::Cancelled(code) | Self::GoAway(code) => Some(*code),
            Self::Stream(violation) | Self::Connection(violation) => Some(violation.code()),
            Self::Io(_) | Self::Closed | Self::NotOpened | Self::Unsendable(_) => None,
        }
    }
}
