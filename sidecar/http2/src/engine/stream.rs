//! One stream: what has come and was not taken, what is to be sent and was not written, and how far both sides are
//! (RFC 9113 §5.1). Who acts on it are the engine's other rooms.
//!
//! ```text
//! receiving:  Head ──HEADERS──> Body ──END_STREAM──> Ended
//! sending:    Waiting ──a place──> Open ──END_STREAM written──> Ended
//! either, at any time: failed
//! ```

use crate::error::Error;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use std::collections::VecDeque;
use std::task::Waker;

/// Where a stream is kept.
pub(crate) type Key = usize;

/// How far the other side's message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// Its head is awaited.
    Head,
    /// Data and trailers may come.
    Body,
    /// All of it is here.
    Ended,
}

/// How far our message has gone.
#[derive(Debug)]
pub(crate) enum Sending {
    /// Until the other side takes another stream.
    Waiting(Box<Request<()>>),
    /// More may be sent.
    Open,
    /// All of it is written.
    Ended,
}

/// What follows the data that is queued.
#[derive(Debug)]
pub(crate) enum Then {
    /// Nothing yet.
    More,
    /// The end.
    End,
    /// Trailers, which are the end.
    Trailers(Box<HeaderMap>),
}

/// Chunks in order. Most messages have one or none, for which nothing is allocated.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    first: Option<Bytes>,
    rest: VecDeque<Bytes>,
}

impl Chunks {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        match self.first {
            None => self.first = Some(chunk),
            Some(_) => self.rest.push_back(chunk),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let chunk = self.first.take()?;
        self.first = self.rest.pop_front();
        Some(chunk)
    }

    /// Takes at most `most` bytes off the first chunk. Nothing if there is no chunk or `most` is 0.
    pub(crate) fn take(&mut self, most: usize) -> Option<Bytes> {
        match &mut self.first {
            Some(chunk) if chunk.len() > most => (most > 0).then(|| chunk.split_to(most)),
            Some(_) => self.pop(),
            None => None,
        }
    }

    /// Bytes of all.
    pub(crate) fn bytes(&self) -> usize {
        self.first.iter().chain(&self.rest).map(Bytes::len).sum()
    }
}

/// Interim responses of a stream: few have any.
#[derive(Debug, Default)]
pub(crate) struct Interim {
    /// How many have come.
    pub(crate) seen: u32,
    /// Those that nobody has taken.
    pub(crate) waiting: VecDeque<Response<()>>,
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Its number; 0 before it is opened.
    pub(crate) id: u32,
    /// Who holds it outside of the engine.
    pub(crate) handles: u32,
    /// It counts among the streams that are open on the wire.
    pub(crate) is_counted: bool,
    /// Why it ended before its time.
    pub(crate) failure: Option<Error>,

    pub(crate) receiving: Receiving,
    /// The response's head, until it is taken.
    pub(crate) head: Option<Response<()>>,
    /// The request had the method HEAD: its response says how long a body would be.
    pub(crate) is_head_request: bool,
    pub(crate) received: Chunks,
    pub(crate) trailers: Option<HeaderMap>,
    /// Somebody will take the data.
    pub(crate) is_read: bool,
    /// What the other side may still send, in bytes.
    pub(crate) window: i64,
    /// What was taken and the other side does not know of.
    pub(crate) unclaimed: u32,
    /// Bytes that are still to come, if the head said so.
    pub(crate) awaited: Option<u64>,
    /// What came before the response.
    pub(crate) interim: Option<Box<Interim>>,
    /// The head of our response has been sent.
    pub(crate) is_answered: bool,
    pub(crate) reader: Option<Waker>,

    pub(crate) sending: Sending,
    pub(crate) queue: Chunks,
    /// Bytes in the queue.
    pub(crate) queued: usize,
    pub(crate) then: Then,
    /// What we may send, in bytes. A change of the other side's setting may make it negative (RFC 9113 §6.9.2).
    pub(crate) credit: i64,
    /// It is in the round of those that have data to write.
    pub(crate) is_ready: bool,
    /// Its writer waits for the connection's window.
    pub(crate) is_starved: bool,
    pub(crate) writer: Option<Waker>,
}

impl Stream {
    pub(crate) fn new(id: u32, receiving: Receiving, window: u32, credit: u32) -> Self {
        Self {
            id,
            handles: 0,
            is_counted: false,
            failure: None,
            receiving,
            head: None,
            is_head_request: false,
            received: Chunks::default(),
            trailers: None,
            is_read: true,
            window: i64::from(window),
            unclaimed: 0,
            awaited: None,
            interim: None,
            is_answered: false,
            reader: None,
            sending: Sending::Open,
            queue: Chunks::default(),
            queued: 0,
            then: Then::More,
            credit: i64::from(credit),
            is_ready: false,
            is_starved: false,
            writer: None,
        }
    }

    /// Both messages are through, or it has failed: nothing more is to be said of it on the wire.
    pub(crate) fn is_over(&self) -> bool {
        self.failure.is_some()
            || (self.receiving == Receiving::Ended && matches!(self.sending, Sending::Ended))
    }

    /// We have said all there is, though not all of it may be written.
    pub(crate) fn has_said_all(&self) -> bool {
        matches!(self.sending, Sending::Ended) || !matches!(self.then, Then::More)
    }

    pub(crate) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(crate) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// Notes who waits, without a copy if it is known already.
pub(crate) fn wait(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(known) => known.clone_from(waker),
        None => *place = Some(waker.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_out_in_order_and_in_parts() {
        let mut chunks = Chunks::default();
        for chunk in ["abc", "", "de"] {
            chunks.push(Bytes::from_static(chunk.as_bytes()));
        }
        assert_eq!(chunks.bytes(), 5);
        assert_eq!(chunks.take(0), None);
        assert_eq!(chunks.take(2).unwrap(), "ab");
        assert_eq!(chunks.take(2).unwrap(), "c");
        assert_eq!(chunks.take(0).unwrap(), "");
        assert_eq!(chunks.pop().unwrap(), "de");
        assert!(chunks.is_empty() && chunks.take(9).is_none());
    }
}
