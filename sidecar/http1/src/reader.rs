//! What is read of a connection. One buffer, of which messages are cut off as slices; it grows for connections whose reads
//! fill it, and it is given back while nothing is in it and nothing comes.

use bytes::BytesMut;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt};

/// First size of a buffer: nearly every head, and most bodies behind it.
const SIZE_MIN: usize = 8 * 1024;

/// Largest size: what a socket's buffer holds of a fast sender on one machine.
const SIZE_MAX: usize = 64 * 1024;

/// More than a body's rest is asked for, so that a read that brings all of it does not fill the buffer: tokio takes a read
/// that fills it for a sign that there is more, and the next one for a look into the kernel.
const BEYOND: usize = 256;

/// Reads in a row that use little of a buffer before it becomes smaller.
const SMALL_READS: u8 = 8;

/// What was read and not used yet.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) buffer: BytesMut,
    size: usize,
    small_reads: u8,
}

impl Reader {
    pub(crate) fn new(read: BytesMut) -> Self {
        Self { buffer: read, size: SIZE_MIN, small_reads: 0 }
    }

    /// Reads more; 0 is the connection's end. `expected` says how many bytes will come at least, if that is known.
    pub(crate) fn poll_read<IO>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        expected: Option<u64>,
    ) -> Poll<io::Result<usize>>
    where
        IO: AsyncRead + Unpin,
    {
        let wanted = match expected {
            Some(expected) => usize::try_from(expected)
                .map_or(SIZE_MAX, |expected| expected.saturating_add(BEYOND).clamp(SIZE_MIN, SIZE_MAX)),
            None => self.size,
        };
        let mut room = self.buffer.capacity() - self.buffer.len();
        // What is left of the last buffer is used up, but not in ever smaller reads.
        if room < wanted && (expected.is_some() || room < self.size / 2) {
            self.buffer.reserve(wanted);
            room = self.buffer.capacity() - self.buffer.len();
        }
        let read = ready!(pin!(io.read_buf(&mut self.buffer)).poll(cx))?;
        if read >= room {
            self.size = (self.size * 2).min(SIZE_MAX);
            self.small_reads = 0;
        } else if read < self.size / 4 && self.size > SIZE_MIN {
            self.small_reads += 1;
            if self.small_reads == SMALL_READS {
                self.size /= 2;
                self.small_reads = 0;
            }
        } else {
            self.small_reads = 0;
        }
        Poll::Ready(Ok(read))
    }

    /// Gives the buffer back, if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read(reader: &mut Reader, mut from: &[u8], expected: Option<u64>) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        match reader.poll_read(&mut from, &mut cx, expected) {
            Poll::Ready(Ok(read)) => read,
            other @ (Poll::Ready(_) | Poll::Pending) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_body_whose_length_is_known_comes_in_one_read() {
        let mut reader = Reader::new(BytesMut::new());
        assert_eq!(read(&mut reader, &[0; 200], None), 200);
        reader.buffer.clear();
        assert_eq!(read(&mut reader, &[0; 40_000], Some(40_000)), 40_000);
    }

    #[test]
    fn a_buffer_grows_with_what_comes_and_shrinks_again() {
        let mut reader = Reader::new(BytesMut::new());
        for expected in [SIZE_MIN, 2 * SIZE_MIN, 4 * SIZE_MIN, SIZE_MAX, SIZE_MAX] {
            assert_eq!(read(&mut reader, &[0; 2 * SIZE_MAX], None), expected);
            reader.buffer = BytesMut::new();
        }
        for _ in 0..3 * SMALL_READS {
            read(&mut reader, &[0; 100], None);
            reader.buffer = BytesMut::new();
        }
        assert_eq!(read(&mut reader, &[0; SIZE_MAX], None), SIZE_MIN);
    }

    #[test]
    fn nothing_is_held_while_nothing_is_there() {
        let mut reader = Reader::new(BytesMut::new());
        read(&mut reader, &[0; 10], None);
        reader.release();
        assert_eq!(reader.buffer.len(), 10);
        reader.buffer.clear();
        reader.release();
        assert_eq!(reader.buffer.capacity(), 0);
    }
}
