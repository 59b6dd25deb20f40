//! Bounds on what runs at once. A gate counts what is inside; whoever comes when it is full waits outside, which for
//! connections means in the kernel's backlog. Pure of I/O; one worker's, so plain cells.
//!
//! What a TrafficPolicy limits is one sidecar's, all its workers together: [`Breaker`] of what the application has under way
//! with a service, [`InboundLimits`] of what it is asked for.

mod breaker;
mod complaints;
mod concurrency;
mod inbound;
mod rate;

pub use breaker::{Breaker, Level};
pub(crate) use breaker::{OverLimit, Place};
pub(crate) use complaints::Complaints;
pub(crate) use concurrency::Turn;
pub use inbound::{InboundLimits, InboundLimitsByPort};
pub(crate) use rate::Caller;
pub use rate::LimitError;

/// What a request has of a limit until its end.
#[derive(Debug)]
#[expect(dead_code, reason = "each is held, and given back when dropped")]
pub(crate) enum Taken {
    /// Of what we have under way with a service.
    Place(Place),
    /// Of what the application is asked for; boxed, as few requests have one.
    Turn(Box<Turn>),
}

use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::Notify;

/// Counts what is inside, up to a limit. Clones are the same gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Rc<State>);

#[derive(Debug)]
struct State {
    inside: Cell<usize>,
    limit: usize,
    left: Notify,
}

/// A place inside; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Rc<State>);

impl Gate {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Rc::new(State { inside: Cell::new(0), limit, left: Notify::new() }))
    }

    /// A place, if there is one.
    pub(crate) fn try_enter(&self) -> Option<Permit> {
        let inside = self.0.inside.get();
        (inside < self.0.limit).then(|| {
            self.0.inside.set(inside + 1);
            Permit(self.0.clone())
        })
    }

    /// Waits for a place.
    ///
    /// # Cancel safety
    /// No place is lost.
    pub(crate) async fn enter(&self) -> Permit {
        loop {
            if let Some(permit) = self.try_enter() {
                return permit;
            }
            self.0.left.notified().await;
        }
    }

    /// Waits until nobody is inside.
    pub(crate) async fn empty(&self) {
        while self.0.inside.get() > 0 {
            self.0.left.notified().await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.inside.set(self.0.inside.get().saturating_sub(1));
        // Wakes those outside and whoever waits for the end; each looks at the count itself. `notify_one` besides, so
        // that one who has looked but does not wait yet is not forgotten.
        self.0.left.notify_waiters();
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_than_the_limit_waits_until_another_leaves() {
        let gate = Gate::new(2);
        let first = gate.enter().await;
        let second = gate.enter().await;
        assert!(gate.try_enter().is_none());
        let waiting = gate.enter();
        let (third, ()) = tokio::join!(waiting, async { drop(first) });
        drop((second, third));
        gate.empty().await;
    }
}
