//! Whether the other side of a connection is alive, for whoever watches it by the clock.

use crate::connection::Shared;
use std::fmt;

/// What a connection's keeper can ask of it and tell it.
pub struct Pulse(Shared);

impl Pulse {
    pub(crate) fn new(engine: Shared) -> Self {
        Self(engine)
    }

    /// Whether anything was read since this was asked last.
    pub fn was_heard(&self) -> bool {
        self.0.borrow_mut().take_heard()
    }

    /// Sends a PING, unless one is not answered yet.
    pub fn ask(&self) {
        self.0.borrow_mut().ping();
    }

    /// Gives back the buffers of a connection that has no streams; they are made again when they are needed.
    pub fn rest(&self) {
        self.0.borrow_mut().rest();
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").finish_non_exhaustive()
    }
}
