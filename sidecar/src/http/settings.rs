//! How hyper is set up, in one place, with the reason for each number.

use crate::worker::LocalExecutor;
use hyper_util::rt::TokioTimer;
use std::time::Duration;

/// Most bytes of a message's head. nginx allows 32 KiB, Envoy 60; a JWT with many claims fits.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEAD_LIST_MAX: u32 = 64 * 1024;

/// Most header fields of a message.
const HEADERS_MAX: usize = 128;

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

/// A silent HTTP/2 connection is asked for a sign of life after this long…
const PING_AFTER: Duration = Duration::from_secs(30);
/// … and given up this long after, so that a machine that vanished costs no request more than 40 s.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Which neighbours a connection joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    /// The application, or an endpoint without a sidecar.
    Local,
    /// Another sidecar.
    Mesh,
}

/// Serving HTTP/1.1. The head's deadline and the idle limit are `listen::activity`'s.
pub(crate) fn http1_server() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_buf_size(BUFFER_MAX).max_headers(HEADERS_MAX).header_read_timeout(None);
    // A response without Date is the application's business, not ours.
    // Not `pipeline_flush`: with it the answer to an unreadable request is never written.
    builder.auto_date_header(false);
    builder
}

/// Serving HTTP/2.
pub(crate) fn http2_server(hop: Hop) -> hyper::server::conn::http2::Builder<LocalExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
    let (streams, stream, connection) = match hop {
        Hop::Local => (STREAMS_MAX, LOCAL_STREAM_WINDOW, LOCAL_CONNECTION_WINDOW),
        Hop::Mesh => (MESH_STREAMS_MAX, MESH_STREAM_WINDOW, MESH_CONNECTION_WINDOW),
    };
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection)
        .max_send_buf_size(SEND_BUFFER_MAX)
        .max_header_list_size(HEAD_LIST_MAX)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .auto_date_header(false);
    builder
}

/// Asking in HTTP/1.1.
pub(crate) fn http1_client() -> hyper::client::conn::http1::Builder {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(BUFFER_MAX).max_headers(HEADERS_MAX);
    builder
}

/// Asking in HTTP/2.
pub(crate) fn http2_client(hop: Hop) -> hyper::client::conn::http2::Builder<LocalExecutor> {
    let mut builder = hyper::client::conn::http2::Builder::new(LocalExecutor);
    let (stream, connection) = match hop {
        Hop::Local => (LOCAL_STREAM_WINDOW, LOCAL_CONNECTION_WINDOW),
        Hop::Mesh => (MESH_STREAM_WINDOW, MESH_CONNECTION_WINDOW),
    };
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection)
        .max_send_buf_size(SEND_BUFFER_MAX)
        .max_header_list_size(HEAD_LIST_MAX)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(hop == Hop::Mesh);
    builder
}
