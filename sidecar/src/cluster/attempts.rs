//! What a cluster knows of the attempts that are made: how many there may be, and how long they take.

use super::Cluster;
use crate::retry::hedge::{HedgePolicy, Latencies};
use mesh_balance::{Allowance, AttemptBudget, Nanos, TypicalLatency};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// Requests and further attempts, per worker.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    retries: RefCell<AttemptBudget>,
    typical: Cell<TypicalLatency>,
    /// Once any request may be hedged.
    hedging: RefCell<Option<Box<Hedging>>>,
}

#[derive(Debug)]
struct Hedging {
    budget: AttemptBudget,
    latencies: Latencies,
}

impl Cluster {
    /// A request came in: it earns its share of a retry, and of a hedge if there may be one.
    pub(crate) fn deposit(&self, now: Nanos, hedge: Option<&HedgePolicy>) {
        self.attempts.retries.borrow_mut().deposit(now);
        if hedge.is_none() {
            return;
        }
        let mut hedging = self.attempts.hedging.borrow_mut();
        if hedging.is_none() {
            let latencies = Latencies::new(now);
            *hedging =
                latencies.map(|latencies| Box::new(Hedging { budget: AttemptBudget::default(), latencies }));
        }
        if let Some(hedging) = &mut *hedging {
            hedging.budget.deposit(now);
        }
    }

    /// Whether the budget allows a retry.
    pub(crate) fn withdraw(&self, now: Nanos, allowed: Allowance) -> bool {
        self.attempts.retries.borrow_mut().withdraw(now, allowed)
    }

    /// Whether the budget allows a hedge.
    pub(crate) fn withdraw_hedge(&self, now: Nanos, allowed: Allowance) -> bool {
        let mut hedging = self.attempts.hedging.borrow_mut();
        hedging.as_mut().is_some_and(|hedging| hedging.budget.withdraw(now, allowed))
    }

    /// After how long an attempt is slow; nothing while too little is known.
    pub(crate) fn hedge_delay(&self, now: Nanos, policy: &HedgePolicy) -> Option<Duration> {
        self.attempts.hedging.borrow_mut().as_mut()?.latencies.delay(now, policy)
    }

    /// How long attempts usually take; zero while nothing is known.
    pub(crate) fn typical_latency(&self) -> Duration {
        self.attempts.typical.get().get()
    }

    /// An attempt was answered.
    pub(super) fn saw(&self, now: Nanos, latency: Duration) {
        let mut typical = self.attempts.typical.get();
        typical.saw(latency);
        self.attempts.typical.set(typical);
        if let Some(hedging) = &mut *self.attempts.hedging.borrow_mut() {
            hedging.latencies.saw(now, latency);
        }
    }

    /// How long an attempt waits for a connection; nothing: as long as opening one may take.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        self.policy.borrow().as_ref().and_then(|policy| policy.connect_timeout)
    }
}
