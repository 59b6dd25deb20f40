//! How our HTTP/2 is set up, in one place, with the reason for each number.

/// Most bytes of a message's head, as HTTP/2 counts them; what HTTP/1.1 reads of one at most.
pub(crate) const HEAD_BYTES_MAX: usize = mesh_http1::HEAD_MAX;

/// What HTTP/2 keeps of a head. Twice ours, so that whatever is a little too large is there when it is refused; of what is
/// larger the rest is missing, and it is refused for that.
const HEAD_LIST_READ_MAX: u32 = 128 * 1024;

/// Requests on a new HTTP/2 connection before the other side has said how many it takes; the least that RFC 9113 §6.5.2
/// recommends anybody to allow.
const FIRST_STREAMS_MAX: u32 = 100;

/// Requests a client may have open on one HTTP/2 connection. What it sends beyond is its own queue.
const STREAMS_MAX: u32 = 256;

/// The same between sidecars, where one connection stands for many clients.
pub(crate) const MESH_STREAMS_MAX: u32 = 1024;

/// Window of one stream between sidecars: at a round trip of 10 ms one stream may flow at 100 MB/s.
const MESH_STREAM_WINDOW: u32 = 1 << 20;

/// Window of all streams of a connection together: what one slow application can make us hold for it.
const MESH_CONNECTION_WINDOW: u32 = 8 << 20;

/// Windows towards the application, which is on this machine: round trips are short.
const LOCAL_STREAM_WINDOW: u32 = 256 << 10;
const LOCAL_CONNECTION_WINDOW: u32 = 2 << 20;

/// What one stream may have in memory because its reader is slow; with it the writer stops.
const SEND_BUFFER_MAX: usize = 128 << 10;

/// Which neighbours a connection joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    /// The application, or an endpoint without a sidecar.
    Local,
    /// Another sidecar.
    Mesh,
}

/// Serving HTTP/2.
pub(crate) fn http2_server(hop: Hop) -> mesh_http2::Config {
    let (streams, stream, connection) = match hop {
        Hop::Local => (STREAMS_MAX, LOCAL_STREAM_WINDOW, LOCAL_CONNECTION_WINDOW),
        Hop::Mesh => (MESH_STREAMS_MAX, MESH_STREAM_WINDOW, MESH_CONNECTION_WINDOW),
    };
    mesh_http2::Config {
        streams_max: streams,
        first_streams: 0,
        stream_window: stream,
        connection_window: connection,
        send_buffer: SEND_BUFFER_MAX,
        head_bytes: HEAD_LIST_READ_MAX,
        keeps_buffers: true,
    }
}

/// Asking in HTTP/2.
pub(crate) fn http2_client(hop: Hop) -> mesh_http2::Config {
    let (stream, connection) = match hop {
        Hop::Local => (LOCAL_STREAM_WINDOW, LOCAL_CONNECTION_WINDOW),
        Hop::Mesh => (MESH_STREAM_WINDOW, MESH_CONNECTION_WINDOW),
    };
    mesh_http2::Config {
        streams_max: 0,
        first_streams: FIRST_STREAMS_MAX,
        stream_window: stream,
        connection_window: connection,
        send_buffer: SEND_BUFFER_MAX,
        head_bytes: HEAD_LIST_READ_MAX,
        keeps_buffers: true,
    }
}
