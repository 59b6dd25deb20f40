//! A future beside a busier one in the same task: a connection's idle limit beside the connection. It is polled when it
//! was woken itself, and not whenever its task is, which a connection does several times for every request.
//!
//! ```text
//! task polls ─> woken since the last time? ──no──> pending, without a look
//!                         └─yes──> polled, with a waker that notes it and wakes the task
//! ```

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled only when it was woken.
#[derive(Debug)]
pub(crate) struct Beside<F> {
    future: F,
    note: Arc<Note>,
    /// Wakes through the note.
    waker: Waker,
    /// The task that waits, as far as the note knows.
    task: Waker,
}

/// Whether the future was woken, and whom that concerns.
#[derive(Debug)]
struct Note {
    is_woken: AtomicBool,
    /// Locked when the future is woken or moves to another task, and for no longer than a waker takes to copy.
    task: Mutex<Waker>,
}

impl<F: Future + Unpin> Beside<F> {
    pub(crate) fn new(future: F) -> Self {
        // Never polled yet: the first poll is a look.
        let task = Mutex::new(Waker::noop().clone());
        let note = Arc::new(Note { is_woken: AtomicBool::new(true), task });
        Self { future, waker: note.clone().into(), note, task: Waker::noop().clone() }
    }
}

impl<F: Future + Unpin> Future for Beside<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        if !this.task.will_wake(cx.waker()) {
            this.task.clone_from(cx.waker());
            *this.note.task.lock().unwrap_or_else(PoisonError::into_inner) = this.task.clone();
        }
        // After the task is known, so that whoever wakes from another thread meanwhile is either seen here or wakes it.
        if !this.note.is_woken.load(Ordering::Acquire) || !this.note.is_woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::rc::Rc;
    use tokio::sync::{Notify, oneshot};

    #[tokio::test]
    async fn what_was_not_woken_is_not_polled() {
        let (polls, events) = (Cell::new(0), Notify::new());
        let mut event = pin!(events.notified());
        let counted = poll_fn(|cx| {
            polls.set(polls.get() + 1);
            event.as_mut().poll(cx)
        });
        let mut beside = Beside::new(counted);
        for _ in 0..3 {
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut beside).poll(cx))).await;
            assert!(polled.is_pending());
        }
        assert_eq!(polls.get(), 1);
        events.notify_one();
        beside.await;
        assert_eq!(polls.get(), 2);
    }

    #[tokio::test]
    async fn it_wakes_the_task_that_polled_it_last() {
        let local = tokio::task::LocalSet::new();
        let (tell, told) = oneshot::channel::<u32>();
        let first = Rc::new(Cell::new(Some(Beside::new(told))));
        let taken = first.clone();
        let one = async move {
            let mut beside = first.take().unwrap();
            assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut beside).poll(cx))).await.is_pending());
            first.set(Some(beside));
        };
        let promise = local.run_until(async move {
            tokio::task::spawn_local(one).await.unwrap();
            let other = tokio::task::spawn_local(taken.take().unwrap());
            tokio::task::yield_now().await;
            // From another thread, as a drain is.
            std::thread::spawn(move || tell.send(7)).join().unwrap().unwrap();
            assert_eq!(other.await.unwrap(), Ok(7));
        });
        promise.await;
    }
}
