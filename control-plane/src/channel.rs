//! gRPC over a connection that already stands. tonic asks a connector for connections; this one has exactly one to give, so
//! a lost connection is an error at once instead of a reconnect behind our back.

use hyper_util::rt::TokioIo;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Error};
use tower_service::Service;

/// Anything that bytes go over, both ways.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A channel over `stream`, with the target's other settings.
///
/// # Errors
/// When the HTTP/2 preface fails.
pub(crate) async fn over(stream: Box<dyn Io>, target: Endpoint) -> Result<Channel, Error> {
    target.connect_with_connector(Once(Some(TokioIo::new(stream)))).await
}

struct Once(Option<TokioIo<Box<dyn Io>>>);

impl Service<http::Uri> for Once {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let lost = || io::Error::new(io::ErrorKind::NotConnected, "the connection is lost");
        ready(self.0.take().ok_or_else(lost))
    }
}
