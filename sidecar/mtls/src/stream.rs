//! Encrypted streams between sidecars: the bytes, and what the handshake proved. Concrete types over any stream: no
//! boxing, no copy besides the one encryption makes.

use crate::ahead::ReadAhead;
use crate::alpn::Alpn;
use mesh_names::SpiffeId;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

/// The opening side of a connection between sidecars.
pub struct ClientStream<IO> {
    tls: tokio_rustls::client::TlsStream<ReadAhead<IO>>,
    peer: SpiffeId,
    alpn: Alpn,
    resumed: bool,
}

/// The accepting side of a connection between sidecars.
pub struct ServerStream<IO> {
    tls: tokio_rustls::server::TlsStream<ReadAhead<IO>>,
    peer: SpiffeId,
    alpn: Alpn,
    resumed: bool,
}

impl<IO> ClientStream<IO> {
    pub(crate) fn new(
        tls: tokio_rustls::client::TlsStream<ReadAhead<IO>>,
        peer: SpiffeId,
        alpn: Alpn,
        resumed: bool,
    ) -> Self {
        Self { tls, peer, alpn, resumed }
    }
}

impl<IO> ServerStream<IO> {
    pub(crate) fn new(
        tls: tokio_rustls::server::TlsStream<ReadAhead<IO>>,
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
                self.tls.get_ref().0.get_ref()
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
                // Not split where it is short, which is nearly always.
                if buf.len() <= $crate::stream::PIECE {
                    return Pin::new(&mut self.tls).poll_write(cx, buf);
                }
                let whole = [IoSlice::new(buf)];
                let pieces = $crate::stream::Pieces::of(&whole);
                Pin::new(&mut self.tls).poll_write_vectored(cx, pieces.get())
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                if bufs.iter().all(|buf| buf.len() <= $crate::stream::PIECE) {
                    return Pin::new(&mut self.tls).poll_write_vectored(cx, bufs);
                }
                let pieces = $crate::stream::Pieces::of(bufs);
                Pin::new(&mut self.tls).poll_write_vectored(cx, pieces.get())
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

/// Most bytes that TLS is given in one piece. It copies each to an odd address, behind a record's head of 5 bytes, and glibc
/// copies 2,112 bytes and more by `rep movsb` where the processor calls that fast, which on Zen 3 and 4 it is not for such
/// addresses (glibc bug 30994): it took a third of an outbound sidecar's time for bulk.
pub(crate) const PIECE: usize = 2048;

/// Pieces of one write: 64 KiB, what TLS buffers at most.
const PIECES_MAX: usize = 32;

/// The beginning of what is to be written, cut into pieces.
pub(crate) struct Pieces<'a> {
    pieces: [IoSlice<'a>; PIECES_MAX],
    count: usize,
}

impl<'a> Pieces<'a> {
    pub(crate) fn of(bufs: &'a [IoSlice<'_>]) -> Self {
        let (mut pieces, mut count) = ([IoSlice::new(&[]); PIECES_MAX], 0);
        let cut = bufs.iter().flat_map(|buf| buf.chunks(PIECE));
        for (place, piece) in pieces.iter_mut().zip(cut) {
            *place = IoSlice::new(piece);
            count += 1;
        }
        Self { pieces, count }
    }

    pub(crate) fn get(&self) -> &[IoSlice<'a>] {
        self.pieces.get(..self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_the_beginning_of_what_is_written_and_each_is_short(
            lengths in proptest::collection::vec(0_usize..40_000, 0..8),
        ) {
            let bytes: Vec<Vec<u8>> =
                (0_u8..).zip(&lengths).map(|(n, length)| vec![n; *length]).collect();
            let bufs: Vec<IoSlice<'_>> = bytes.iter().map(|bytes| IoSlice::new(bytes)).collect();
            let pieces = Pieces::of(&bufs);
            let (whole, taken) = (bytes.concat(), pieces.get().iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>());
            prop_assert!(whole.starts_with(&taken));
            prop_assert!(pieces.get().iter().all(|piece| !piece.is_empty() && piece.len() <= PIECE));
            // All of it, or as much as there is room for pieces.
            prop_assert!(taken.len() == whole.len() || pieces.get().len() == PIECES_MAX);
        }
    }
}
