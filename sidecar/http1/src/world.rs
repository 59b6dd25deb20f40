//! What tests of both ends need: the other end as bytes, and streams that count or fail.

use bytes::Bytes;
use http_body::{Body, Frame};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};

/// A stream whose writes are counted, and fail once they are told to.
#[derive(Debug)]
pub(crate) struct Counted {
    io: DuplexStream,
    pub(crate) writes: Rc<Cell<usize>>,
    pub(crate) fails: Rc<Cell<bool>>,
}

/// The other end, and this one.
pub(crate) fn pair() -> (DuplexStream, Counted) {
    let (other, io) = tokio::io::duplex(1 << 20);
    (other, Counted { io, writes: Rc::default(), fails: Rc::default() })
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.fails.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.writes.set(self.writes.get() + 1);
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &all)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A body of these frames; with a handle, more can be given later.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    given: Rc<Given>,
}

#[derive(Debug, Default)]
pub(crate) struct Given {
    frames: RefCell<VecDeque<Option<Frame<Bytes>>>>,
    waker: RefCell<Option<Waker>>,
}

impl Given {
    pub(crate) fn data(&self, data: &'static str) {
        self.give(Some(Frame::data(Bytes::from_static(data.as_bytes()))));
    }

    pub(crate) fn end(&self) {
        self.give(None);
    }

    pub(crate) fn give(&self, frame: Option<Frame<Bytes>>) {
        self.frames.borrow_mut().push_back(frame);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Frames {
    pub(crate) fn given(&self) -> Rc<Given> {
        self.given.clone()
    }

    pub(crate) fn of(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        let body = Self::default();
        frames.into_iter().for_each(|frame| body.given.give(Some(frame)));
        body.given.end();
        body
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.given.frames.borrow_mut().pop_front() {
            Some(frame) => Poll::Ready(frame.map(Ok)),
            None => {
                *self.given.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Reads until what came ends so.
pub(crate) async fn until(io: &mut DuplexStream, end: &str) -> String {
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        assert_ne!(io.read_buf(&mut got).await.unwrap(), 0, "{:?}", String::from_utf8_lossy(&got));
    }
    String::from_utf8(got).unwrap()
}
