//! Flow control (RFC 9113 §5.2, §6.9): how much may come on the connection and how much may be sent on it; the same for
//! each stream is in its record. What was taken is announced in portions of half a window, so that a message that fits a
//! window costs no frame at all.

use super::Engine;
use super::stream::{Key, Receiving, Sending, Stream};
use crate::error::{Reach, Violation};
use crate::frame;
use std::collections::VecDeque;

/// Every window before anybody says another (RFC 9113 §6.9.2).
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;

const WINDOW_MAX: i64 = (1 << 31) - 1;

/// The connection's windows.
#[derive(Debug)]
pub(super) struct Flow {
    /// What the other side may still send, in bytes.
    window: i64,
    /// What was taken and the other side does not know of.
    unclaimed: u32,
    /// What is announced at once.
    portion: u32,
    /// What we may send, in bytes.
    pub(super) credit: i64,
    /// Bytes in the queues of all streams.
    pub(super) queued: usize,
    /// Streams with data to write, in turn.
    pub(super) ready: VecDeque<Key>,
    /// Streams whose writers wait for the connection's window.
    pub(super) starved: VecDeque<Key>,
}

impl Flow {
    pub(super) fn new(window: u32) -> Self {
        Self {
            window: i64::from(window),
            unclaimed: 0,
            portion: window / 2,
            credit: i64::from(DEFAULT_WINDOW),
            queued: 0,
            ready: VecDeque::new(),
            starved: VecDeque::new(),
        }
    }

    /// So many bytes came.
    pub(super) fn received(&mut self, bytes: u32) -> Result<(), Reach> {
        self.window -= i64::from(bytes);
        if self.window < 0 { Err(Reach::Connection(Violation::BeyondWindow)) } else { Ok(()) }
    }

    /// So many bytes were taken. Returns what is to be announced.
    fn taken(&mut self, bytes: u32) -> Option<u32> {
        self.unclaimed += bytes;
        if self.unclaimed < self.portion {
            return None;
        }
        let by = std::mem::take(&mut self.unclaimed);
        self.window += i64::from(by);
        Some(by)
    }
}

impl Engine {
    /// Bytes of a stream, or of one that is gone, need no more memory here.
    pub(super) fn taken(&mut self, key: Option<Key>, bytes: u32) {
        if bytes == 0 || self.failure.is_some() {
            return;
        }
        let mut says = false;
        if let Some(by) = self.flow.taken(bytes) {
            frame::window_update(self.output.bytes(), 0, by);
            says = true;
        }
        let portion = self.config.stream_window / 2;
        let stream = key.and_then(|key| self.streams.get_mut(key));
        if let Some(stream) = stream
            && stream.receiving == Receiving::Body
            && stream.is_read
            && stream.failure.is_none()
        {
            stream.unclaimed += bytes;
            if stream.unclaimed >= portion {
                let by = std::mem::take(&mut stream.unclaimed);
                stream.window += i64::from(by);
                frame::window_update(self.output.bytes(), stream.id, by);
                says = true;
            }
        }
        if says {
            self.wake();
        }
    }

    /// WINDOW_UPDATE (RFC 9113 §6.9).
    pub(super) fn window_update(&mut self, stream: u32, payload: &[u8]) -> Result<(), Reach> {
        let by = match frame::number(payload) {
            Some(by) if payload.len() == 4 => by,
            _ => return Err(Reach::Connection(Violation::FrameSize)),
        };
        let key = self.streams.find(stream);
        if stream > 0 && key.is_none() {
            return self.on_unknown(stream);
        }
        let reach = |violation| match stream {
            0 => Reach::Connection(violation),
            id => Reach::Stream(id, violation),
        };
        if by == 0 {
            return Err(reach(Violation::WindowUnchanged));
        }
        let Some(key) = key else {
            self.flow.credit += i64::from(by);
            if self.flow.credit > WINDOW_MAX {
                return Err(reach(Violation::WindowOverflow));
            }
            self.feed();
            return Ok(());
        };
        let Some(record) = self.streams.get_mut(key) else { return Ok(()) };
        record.credit += i64::from(by);
        if record.credit > WINDOW_MAX {
            return Err(reach(Violation::WindowOverflow));
        }
        record.wake_writer();
        self.make_ready(key);
        Ok(())
    }

    /// The connection's window has grown: whoever waits for it may go on.
    pub(super) fn feed(&mut self) {
        for _ in 0..self.flow.starved.len() {
            let Some(key) = self.flow.starved.pop_front() else { return };
            if let Some(stream) = self.streams.get_mut(key) {
                stream.is_starved = false;
                stream.wake_writer();
            }
        }
    }

    /// The other side's initial window has changed by so much: so do all streams' (RFC 9113 §6.9.2).
    pub(super) fn shift_credit(&mut self, by: i64) -> Result<(), Violation> {
        for key in self.streams.keys() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.credit += by;
            if stream.credit > WINDOW_MAX {
                return Err(Violation::WindowOverflow);
            }
            if by > 0 {
                stream.wake_writer();
                self.make_ready(key);
            }
        }
        Ok(())
    }

    /// Puts a stream in the round of those that write, if it has what it may write.
    pub(super) fn make_ready(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let may = matches!(stream.sending, Sending::Open) && stream.credit > 0 && stream.failure.is_none();
        if may && !stream.is_ready && !stream.queue.is_empty() {
            stream.is_ready = true;
            self.flow.ready.push_back(key);
        }
    }

    /// Takes a stream out of the rounds of those that write or wait.
    pub(super) fn unlist(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if std::mem::take(&mut stream.is_ready) {
            self.flow.ready.retain(|ready| *ready != key);
        }
        if std::mem::take(&mut stream.is_starved) {
            self.flow.starved.retain(|starved| *starved != key);
        }
    }

    /// How many bytes a stream's writer may add to its queue.
    pub(super) fn room(&self, stream: &Stream) -> usize {
        let queued = i64::try_from(stream.queued).unwrap_or(i64::MAX);
        let all_queued = i64::try_from(self.flow.queued).unwrap_or(i64::MAX);
        let buffer = i64::try_from(self.config.send_buffer).unwrap_or(i64::MAX);
        let room = (buffer - queued).min(stream.credit - queued).min(self.flow.credit - all_queued);
        usize::try_from(room).unwrap_or(0)
    }
}
