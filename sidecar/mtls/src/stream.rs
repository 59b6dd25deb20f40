//! Encrypted streams between sidecars: the bytes, and what the handshake proved. Concrete types over any stream: no
//! boxing, no copy besides the one encryption makes.

use crate::alpn::Alpn;
use mesh_names::SpiffeId;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

/// The opening side of a connection between sidecars.
pub struct ClientStream<IO> {
    tls: tokio_rustls::client::TlsStream<IO>,
    peer: SpiffeId,
    alpn: Alpn,
    resumed: bool,
}

/// The accepting side of a connection between sidecars.
pub struct ServerStream<IO> {
    tls: tokio_rustls::server::TlsStream<IO>,
    peer: SpiffeId,
    alpn: Alpn,
    resumed: bool,
}

impl<IO> ClientStream<IO> {
    pub(crate) fn new(
        tls: tokio_rustls::client::TlsStream<IO>,
        peer: SpiffeId,
        alpn: Alpn,
        resumed: bool,
    ) -> Self {
        Self { tls, peer, alpn, resumed }
    }
}

impl<IO> ServerStream<IO> {
    pub(crate) fn new(
        tls: tokio_rustls::server::TlsStream<IO>,
        peer: SpiffeId,
        alpn: Alpn,
        resumed: bool,
    ) -> Self {
        Self { tls, peer, alpn, resumed }
    }

    /// The server name the client asked for.
    pub fn sni(&self) -> Option<&str> {
        self.tls.get_ref().1.server_name()
    }
}

macro_rules! proven {
    ($($stream:ident),*) => {$(
        impl<IO> $stream<IO> {
            /// Who the other side proved to be.
            pub fn peer(&self) -> &SpiffeId {
                &self.peer
            }

            /// What is spoken inside.
            pub fn alpn(&self) -> Alpn {
                self.alpn
            }

            /// The handshake resumed an earlier session instead of exchanging certificates.
            pub fn is_resumed(&self) -> bool {
                self.resumed
            }

            /// The stream underneath, for its addresses and socket options.
            pub fn io(&self) -> &IO {
                self.tls.get_ref().0
            }
        }

        impl<IO> fmt::Debug for $stream<IO> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($stream))
                    .field("peer", &self.peer)
                    .field("alpn", &self.alpn)
                    .field("resumed", &self.resumed)
                    .finish_non_exhaustive()
            }
        }
    )*};
}
proven!(ClientStream, ServerStream);

/// Passes every read and write to the field `tls`. Shutting down sends `close_notify`, so that the peer can tell the
/// end of the data from a cut connection.
macro_rules! stream_of_tls {
    ($($stream:ident),*) => {$(
        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for $stream<IO> {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.tls).poll_read(cx, buf)
            }
        }

        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for $stream<IO> {
            fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
                Pin::new(&mut self.get_mut().tls).poll_fill_buf(cx)
            }

            fn consume(mut self: Pin<&mut Self>, amount: usize) {
                Pin::new(&mut self.tls).consume(amount);
            }
        }

        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for $stream<IO> {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.tls).poll_write(cx, buf)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                self.tls.is_write_vectored()
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.tls).poll_flush(cx)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.tls).poll_shutdown(cx)
            }
        }
    )*};
}
stream_of_tls!(ClientStream, ServerStream);
pub(crate) use stream_of_tls;
