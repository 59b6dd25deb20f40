//! Why a request was refused that never became one. What hyper can't read as a request (bytes that are no HTTP, a head
//! that is too large) it answers by itself, with a bare status. Here that answer is put in our words, with the reason in
//! its header. What enters is a connection's stream, between hyper and the socket; what leaves is the same stream.
//!
//! hyper writes by itself only while it owes no answer of ours, so that a write then is such an answer and nothing else:
//!
//! ```text
//! Nothing ──request──> Answer ──its body has ended──> Tail ──flushed──> Nothing
//!    └──hyper writes──> Refused, for a reason; the connection ends
//! ```

use super::reply::REASON;
use crate::refusal::Reason;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Which of our bytes hyper may still have to write. Atomic only because hyper wants to move the stream between threads
/// when it is upgraded; nobody does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owed(Arc<AtomicU8>);

const NOTHING: u8 = 0;
const ANSWER: u8 = 1;
const TAIL: u8 = 2;
const REFUSED: u8 = 3;

/// What hyper answers by itself: the status it chooses, and the reason it has.
const BY_ITSELF: [(&[u8; 3], Reason, &str); 3] = [
    (b"400", Reason::BadRequest, "what came is no HTTP request"),
    (b"414", Reason::UriTooLong, Reason::UriTooLong.row().sentence),
    (b"431", Reason::HeadersTooLarge, Reason::HeadersTooLarge.row().sentence),
];

impl Owed {
    /// A request was handed to us.
    pub(crate) fn answer(&self) {
        self.0.store(ANSWER, Ordering::Relaxed);
    }

    /// The last byte of every answer was handed to hyper.
    pub(crate) fn tail(&self) {
        self.0.store(TAIL, Ordering::Relaxed);
    }

    /// What was handed to hyper is on its way.
    pub(crate) fn flushed(&self) {
        if self.0.load(Ordering::Relaxed) == TAIL {
            self.0.store(NOTHING, Ordering::Relaxed);
        }
    }

    /// Why hyper refused what came last, if it did.
    pub(crate) fn refused(&self) -> Option<Reason> {
        let place = self.0.load(Ordering::Relaxed).checked_sub(REFUSED)?;
        BY_ITSELF.get(usize::from(place)).map(|(_, reason, _)| *reason)
    }

    /// Whether everything has been written.
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.load(Ordering::Relaxed) == NOTHING
    }
}

/// A stream that hyper serves HTTP/1 on.
#[derive(Debug)]
pub(crate) struct Explained<IO> {
    io: IO,
    owed: Owed,
    /// Our words in place of hyper's, and how many of them are written.
    words: Vec<u8>,
    written: usize,
}

impl<IO> Explained<IO> {
    pub(crate) fn new(io: IO, owed: Owed) -> Self {
        Self { io, owed, words: Vec::new(), written: 0 }
    }

    /// The stream itself.
    pub(crate) fn into_inner(self) -> IO {
        self.io
    }
}

/// The answer in our words.
fn words(reason: Reason, sentence: &str) -> Vec<u8> {
    let row = reason.row();
    let phrase = http::StatusCode::from_u16(row.status).unwrap_or(http::StatusCode::BAD_REQUEST);
    let text = format!(
        "HTTP/1.1 {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n{}: {}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{sentence}\n",
        REASON.as_str(),
        row.word,
        sentence.len() + 1,
    );
    text.into_bytes()
}

impl<IO: AsyncWrite + Unpin> Explained<IO> {
    /// Takes hyper's own answer away from it, if this is one.
    fn take(&mut self, buf: &[u8]) -> bool {
        if !self.owed.is_nothing() || !self.words.is_empty() {
            return false;
        }
        let status = buf.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.first_chunk());
        let known = BY_ITSELF.iter().zip(REFUSED..).find(|((by_itself, ..), _)| Some(*by_itself) == status);
        let Some(((_, reason, sentence), refused)) = known else { return false };
        self.owed.0.store(refused, Ordering::Relaxed);
        self.words = words(*reason, sentence);
        true
    }

    fn poll_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.words.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Explained<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Explained<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.take(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut this.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bufs.first().is_some_and(|first| this.take(first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_words(cx))?;
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        this.owed.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_words(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
