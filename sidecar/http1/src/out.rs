//! What is to be written. Heads, the lines between chunks and small data are gathered in one buffer; larger data keeps its
//! own, between them, and all of it leaves in one vectored write. An empty one holds no memory once it was released.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Data up to this is copied: cheaper than another slice for the kernel to look at.
const COPY_MAX: usize = 1024;

/// Slices given to one write.
const SLICES: usize = 16;

/// Bytes on their way out, in order.
#[derive(Debug, Default)]
pub(crate) struct Out {
    small: Vec<u8>,
    /// So many of the small bytes are written.
    from: usize,
    large: VecDeque<Large>,
    bytes: usize,
    needs_flush: bool,
    /// Whether anything was written since it was last asked.
    has_written: bool,
}

/// Data with its place: before the small byte at `at`.
#[derive(Debug)]
struct Large {
    at: usize,
    data: Bytes,
}

impl Out {
    /// Bytes not written yet.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Whether all is written and flushed.
    pub(crate) fn is_clean(&self) -> bool {
        self.bytes == 0 && !self.needs_flush
    }

    /// Whether a write has taken any since the last [`Self::start`].
    pub(crate) fn has_written(&self) -> bool {
        self.has_written
    }

    /// A message begins, of about so many bytes.
    pub(crate) fn start(&mut self, bytes: usize) {
        self.has_written = false;
        self.small.reserve(bytes);
    }

    /// Adds bytes of our own.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Adds a number in base `RADIX`, 10 or 16.
    pub(crate) fn push_number<const RADIX: u64>(&mut self, number: u64) {
        let mut digits = [0_u8; 20];
        let (mut rest, mut used) = (number, 0);
        for place in digits.iter_mut().rev() {
            let digit = u8::try_from(rest % RADIX).unwrap_or_default();
            *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
            used += 1;
            rest /= RADIX;
            if rest == 0 {
                break;
            }
        }
        let digits = digits.len().checked_sub(used).and_then(|from| digits.get(from..));
        self.push(digits.unwrap_or_default());
    }

    /// Adds data.
    pub(crate) fn push_data(&mut self, data: Bytes) {
        if data.len() <= COPY_MAX {
            self.push(&data);
        } else {
            self.bytes += data.len();
            self.large.push_back(Large { at: self.small.len(), data });
        }
    }

    /// Forgets what was not written.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives its memory back, if all is written.
    pub(crate) fn release(&mut self) {
        if self.is_clean() {
            self.small = Vec::new();
            self.large = VecDeque::new();
        }
    }

    /// Writes and flushes all.
    pub(crate) fn poll_write<IO>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        while self.bytes > 0 {
            let written = match self.large.front() {
                None => {
                    let rest = self.small.get(self.from..).unwrap_or_default();
                    ready!(Pin::new(&mut *io).poll_write(cx, rest))?
                }
                Some(_) => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let used = self.gather(&mut slices);
                    let slices = slices.get(..used).unwrap_or_default();
                    ready!(Pin::new(&mut *io).poll_write_vectored(cx, slices))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
            (self.has_written, self.needs_flush) = (true, true);
        }
        if self.needs_flush {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// The pieces in order, as many as fit; none is empty.
    fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut at = self.from;
        let pieces = self.large.iter().flat_map(|large| {
            let before = self.small.get(at..large.at).unwrap_or_default();
            at = large.at;
            [before, &large.data]
        });
        let last = self.large.back().map_or(self.from, |large| large.at);
        let last = self.small.get(last..).unwrap_or_default();
        let pieces = pieces.chain([last]).filter(|piece| !piece.is_empty());
        slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        let mut written = written;
        while let Some(large) = self.large.front_mut() {
            let before = large.at.saturating_sub(self.from);
            if written < before {
                break;
            }
            written -= before;
            self.from = large.at;
            if written < large.data.len() {
                large.data.advance(written);
                return;
            }
            written -= large.data.len();
            self.large.pop_front();
        }
        self.from += written;
        if self.bytes == 0 {
            self.small.clear();
            self.from = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    /// A writer that takes so many bytes each time, and counts how often it was asked.
    struct Narrow {
        width: usize,
        got: Vec<u8>,
        writes: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let amount = bytes.len().min(self.width);
            self.writes += 1;
            self.got.extend_from_slice(&bytes[..amount]);
            Poll::Ready(Ok(amount))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let amount = all.len().min(self.width);
            self.writes += 1;
            self.got.extend_from_slice(&all[..amount]);
            Poll::Ready(Ok(amount))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(out: &mut Out, width: usize) -> Narrow {
        let mut io = Narrow { width, got: Vec::new(), writes: 0 };
        assert!(matches!(
            out.poll_write(&mut io, &mut Context::from_waker(Waker::noop())),
            Poll::Ready(Ok(()))
        ));
        io
    }

    #[test]
    fn a_head_and_what_follows_leave_in_one_write() {
        let mut out = Out::default();
        out.push(b"head");
        out.push_data(Bytes::from_static(b"small"));
        assert_eq!(write(&mut out, usize::MAX).writes, 1);
        out.push(b"head");
        out.push_data(Bytes::from(vec![b'x'; COPY_MAX + 1]));
        out.push(b"tail");
        let written = write(&mut out, usize::MAX);
        assert_eq!(written.writes, 1);
        assert_eq!(written.got, [b"head", &vec![b'x'; COPY_MAX + 1][..], b"tail"].concat());
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 7, 10, 255, 4096, u64::MAX] {
            let mut out = Out::default();
            out.push_number::<10>(number);
            out.push(b" ");
            out.push_number::<16>(number);
            let expected = format!("{number} {number:x}");
            assert_eq!(String::from_utf8(write(&mut out, 99).got).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn bytes_leave_in_order_however_little_the_writer_takes(
            pieces in proptest::collection::vec((any::<bool>(), any::<u8>(), 0..3 * COPY_MAX), 0..40),
            width in 1_usize..4000,
        ) {
            let (mut out, mut expected) = (Out::default(), Vec::new());
            for (is_data, byte, length) in pieces {
                let piece = vec![byte; length];
                expected.extend_from_slice(&piece);
                if is_data { out.push_data(piece.into()) } else { out.push(&piece) }
            }
            prop_assert_eq!(out.len(), expected.len());
            prop_assert_eq!(write(&mut out, width).got, expected);
            prop_assert!(out.is_clean());
        }
    }
}
