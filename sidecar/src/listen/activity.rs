//! Which HTTP/1 connections are idle or slow, without a timer per request. Each connection notes what it is doing in a
//! cell; once every few seconds the worker looks at all of them and tells those that overstay. So the limits are kept to
//! within a tick.
//!
//! ```text
//! Idle ──first byte──> Head ──request parsed──> Busy ──response done──> Idle
//!  └─ an hour: closed   └─ 30 s: closed
//! ```

use crate::http::explain::Owed;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// How often the worker looks.
pub(crate) const TICK: Duration = Duration::from_secs(5);

/// From the first byte of a request's head to its last: 30 s is what nginx and Apache give at most; who needs more is
/// holding the connection, not using it.
const HEAD_TICKS: u32 = 6;

/// From the end of a response to the first byte of the next request. An hour, as Envoy: a pool that finds its connection
/// closed loses a request, an idle connection costs us a few KiB.
pub(crate) const IDLE_TICKS: u32 = 720;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Head,
    Busy(u32),
}

/// What one connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    state: Cell<State>,
    since: Cell<u32>,
    tick: Rc<Cell<u32>>,
    /// Whether bytes came since the connection became idle. Atomic only because hyper wants to move the stream between
    /// threads when it is upgraded; nobody does.
    received: Arc<AtomicBool>,
    owed: Owed,
    overdue: Notify,
}

/// All connections of a worker that are watched.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    tick: Rc<Cell<u32>>,
    connections: RefCell<Vec<Weak<Activity>>>,
}

/// A request being answered.
#[derive(Debug)]
pub(crate) struct Busy(Rc<Activity>);

impl Watch {
    /// A new connection, idle.
    pub(crate) fn connection(&self) -> Rc<Activity> {
        let activity = Rc::new(Activity {
            state: Cell::new(State::Idle),
            since: Cell::new(self.tick.get()),
            tick: self.tick.clone(),
            received: Arc::default(),
            owed: Owed::default(),
            overdue: Notify::new(),
        });
        self.connections.borrow_mut().push(Rc::downgrade(&activity));
        activity
    }

    /// A tick has passed: tells those that overstay and forgets those that are gone.
    pub(crate) fn advance(&self) {
        let now = self.tick.get().wrapping_add(1);
        self.tick.set(now);
        self.connections.borrow_mut().retain(|weak| {
            let Some(activity) = weak.upgrade() else { return false };
            if activity.state.get() == State::Idle && activity.received.load(Ordering::Relaxed) {
                activity.enter(State::Head);
            }
            let limit = match activity.state.get() {
                State::Idle => IDLE_TICKS,
                State::Head => HEAD_TICKS,
                State::Busy(_) => return true,
            };
            if now.wrapping_sub(activity.since.get()) > limit {
                activity.overdue.notify_one();
            }
            true
        });
    }
}

impl Activity {
    /// Waits until the connection has overstayed. Returns whether it was within a request's head.
    pub(crate) async fn overdue(&self) -> bool {
        self.overdue.notified().await;
        self.state.get() == State::Head
    }

    /// A request's head is complete.
    pub(crate) fn begin(self: &Rc<Self>) -> Busy {
        let running = match self.state.get() {
            State::Idle | State::Head => 0,
            State::Busy(running) => running,
        };
        self.state.set(State::Busy(running + 1));
        self.owed.answer();
        Busy(self.clone())
    }

    /// What is noted of the answers still to be written.
    pub(crate) fn owed(&self) -> Owed {
        self.owed.clone()
    }

    /// Bytes have come.
    pub(crate) fn received(&self) {
        self.received.store(true, Ordering::Relaxed);
    }

    fn enter(&self, state: State) {
        self.state.set(state);
        self.since.set(self.tick.get());
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        match self.0.state.get() {
            State::Busy(running) if running > 1 => self.0.state.set(State::Busy(running - 1)),
            State::Busy(_) | State::Idle | State::Head => {
                self.0.received.store(false, Ordering::Relaxed);
                self.0.enter(State::Idle);
                self.0.owed.tail();
            }
        }
    }
}

/// A stream whose reads are noted.
#[derive(Debug)]
pub(crate) struct Watched<IO> {
    io: IO,
    received: Arc<AtomicBool>,
}

impl<IO> Watched<IO> {
    pub(crate) fn new(io: IO, activity: &Activity) -> Self {
        Self::noting(io, activity.received.clone())
    }

    /// A stream that sets `received` with every read that brings bytes.
    pub(crate) fn noting(io: IO, received: Arc<AtomicBool>) -> Self {
        Self { io, received }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.received.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn overdue_after(ticks: u32, prepare: impl FnOnce(&Rc<Activity>)) -> Option<bool> {
        let watch = Watch::default();
        let activity = watch.connection();
        prepare(&activity);
        (0..ticks).for_each(|_| watch.advance());
        activity.overdue().now_or_never()
    }

    #[test]
    fn a_slow_head_is_ended_soon_and_an_idle_connection_late() {
        assert_eq!(overdue_after(HEAD_TICKS + 1, |a| a.received()), None);
        assert_eq!(overdue_after(HEAD_TICKS + 2, |a| a.received()), Some(true));
        assert_eq!(overdue_after(IDLE_TICKS, |_| {}), None);
        assert_eq!(overdue_after(IDLE_TICKS + 1, |_| {}), Some(false));
    }

    #[test]
    fn a_request_may_take_as_long_as_it_needs() {
        let mut busy = None;
        assert_eq!(overdue_after(IDLE_TICKS * 2, |a| busy = Some(a.begin())), None);
    }
}
