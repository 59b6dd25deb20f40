//! When requests are due. Open loop: request `i` is due at `start + i / rate`, whatever became of the others, and
//! waits in a bounded queue for a free slot. Closed loop: a slot's next request is due when its last one ended.
//!
//! Tokio's timer wakes on whole milliseconds, which would be the largest part of a loopback latency; a `timerfd` wakes
//! within microseconds.

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most requests that wait for a free slot; further ones are dropped and counted as failed. Ten seconds' worth at a
/// rate that one core can send.
const QUEUE_LIMIT: usize = 500_000;
/// Most wake-ups per second: above this rate, several requests are due at one wake-up.
const MOST_TICKS_PER_SECOND: f64 = 10_000.0;

/// Hands due times to free slots.
#[derive(Debug)]
pub struct Arrivals {
    end: Cell<Instant>,
    /// `None`: closed loop.
    rate: Option<f64>,
    due: RefCell<VecDeque<Instant>>,
    wake: Notify,
    ended: Cell<bool>,
    overflowed: Cell<u64>,
}

impl Arrivals {
    /// Requests until `end`, at `rate` per second or in a closed loop.
    pub fn new(rate: Option<f64>, end: Instant) -> Self {
        Self {
            end: Cell::new(end),
            rate,
            due: RefCell::new(VecDeque::new()),
            wake: Notify::new(),
            ended: Cell::new(false),
            overflowed: Cell::new(0),
        }
    }

    /// When the next request was due; waits until one is; `None` when there will be no more.
    pub async fn next(&self) -> Option<Instant> {
        if self.rate.is_none() {
            let now = Instant::now();
            return (!self.ended.get() && now < self.end.get()).then_some(now);
        }
        loop {
            if let Some(due) = self.due.borrow_mut().pop_front() {
                return Some(due);
            }
            if self.ended.get() {
                return None;
            }
            // Waiters are woken in the order they came, so that requests go round all connections.
            self.wake.notified().await;
        }
    }

    /// Ends the arrivals early.
    pub fn stop(&self) {
        self.ended.set(true);
        self.wake.notify_waiters();
    }

    /// Requests dropped because too many were waiting.
    pub fn overflowed(&self) -> u64 {
        self.overflowed.get()
    }

    /// Requests that are due and wait for a free slot.
    pub fn waiting(&self) -> usize {
        self.due.borrow().len()
    }

    /// Lets requests become due from `start` until the end. Nothing to do in a closed loop.
    ///
    /// # Errors
    /// The kernel gives no timer.
    pub async fn drive(&self, start: Instant) -> io::Result<()> {
        let Some(rate) = self.rate else {
            tokio::time::sleep_until(self.end.get()).await;
            return Ok(());
        };
        let ticker = Ticker::new(Duration::from_secs_f64(1.0 / rate.min(MOST_TICKS_PER_SECOND)))?;
        let mut issued: u64 = 0;
        while !self.ended.get() {
            ticker.tick().await?;
            let now = Instant::now().min(self.end.get());
            let due_by_now = (now.saturating_duration_since(start).as_secs_f64() * rate) as u64;
            for index in issued..due_by_now {
                self.issue(start + Duration::from_secs_f64(index as f64 / rate));
            }
            issued = issued.max(due_by_now);
            if now >= self.end.get() {
                self.stop();
            }
        }
        Ok(())
    }

    fn issue(&self, due: Instant) {
        let mut queue = self.due.borrow_mut();
        if queue.len() >= QUEUE_LIMIT {
            self.overflowed.set(self.overflowed.get() + 1);
            return;
        }
        queue.push_back(due);
        self.wake.notify_one();
    }
}

/// A periodic kernel timer.
struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    fn new(period: Duration) -> io::Result<Self> {
        let period =
            Timespec { tv_sec: period.as_secs() as _, tv_nsec: i64::from(period.subsec_nanos()) as _ };
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let times = Itimerspec { it_interval: period, it_value: period };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        #[allow(
            deprecated,
            reason = "deprecated for types that may close their descriptor early; OwnedFd does not"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self(timer))
    }

    async fn tick(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut expirations = [0; 8];
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?));
            if let Ok(read) = read {
                return read.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn issues_the_asked_number_at_even_times() {
        let start = Instant::now();
        let arrivals = Arrivals::new(Some(1000.0), start + Duration::from_millis(100));
        arrivals.drive(start).await.unwrap();
        let mut due = Vec::new();
        while let Some(next) = arrivals.next().await {
            due.push(next);
        }
        assert_eq!(due.len(), 100);
        let gaps: Vec<_> = due.windows(2).map(|pair| (pair[1] - pair[0]).as_micros()).collect();
        assert!(gaps.iter().all(|gap| (999..=1001).contains(gap)), "{gaps:?}");
    }

    #[tokio::test]
    async fn a_late_consumer_still_gets_the_times_that_were_intended() {
        let start = Instant::now();
        let arrivals = Arrivals::new(Some(100.0), start + Duration::from_millis(50));
        arrivals.drive(start).await.unwrap();
        assert_eq!(arrivals.next().await, Some(start));
        assert_eq!(arrivals.waiting(), 4);
    }

    #[tokio::test]
    async fn stopping_releases_every_waiting_slot() {
        let arrivals = Arrivals::new(Some(0.001), Instant::now() + Duration::from_secs(3600));
        let waiting = async { tokio::join!(arrivals.next(), arrivals.next()) };
        let (ended, ()) = tokio::join!(waiting, async { arrivals.stop() });
        assert_eq!(ended, (None, None));
    }
}
