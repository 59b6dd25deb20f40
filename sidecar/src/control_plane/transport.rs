//! gRPC over a connection that already stands. tonic asks a connector for connections; this one has exactly one to
//! give, so a lost connection is an error at once instead of a reconnect behind our back.

use crate::bootstrap::ControlPlane;
use http::Uri;
use hyper_util::rt::TokioIo;
use mesh_mtls::ClientStream;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Error};
use tower_service::Service;

/// A silent peer is asked for a sign of life after this long, …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and given up this long after that: a partition is noticed within 15 s.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes in flight: one response of a mid-sized service should not wait for window updates.
const WINDOW: u32 = 1024 * 1024;
/// Requests queued inside tonic; the session sends a handful at a time.
const QUEUE: usize = 16;

type Io = TokioIo<ClientStream<TcpStream>>;

/// A channel over `stream`.
///
/// # Errors
/// When the HTTP/2 preface fails.
pub(super) async fn channel(
    stream: ClientStream<TcpStream>,
    control_plane: &ControlPlane,
) -> Result<Channel, Error> {
    // TLS is done already: to tonic the scheme would mean that it has to do it.
    let uri = control_plane.to_string().replacen("https://", "http://", 1);
    Endpoint::from_shared(uri)?
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .buffer_size(QUEUE)
        .connect_with_connector(Once(Some(TokioIo::new(stream))))
        .await
}

struct Once(Option<Io>);

impl Service<Uri> for Once {
    type Response = Io;
    type Error = io::Error;
    type Future = Ready<Result<Io, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let lost = || io::Error::new(io::ErrorKind::NotConnected, "the connection is lost");
        ready(self.0.take().ok_or_else(lost))
    }
}
