//! Reading ahead of TLS where much comes. TLS reads a record's worth at a time, and after each read the kernel tells the
//! sender that there is room again: for bulk that was half of what reading costs. Once several reads have brought all
//! that was asked for, larger ones are made, and TLS is fed from them, until one finds nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once where much comes.
const AHEAD: usize = 64 * 1024;

/// A read that asks for so many bytes and gets them, or an earlier one like it, is a sign of more: the largest record's.
const FULL: usize = 16 * 1024;

/// So many such reads in a row: 256 KiB, which is more than nearly every message.
const FULL_READS: u8 = 16;

/// And so many where it was bulk before a pause.
const FULL_READS_AGAIN: u8 = 2;

/// A stream that is read ahead of, and written as it is.
#[derive(Debug)]
pub(crate) struct ReadAhead<IO> {
    io: IO,
    full_reads: u8,
    ahead: Option<Box<Ahead>>,
}

/// What was read and not asked for yet.
#[derive(Debug)]
struct Ahead {
    bytes: Box<[u8]>,
    from: usize,
    to: usize,
}

impl<IO> ReadAhead<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self { io, full_reads: 0, ahead: None }
    }

    pub(crate) fn get_ref(&self) -> &IO {
        &self.io
    }
}

impl Ahead {
    fn new() -> Self {
        Self { bytes: vec![0; AHEAD].into_boxed_slice(), from: 0, to: 0 }
    }

    /// Gives out what there is room for.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let unread = self.bytes.get(self.from..self.to).unwrap_or_default();
        let given = unread.get(..buf.remaining()).unwrap_or(unread);
        buf.put_slice(given);
        self.from += given.len();
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReadAhead<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(ahead) = &mut this.ahead else {
            let asked = buf.remaining();
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            let is_full = asked >= FULL && buf.filled().len() - before == asked;
            this.full_reads = if is_full { this.full_reads + 1 } else { 0 };
            if this.full_reads >= FULL_READS {
                this.ahead = Some(Box::new(Ahead::new()));
            }
            return Poll::Ready(Ok(()));
        };
        if ahead.from == ahead.to {
            let mut space = ReadBuf::new(&mut ahead.bytes);
            // Of an error nothing was read.
            let read = Pin::new(&mut this.io).poll_read(cx, &mut space);
            (ahead.from, ahead.to) = (0, space.filled().len());
            if ahead.to == 0 {
                (this.ahead, this.full_reads) = (None, FULL_READS - FULL_READS_AGAIN);
                return read;
            }
        }
        ahead.give(buf);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ReadAhead<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use tokio::io::AsyncReadExt;

    /// Gives out what is told, a piece at each read that has room for it, and then nothing for a while, or its end.
    #[derive(Debug, Default)]
    struct Pieces {
        pieces: VecDeque<Vec<u8>>,
        reads: usize,
        /// The most a read has asked for.
        asked: usize,
        ends: bool,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            self.asked = self.asked.max(buf.remaining());
            let Some(mut piece) = self.pieces.pop_front() else {
                return if self.ends { Poll::Ready(Ok(())) } else { Poll::Pending };
            };
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
            Poll::Ready(Ok(()))
        }
    }

    fn bytes(amount: usize) -> Vec<u8> {
        (0..=u8::MAX).cycle().take(amount).collect()
    }

    #[tokio::test]
    async fn bulk_is_read_in_large_pieces_and_an_idle_stream_holds_no_buffer() {
        let pieces = VecDeque::from([bytes(1 << 20), bytes(100)]);
        let mut stream = ReadAhead::new(Pieces { pieces, ..Pieces::default() });
        let (mut got, mut buf) = (Vec::new(), [0; FULL]);
        while got.len() < (1 << 20) + 100 {
            let amount = stream.read(&mut buf).await.unwrap();
            got.extend_from_slice(&buf[..amount]);
        }
        assert_eq!(got, [bytes(1 << 20), bytes(100)].concat());
        let full = usize::from(FULL_READS);
        assert_eq!((stream.io.asked, stream.io.reads), (AHEAD, full + ((1 << 20) - full * FULL) / AHEAD + 1));
        let polled = std::future::poll_fn(|cx| {
            Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut buf)))
        });
        assert!(polled.await.is_pending() && stream.ahead.is_none());
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_came(
            lengths in proptest::collection::vec(1_usize..80_000, 0..12),
            asked in proptest::collection::vec(prop_oneof![1_usize..500, 16_384_usize..20_000], 1..4),
        ) {
            let pieces: VecDeque<Vec<u8>> = lengths.iter().map(|length| bytes(*length)).collect();
            let expected: Vec<u8> = pieces.iter().flatten().copied().collect();
            let mut stream = ReadAhead::new(Pieces { pieces, ends: true, ..Pieces::default() });
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let got = runtime.block_on(async {
                let (mut got, mut asked) = (Vec::new(), asked.iter().cycle());
                loop {
                    let mut buf = vec![0; *asked.next().unwrap()];
                    match stream.read(&mut buf).await.unwrap() {
                        0 => return got,
                        amount => got.extend_from_slice(&buf[..amount]),
                    }
                }
            });
            prop_assert!(got == expected);
        }
    }
}
