//! The end of a connection that is not an accident (RFC 9113 §6.8). A server says twice that it takes no more: first that
//! it is about to, with a PING; once that is answered, everything the client sent before it knew has come, and it is told
//! which stream was the last.
//!
//! ```text
//! Staying ──shut down──> Announced (GOAWAY 2^31-1, PING) ──PING answered──> Final (GOAWAY last) ──no streams──> done
//! ```

use super::{Engine, Role};
use crate::error::{Error, ErrorCode, Reach, Violation};
use crate::frame;

/// What the PING between the two says.
pub(super) const LAST_WORDS: [u8; 8] = *b"last one";

const NO_LIMIT: u32 = (1 << 31) - 1;

/// How far both sides are.
#[derive(Debug, Default)]
pub(super) struct GoingAway {
    ours: Ours,
    /// The other side has said that it takes no more.
    theirs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ours {
    #[default]
    Staying,
    Announced,
    Final,
}

impl GoingAway {
    /// We take no more streams.
    pub(super) fn is_final(&self) -> bool {
        self.ours == Ours::Final
    }

    /// Either side is going.
    pub(super) fn is_any(&self) -> bool {
        self.theirs || self.ours != Ours::Staying
    }
}

impl Engine {
    /// Takes no more requests, but for those that are under way.
    pub(crate) fn shut_down(&mut self) {
        if self.going_away.ours == Ours::Staying && self.failure.is_none() {
            self.going_away.ours = Ours::Announced;
            frame::go_away(self.output.bytes(), NO_LIMIT, ErrorCode::NO_ERROR, "");
            frame::ping(self.output.bytes(), 0, LAST_WORDS);
            self.wake();
        }
    }

    /// The other side knows that we are going.
    pub(super) fn heard_last_words(&mut self) {
        if self.going_away.ours == Ours::Announced {
            self.going_away.ours = Ours::Final;
            let last = self.streams.last_of_peer();
            frame::go_away(self.output.bytes(), last, ErrorCode::NO_ERROR, "");
        }
    }

    /// GOAWAY (RFC 9113 §6.8).
    pub(super) fn told_to_go(&mut self, payload: &[u8]) -> Result<(), Reach> {
        let (last, code) = match (frame::number(payload), payload.get(4..8).and_then(<[u8]>::first_chunk)) {
            (Some(last), Some(code)) => (last, ErrorCode::from_wire(u32::from_be_bytes(*code))),
            _ => return Err(Reach::Connection(Violation::FrameSize)),
        };
        self.going_away.theirs = true;
        if self.role == Role::Server {
            // A client's word is about pushes, of which there are none.
            return Ok(());
        }
        for key in self.streams.keys() {
            let Some(stream) = self.streams.get(key) else { continue };
            if stream.id == 0 {
                self.fail_stream(key, Error::NotOpened);
            } else if stream.id > last {
                self.fail_stream(key, Error::GoAway(code));
            }
        }
        Ok(())
    }

    /// Whether another request may be sent: neither after the connection's end nor after the other side's GOAWAY.
    pub(crate) fn takes_requests(&self) -> bool {
        self.failure.is_none() && !self.going_away.theirs && self.streams.has_next_of_ours()
    }

    /// Whether the connection has nothing left to do but to be closed, once its output is written.
    pub(crate) fn is_done(&self) -> bool {
        if self.failure.is_some() {
            return true;
        }
        let is_going = match self.role {
            Role::Client => self.openers == 0 || self.going_away.theirs,
            Role::Server => self.going_away.is_final(),
        };
        is_going && self.streams.open() == 0 && self.waiting.is_empty() && self.arrived.is_empty()
    }
}
