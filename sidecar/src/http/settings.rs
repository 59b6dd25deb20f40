//! How hyper (HTTP/1) and our HTTP/2 are set up, in one place, with the reason for each number.

/// Most bytes of a message's head. nginx allows 32 KiB, Envoy 60; a JWT with many claims fits.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What HTTP/2 keeps of a head. Twice ours, so that whatever is a little too large is there when it is refused; of what is
/// larger the rest is missing, and it is refused for that.
const HEAD_LIST_READ_MAX: u32 = 128 * 1024;

/// Requests on a new HTTP/2 connection before the other side has said how many it takes; the least that RFC 9113 §6.5.2
/// recommends anybody to allow.
const FIRST_STREAMS_MAX: u32 = 100;

/// hyper's read buffer grows up to this; it bounds the head too.
const BUFFER_MAX: usize = HEAD_BYTES_MAX + 8 * 1024;

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

/// Serving HTTP/1.1. A message may have 100 fields, as with Envoy: hyper's own limit, which it keeps in an array, while any
/// other number costs 2,500 instructions per message. The head's deadline and the idle limit are `listen::activity`'s.
pub(crate) fn http1_server() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_buf_size(BUFFER_MAX).header_read_timeout(None);
    // A response without Date is the application's business, not ours.
    // Not `pipeline_flush`: with it the answer to an unreadable request is never written.
    builder.auto_date_header(false);
    builder
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
    }
}

/// Asking in HTTP/1.1. As above, an answer may have 100 fields.
pub(crate) fn http1_client() -> hyper::client::conn::http1::Builder {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(BUFFER_MAX);
    builder
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
    }
}
