//! Passive health: who fails again and again is left out for a while.
//!
//! ```text
//!            5 failures in a row                     time is over
//! Admitted ───────────────────────> Ejected(until) ───────────────> Probation
//!    ^                                    ^                          │      │
//!    │                                    └──── failure, twice as long      │
//!    └──────────────────────────── success ─────────────────────────────────┘
//! ```
//!
//! Enters: outcomes and the time. Leaves: until when an endpoint is out. Never here: how many may be out together, except
//! as the rule [`most_ejected`], which the balancer applies.

use crate::Nanos;
use std::time::Duration;

/// Failures in a row that eject. Envoy's `consecutive_5xx`: one or two failures are the request's fault as often as the
/// endpoint's; five in a row hardly ever.
pub const FAILURES_TO_EJECT: u32 = 5;

/// The first ejection; each further one lasts twice as long. Long enough for a process to restart, short enough to lose
/// little capacity to a mistake.
pub const SHORTEST_EJECTION: Duration = Duration::from_secs(1);

/// No ejection lasts longer, so a repaired endpoint is back within a minute. An endpoint that stayed in this long after
/// its last ejection begins anew at the shortest.
pub const LONGEST_EJECTION: Duration = Duration::from_secs(60);

/// How many of `endpoints` may be out together: half, rounded up, and never all.
///
/// When more than half fail, the cause is rarely the endpoints (a shared database, the request itself, our own network),
/// and the few that are left would be crushed by the load of all. Envoy's panic threshold is the same half. One of one is
/// never ejected: trying it is better than refusing.
pub fn most_ejected(endpoints: usize) -> usize {
    endpoints.div_ceil(2).min(endpoints.saturating_sub(1))
}

/// One endpoint's record.
#[derive(Debug, Clone, Copy)]
pub struct Ejection {
    state: State,
    /// Ejections so far, for the length of the next.
    times: u32,
    /// When the last one ended, for forgetting.
    returned: Nanos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Admitted { failures: u32 },
    Ejected { until: Nanos },
    Probation,
}

impl Ejection {
    /// An endpoint without a record.
    pub fn new() -> Self {
        Self { state: State::Admitted { failures: 0 }, times: 0, returned: Nanos(0) }
    }

    /// Takes in a success. One that was sent before the ejection does not end it.
    pub fn succeeded(&mut self) {
        match self.state {
            State::Admitted { .. } | State::Probation => self.state = State::Admitted { failures: 0 },
            State::Ejected { .. } => {}
        }
    }

    /// Takes in a failure. When the endpoint should now be ejected and `may_eject` (the balancer has room under
    /// [`most_ejected`]), it is, and the time of its return comes back. Without room it stays, and its next failure asks
    /// again.
    pub fn failed(&mut self, now: Nanos, may_eject: bool) -> Option<Nanos> {
        let due = match &mut self.state {
            State::Admitted { failures } => {
                *failures = failures.saturating_add(1);
                *failures >= FAILURES_TO_EJECT
            }
            State::Probation => true,
            // Sent before the ejection: it says nothing new.
            State::Ejected { .. } => false,
        };
        if !due || !may_eject {
            return None;
        }
        if now.since(self.returned) >= LONGEST_EJECTION {
            self.times = 0;
        }
        let factor = 1_u32.checked_shl(self.times).unwrap_or(u32::MAX);
        let until = now + SHORTEST_EJECTION.saturating_mul(factor).min(LONGEST_EJECTION);
        self.times = self.times.saturating_add(1);
        self.state = State::Ejected { until };
        Some(until)
    }

    /// When the ejection ends, while there is one.
    pub fn until(&self) -> Option<Nanos> {
        match self.state {
            State::Ejected { until } => Some(until),
            State::Admitted { .. } | State::Probation => None,
        }
    }

    /// Ends the ejection if its time is over. The endpoint is then on probation: one failure ejects it again.
    pub fn returns(&mut self, now: Nanos) -> bool {
        let over = self.until().is_some_and(|until| now >= until);
        if over {
            self.state = State::Probation;
            self.returned = now;
        }
        over
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Nanos {
        Nanos(0) + Duration::from_secs(seconds)
    }

    fn fail_until_ejected(ejection: &mut Ejection, now: Nanos) -> Duration {
        let until = (0..FAILURES_TO_EJECT).find_map(|_| ejection.failed(now, true));
        until.expect("ejected by then").since(now)
    }

    #[test]
    fn only_failures_in_a_row_eject() {
        let mut ejection = Ejection::new();
        for _ in 0..10 {
            for _ in 1..FAILURES_TO_EJECT {
                assert_eq!(ejection.failed(at(0), true), None);
            }
            ejection.succeeded();
        }
        assert_eq!(fail_until_ejected(&mut ejection, at(0)), SHORTEST_EJECTION);
    }

    #[test]
    fn each_ejection_doubles_up_to_the_longest() {
        let mut ejection = Ejection::new();
        let mut now = at(100);
        let mut seconds = Vec::new();
        for _ in 0..9 {
            let length = fail_until_ejected(&mut ejection, now);
            seconds.push(length.as_secs());
            now = now + length;
            assert!(ejection.returns(now));
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn on_probation_one_failure_ejects_and_one_success_clears() {
        let mut ejection = Ejection::new();
        fail_until_ejected(&mut ejection, at(0));
        assert!(!ejection.returns(Nanos(999_999_999)), "not yet");
        assert!(ejection.returns(at(1)));
        assert_eq!(ejection.failed(at(1), true), Some(at(3)));
        assert!(ejection.returns(at(3)));
        ejection.succeeded();
        assert_eq!(ejection.failed(at(3), true), None, "counting starts again");
    }

    #[test]
    fn a_minute_of_good_behaviour_is_forgiveness() {
        let mut ejection = Ejection::new();
        fail_until_ejected(&mut ejection, at(0));
        assert!(ejection.returns(at(1)));
        assert_eq!(ejection.failed(at(61), true).map(|until| until.since(at(61))), Some(SHORTEST_EJECTION));
    }

    #[test]
    fn without_room_the_endpoint_stays_and_asks_again() {
        let mut ejection = Ejection::new();
        for _ in 0..FAILURES_TO_EJECT + 3 {
            assert_eq!(ejection.failed(at(0), false), None);
        }
        assert!(ejection.failed(at(0), true).is_some());
    }

    #[test]
    fn what_was_sent_before_the_ejection_changes_nothing() {
        let mut ejection = Ejection::new();
        fail_until_ejected(&mut ejection, at(0));
        ejection.succeeded();
        assert_eq!(ejection.failed(at(0), true), None);
        assert_eq!(ejection.until(), Some(at(1)));
    }

    #[test]
    fn at_most_half_and_never_all() {
        let most: Vec<usize> = (0..=7).map(most_ejected).collect();
        assert_eq!(most, [0, 0, 1, 2, 2, 3, 3, 4]);
    }
}
