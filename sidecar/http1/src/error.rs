//! What can go wrong with a message, each with a name of its own: who answers can say what, and who retries knows whether
//! any of it was sent.

use std::io;

/// Any error, as bodies of others have it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which rule a head breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// The first line is not that of an HTTP/1 message (RFC 9112 §3, §4).
    #[error("what came is no HTTP message")]
    NotHttp,
    /// Another version than 1.0 and 1.1 (RFC 9112 §2.3).
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// The target is none of the forms of RFC 9112 §3.2.
    #[error("the request's target is not valid")]
    Target,
    /// The first line alone is longer than [`HEAD_MAX`](crate::HEAD_MAX).
    #[error("the first line is longer than 64 KiB")]
    TargetTooLong,
    /// All of it is longer than [`HEAD_MAX`](crate::HEAD_MAX).
    #[error("the head is longer than 64 KiB")]
    TooLarge,
    /// More than [`FIELDS_MAX`](crate::FIELDS_MAX) fields.
    #[error("the head has more than 100 fields")]
    TooManyFields,
    /// A name that is no token, a space before the colon, a control character, a folded line (RFC 9112 §5).
    #[error("a field of the head is not valid")]
    Field,
    /// A line that ends in anything but CR LF (RFC 9112 §2.2).
    #[error("a line of the head does not end in CR LF")]
    LineEnd,
    /// A status that is no number of three digits (RFC 9112 §4).
    #[error("the status is not a number of three digits")]
    Status,
    /// A Content-Length that is no number, or several that differ (RFC 9112 §6.3).
    #[error("Content-Length is not one number")]
    Length,
    /// Content-Length and Transfer-Encoding: readers disagree on which counts (RFC 9112 §6.3).
    #[error("there are both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// A transfer coding other than `chunked`, once, in HTTP/1.1 (RFC 9112 §6.1).
    #[error("no transfer coding but chunked, once, in HTTP/1.1, is supported")]
    Coding,
}

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// It can't be read: whoever sent it can be told.
    #[error(transparent)]
    Bad(#[from] BadHead),
    /// The other side closed the connection in the middle of it.
    #[error("the connection was closed in the middle of a head")]
    Closed,
    /// The connection broke.
    #[error(transparent)]
    Io(io::Error),
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is not framed as RFC 9112 §7.1 demands.
    #[error("the body's chunks can't be read: {0}")]
    Invalid(&'static str),
    /// The other side closed the connection before its end.
    #[error("the connection was closed before the body's end")]
    Closed,
    /// The connection broke.
    #[error(transparent)]
    Io(io::Error),
    /// The message it belongs to is over: its connection carries the next, or none.
    #[error("the exchange was over before the body's end")]
    Over,
    /// An answer's body: the request's body broke, and with it the connection.
    #[error("the request's body broke off")]
    Request(#[source] BoxError),
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Not a byte of it was sent.
    #[error("the connection was closed before the request was sent")]
    Unsent(#[source] io::Error),
    /// The other side closed the connection before its answer's head was complete.
    #[error("the connection was closed before an answer came")]
    Closed,
    /// The connection broke before the answer's head was complete.
    #[error("the connection broke before an answer came")]
    Io(#[source] io::Error),
    /// The answer can't be read.
    #[error(transparent)]
    Answer(BadHead),
    /// The request's own body broke; the connection is closed.
    #[error("the request's body broke off")]
    Body(#[source] BoxError),
}
