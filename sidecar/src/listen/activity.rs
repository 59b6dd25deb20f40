//! Which HTTP/1 connections are idle or slow, without a timer per request. Each connection notes what it is doing in a
//! cell; once every few seconds the worker looks at all of them and tells those that overstay. So the limits are kept to
//! within a tick.
//!
//! ```text
//! Idle ──first byte──> Head ──request parsed──> Busy ──response done──> Idle
//!  └─ an hour: closed   └─ 30 s: closed
//! ```
//! A connection that is to be closed though nothing is wrong with it is closed when it is quiet: [`Activity::quiet`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How often the worker looks.
pub(crate) const TICK: Duration = Duration::from_secs(5);

/// From the first byte of a request's head to its last: 30 s is what nginx and Apache give at most; who needs more is
/// holding the connection, not using it.
const HEAD_TICKS: u32 = 6;

/// From the end of a response to the first byte of the next request. An hour, as Envoy: a pool that finds its connection
/// closed loses a request, an idle connection costs us a few KiB.
pub(crate) const IDLE_TICKS: u32 = 720;

/// From a look at a connection to the next; one on which nothing happened in between is quiet. A request may be on its way
/// whenever a connection is closed, and its client cannot know whether it was served. nginx (`keepalive_min_timeout`) and
/// HAProxy (`idle-close-on-response`) wait as well, Envoy until the end of its drain. Clients that call every one or two
/// seconds have called by then, and were told; 2.5 s is no multiple of the intervals at which others like to call, so that
/// they are not met in step.
const QUIET: Duration = Duration::from_millis(2500);

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
    /// Beginnings and ends of requests so far.
    changes: Cell<u32>,
    tick: Rc<Cell<u32>>,
    /// Whether bytes came since the connection became idle.
    received: Cell<bool>,
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
            changes: Cell::new(0),
            tick: self.tick.clone(),
            received: Cell::new(false),
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
            if activity.state.get() == State::Idle && activity.received.get() {
                activity.enter(State::Head);
            }
            let limit = match activity.state.get() {
                State::Idle => IDLE_TICKS,
                State::Head => HEAD_TICKS,
                State::Busy(_) => return true,
            };
            let ticks = now.wrapping_sub(activity.since.get());
            if ticks > limit {
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

    /// Waits until nothing has run and nothing has come for 2.5 s at least, and 5 s at most.
    ///
    /// # Cancel safety
    /// Safe; the wait begins anew.
    pub(crate) async fn quiet(&self) {
        loop {
            let before = self.changes.get();
            tokio::time::sleep(QUIET).await;
            let is_idle = self.state.get() == State::Idle && !self.received.get();
            if is_idle && self.changes.get() == before {
                return;
            }
        }
    }

    /// A request's head is complete.
    pub(crate) fn begin(self: &Rc<Self>) -> Busy {
        self.changed();
        let running = match self.state.get() {
            State::Idle | State::Head => 0,
            State::Busy(running) => running,
        };
        self.state.set(State::Busy(running + 1));
        Busy(self.clone())
    }

    /// Bytes have come.
    pub(crate) fn received(&self) {
        self.received.set(true);
    }

    fn changed(&self) {
        self.changes.set(self.changes.get().wrapping_add(1));
    }

    fn enter(&self, state: State) {
        self.state.set(state);
        self.since.set(self.tick.get());
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.changed();
        match self.0.state.get() {
            State::Busy(running) if running > 1 => self.0.state.set(State::Busy(running - 1)),
            State::Busy(_) | State::Idle | State::Head => {
                self.0.received.set(false);
                self.0.enter(State::Idle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::time::Instant;

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

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_quiet_once_nothing_has_happened_on_it_for_a_while() {
        let watch = Watch::default();
        let activity = watch.connection();
        let start = Instant::now();
        activity.quiet().await;
        assert_eq!(start.elapsed(), QUIET);

        let start = Instant::now();
        let calls = async {
            tokio::time::sleep(QUIET / 2).await;
            drop(activity.begin());
            tokio::time::sleep(QUIET).await;
            let long = activity.begin();
            tokio::time::sleep(QUIET * 10).await;
            drop(long);
            tokio::time::sleep(QUIET).await;
            // A head that is not complete.
            activity.received();
            tokio::time::sleep(QUIET * 2).await;
            drop(activity.begin());
        };
        tokio::join!(activity.quiet(), calls);
        let ended = QUIET.mul_f64(14.5);
        assert!((ended + QUIET..=ended + QUIET * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
    }

    #[test]
    fn a_request_may_take_as_long_as_it_needs() {
        let mut busy = None;
        assert_eq!(overdue_after(IDLE_TICKS * 2, |a| busy = Some(a.begin())), None);
    }
}
