//! What we allow the other side on a connection, and say so when it begins (RFC 9113 §6.5.2).

use crate::engine::Role;
use crate::frame;

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Streams the other side may have open; one more is refused, unprocessed. Only a server's counts.
    pub streams_max: u32,
    /// Streams a client opens before the server has said how many it takes.
    pub first_streams: u32,
    /// Bytes that may come on a stream before they are taken; 65,535 at least, 2^31 - 1 at most.
    pub stream_window: u32,
    /// Bytes that may come on all streams before they are taken; the same bounds.
    pub connection_window: u32,
    /// Bytes of one stream that are kept here because they can't be sent yet; then its writer waits.
    pub send_buffer: usize,
    /// Bytes of a message's fields, with 32 for each field. A request with more is cut and marked
    /// [`Truncated`](crate::Truncated); a response or trailers with more end their stream. The bytes of a header block
    /// on the wire may be twice as many; beyond, the connection ends.
    pub head_bytes: u32,
    /// Whether the connection keeps its buffers for reading and writing while it has nothing to do, which is faster, or
    /// gives them back each time. Then it costs some KiB less while it waits.
    pub keeps_buffers: bool,
}

impl Config {
    /// Bounded as the protocol asks.
    pub(crate) fn bounded(mut self) -> Self {
        const WINDOW_MAX: u32 = (1 << 31) - 1;
        let bounds = crate::engine::DEFAULT_WINDOW..=WINDOW_MAX;
        self.stream_window = self.stream_window.clamp(*bounds.start(), *bounds.end());
        self.connection_window = self.connection_window.clamp(*bounds.start(), *bounds.end());
        self
    }

    /// What is said of it first.
    pub(crate) fn say(self, role: Role, output: &mut Vec<u8>) {
        const ENABLE_PUSH: u16 = 2;
        const MAX_CONCURRENT_STREAMS: u16 = 3;
        const INITIAL_WINDOW_SIZE: u16 = 4;
        const MAX_HEADER_LIST_SIZE: u16 = 6;
        let first = match role {
            Role::Client => (ENABLE_PUSH, 0),
            Role::Server => (MAX_CONCURRENT_STREAMS, self.streams_max),
        };
        let rest = [(INITIAL_WINDOW_SIZE, self.stream_window), (MAX_HEADER_LIST_SIZE, self.head_bytes)];
        frame::settings(output, &[first, rest[0], rest[1]]);
        let more = self.connection_window.saturating_sub(crate::engine::DEFAULT_WINDOW);
        if more > 0 {
            frame::window_update(output, 0, more);
        }
    }
}
