//! Bytes both ways between two streams until both have ended. Each direction ends by itself: the end of what one side
//! sends is passed on after everything before it was written, and the other direction goes on.
//!
//! A buffer is borrowed from the worker only while it holds bytes, so that an idle connection holds none. It starts at
//! 16 KiB, one TLS record, and becomes 256 KiB once a read fills it: every read has the kernel tell the sender of new room,
//! and every write begins a segment, which costs beside the copy.
//!
//! **How a relay ends.** When a side ends or breaks, what it had sent is still delivered, then the other side reads its
//! end: a server that is killed gives its client a clean close, never a reset. A break is not passed on as one, since
//! half of the world's clients turn a reset into lost data that had arrived before it.

mod buffers;

pub(crate) use buffers::Buffers;

use crate::telemetry::TcpSeries;
use buffers::Buffer;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One direction.
///
/// ```text
/// Reading ──bytes──> Writing ──all written──> Reading
///    └──end──> Closing ──> Done
/// ```
#[derive(Debug)]
struct Way {
    buffer: Option<Buffer>,
    large: bool,
    /// Bytes of the buffer that are not written yet.
    from: usize,
    to: usize,
    needs_flush: bool,
    state: WayState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WayState {
    Open,
    Closing,
    Done,
}

/// Which way bytes flow, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// From downstream to upstream.
    Up,
    /// From upstream to downstream.
    Down,
}

/// Relays until both directions have ended. A side that can't be written to any more ends its direction; the other one
/// goes on until that side's own end, which is near.
pub(crate) async fn relay<D, U>(downstream: &mut D, upstream: &mut U, buffers: &Buffers, series: &TcpSeries)
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Way::new(), Way::new());
    std::future::poll_fn(|cx| {
        let up = up.poll(cx, downstream, upstream, buffers, series, Flow::Up);
        let down = down.poll(cx, upstream, downstream, buffers, series, Flow::Down);
        if up.is_ready() && down.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Reads until nothing more is there or there is no room. From TLS a read brings one record, a part of a large buffer:
/// what follows it at once goes out in the same write.
fn poll_fill<R: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    reader: &mut R,
    space: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let before = space.filled().len();
        match Pin::new(&mut *reader).poll_read(cx, space) {
            // Whatever else is the case is told again by the next read.
            Poll::Pending | Poll::Ready(Err(_)) if before > 0 => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) if space.filled().len() > before && space.remaining() > 0 => {}
            polled @ (Poll::Pending | Poll::Ready(_)) => return polled,
        }
    }
}

impl Way {
    fn new() -> Self {
        Self { buffer: None, large: false, from: 0, to: 0, needs_flush: false, state: WayState::Open }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        buffers: &Buffers,
        series: &TcpSeries,
        flow: Flow,
    ) -> Poll<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while self.from < self.to {
                let unwritten =
                    self.buffer.as_ref().and_then(|b| b.bytes().get(self.from..self.to)).unwrap_or_default();
                match ready!(Pin::new(&mut *writer).poll_write(cx, unwritten)) {
                    Ok(written) if written > 0 => {
                        self.from += written;
                        self.needs_flush = true;
                    }
                    Ok(_) | Err(_) => return self.give_up(buffers),
                }
            }
            match self.state {
                WayState::Done => return Poll::Ready(()),
                WayState::Closing => {
                    // A writer that can't be shut down is gone, and knows that nothing follows.
                    let _gone = ready!(Pin::new(&mut *writer).poll_shutdown(cx)).is_err();
                    self.state = WayState::Done;
                    return Poll::Ready(());
                }
                WayState::Open => {}
            }
            let mut buffer = match self.buffer.take() {
                Some(buffer) if buffer.is_large() == self.large => buffer,
                Some(small) => {
                    buffers.give_back(small);
                    buffers.take(self.large)
                }
                None => buffers.take(self.large),
            };
            let mut space = ReadBuf::new(buffer.bytes_mut());
            match poll_fill(cx, reader, &mut space) {
                Poll::Pending => {
                    buffers.give_back(buffer);
                    if self.needs_flush {
                        if ready!(Pin::new(&mut *writer).poll_flush(cx)).is_err() {
                            return self.give_up(buffers);
                        }
                        self.needs_flush = false;
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) => {
                    let amount = space.filled().len();
                    self.count(series, flow, amount);
                    (self.from, self.to) = (0, amount);
                    if amount == 0 {
                        buffers.give_back(buffer);
                        self.state = WayState::Closing;
                    } else {
                        self.large |= amount == buffer.bytes().len();
                        self.buffer = Some(buffer);
                    }
                }
                Poll::Ready(Err(_broken)) => {
                    // The reader broke: what it sent is written, its end is passed on as an end.
                    buffers.give_back(buffer);
                    self.state = WayState::Closing;
                }
            }
        }
    }

    fn give_up(&mut self, buffers: &Buffers) -> Poll<()> {
        if let Some(buffer) = self.buffer.take() {
            buffers.give_back(buffer);
        }
        (self.from, self.to) = (0, 0);
        self.state = WayState::Done;
        Poll::Ready(())
    }

    fn count(&self, series: &TcpSeries, flow: Flow, amount: usize) {
        let amount = u64::try_from(amount).unwrap_or(u64::MAX);
        match flow {
            Flow::Up => series.received.add(amount),
            Flow::Down => series.sent.add(amount),
        }
    }
}
