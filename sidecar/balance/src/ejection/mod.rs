//! Passive health: who fails again and again, or more than the others, is left out for a while.
//!
//! ```text
//!            a detector strikes                      time is over
//! Admitted ───────────────────────> Ejected(until) ───────────────> Probation
//!    ^                                    ^                          │      │
//!    │                                    └──── failure, longer than before │
//!    └──────────────────────────── success ─────────────────────────────────┘
//! ```
//!
//! Enters: outcomes and the time. Leaves: that an endpoint should be ejected and why ([`Cause`]), and until when it is.
//! Detectors in a row strike with the request; the others compare endpoints when an interval ends, in `outlier`. Never here:
//! how many may be out together, except as the rule [`Detection::most_ejected`], which the balancer applies.

mod detection;
mod outlier;

pub use detection::{
    ByFailureShare, ByLatency, BySuccessRate, Detection, Deviations, EjectedShare, FailureShare,
    FailuresInARow, Growth, LeastPeers, LeastRequests, Sentence, Slowness,
};
pub(crate) use outlier::{Interval, outliers};

use crate::Nanos;
use std::time::Duration;

/// What a failed request says of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It could not be reached, broke the connection off, or answered for an application that it could not reach: 502,
    /// 503, 504.
    Gateway,
    /// Its application answered that it failed: 500 and the like.
    Answer,
}

/// Which detector ejected an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Failures of any kind in a row.
    Failures,
    /// Gateway failures in a row.
    GatewayFailures,
    /// A failure right after it had come back.
    Probation,
    /// Its success rate was far below the others'.
    SuccessRate,
    /// It failed too large a share of its requests.
    FailureShare,
    /// It was a multiple slower than its peers.
    Latency,
}

impl Cause {
    /// For metric labels and log fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::GatewayFailures => "gateway_failures",
            Self::Probation => "probation",
            Self::SuccessRate => "success_rate",
            Self::FailureShare => "failure_share",
            Self::Latency => "latency",
        }
    }
}

/// One endpoint's record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    state: State,
    /// Ejections so far, for the length of the next.
    times: u32,
    /// When the last one ended, for forgetting.
    returned: Nanos,
    interval: Interval,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Admitted { failures: u32, gateway_failures: u32 },
    Ejected { until: Nanos },
    Probation,
}

const CLEAN: State = State::Admitted { failures: 0, gateway_failures: 0 };

impl Record {
    /// An endpoint without a past.
    pub(crate) fn new() -> Self {
        Self { state: CLEAN, times: 0, returned: Nanos(0), interval: Interval::default() }
    }

    /// Takes in a success. One that was sent before the ejection does not end it.
    pub(crate) fn succeeded(&mut self, latency: Duration) {
        match self.state {
            State::Admitted { .. } | State::Probation => {
                self.state = CLEAN;
                self.interval.succeeded(latency);
            }
            State::Ejected { .. } => {}
        }
    }

    /// Takes in a failure. The cause comes back when the endpoint should now be ejected; if it is not, for want of room,
    /// its next failure asks again.
    pub(crate) fn failed(&mut self, fault: Fault, detection: &Detection) -> Option<Cause> {
        let on_probation = match &mut self.state {
            // Sent before the ejection: it says nothing new.
            State::Ejected { .. } => return None,
            State::Probation => true,
            State::Admitted { failures, gateway_failures } => {
                *failures = failures.saturating_add(1);
                *gateway_failures = match fault {
                    Fault::Gateway => gateway_failures.saturating_add(1),
                    Fault::Answer => 0,
                };
                false
            }
        };
        self.interval.failed();
        let cause = if on_probation { probation(fault, detection) } else { self.in_a_row(detection) };
        if on_probation && cause.is_none() {
            // Failures of this kind do not eject: the endpoint has passed.
            self.state = CLEAN;
        }
        cause
    }

    fn in_a_row(&self, detection: &Detection) -> Option<Cause> {
        let State::Admitted { failures, gateway_failures } = self.state else { return None };
        let reached =
            |count: u32, limit: Option<FailuresInARow>| limit.is_some_and(|limit| count >= limit.number());
        if reached(gateway_failures, detection.gateway_failures) {
            Some(Cause::GatewayFailures)
        } else if reached(failures, detection.failures) {
            Some(Cause::Failures)
        } else {
            None
        }
    }

    /// Ejects the endpoint, and says until when.
    pub(crate) fn eject(&mut self, now: Nanos, sentence: &Sentence) -> Nanos {
        if now.since(self.returned) >= sentence.longest.max(sentence.shortest) {
            self.times = 0;
        }
        let until = now + sentence.length(self.times);
        self.times = self.times.saturating_add(1);
        self.state = State::Ejected { until };
        self.interval = Interval::default();
        until
    }

    /// When the ejection ends, while there is one.
    pub(crate) fn until(&self) -> Option<Nanos> {
        match self.state {
            State::Ejected { until } => Some(until),
            State::Admitted { .. } | State::Probation => None,
        }
    }

    /// Ends the ejection if its time is over. The endpoint is then on probation: one failure ejects it again.
    pub(crate) fn returns(&mut self, now: Nanos) -> bool {
        let over = self.until().is_some_and(|until| now >= until);
        if over {
            self.state = State::Probation;
            self.returned = now;
        }
        over
    }

    /// What happened since this was last asked.
    pub(crate) fn take_interval(&mut self) -> Interval {
        std::mem::take(&mut self.interval)
    }
}

fn probation(fault: Fault, detection: &Detection) -> Option<Cause> {
    let counts =
        detection.failures.is_some() || detection.gateway_failures.is_some() && fault == Fault::Gateway;
    counts.then_some(Cause::Probation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Nanos {
        Nanos(0) + Duration::from_secs(seconds)
    }

    fn fail(record: &mut Record) -> Option<Cause> {
        record.failed(Fault::Gateway, &Detection::default())
    }

    fn eject(record: &mut Record, now: Nanos) -> Duration {
        record.eject(now, &Sentence::default()).since(now)
    }

    fn any_failure(limit: u32) -> Detection {
        let failures = Some(FailuresInARow::new(limit).expect("in range"));
        Detection { failures, gateway_failures: None, ..Detection::default() }
    }

    #[test]
    fn only_failures_in_a_row_eject() {
        let mut record = Record::new();
        for _ in 0..10 {
            assert!((1..5).all(|_| fail(&mut record).is_none()));
            record.succeeded(SHORTEST);
        }
        assert!((1..5).all(|_| fail(&mut record).is_none()));
        assert_eq!(fail(&mut record), Some(Cause::GatewayFailures));
        assert_eq!(fail(&mut record), Some(Cause::GatewayFailures), "without room it asks again");
    }

    #[test]
    fn an_answered_failure_breaks_a_row_of_gateway_failures() {
        let mut record = Record::new();
        for _ in 0..10 {
            assert!((1..5).all(|_| fail(&mut record).is_none()));
            assert_eq!(record.failed(Fault::Answer, &Detection::default()), None);
        }
    }

    #[test]
    fn failures_of_any_kind_count_when_that_detector_is_on() {
        let (mut record, detection) = (Record::new(), any_failure(3));
        assert_eq!(record.failed(Fault::Answer, &detection), None);
        assert_eq!(record.failed(Fault::Gateway, &detection), None);
        assert_eq!(record.failed(Fault::Answer, &detection), Some(Cause::Failures));
    }

    #[test]
    fn with_every_detector_off_nothing_ejects() {
        let mut record = Record::new();
        assert!((0..1_000).all(|_| record.failed(Fault::Gateway, &Detection::OFF).is_none()));
    }

    #[test]
    fn each_ejection_is_longer_than_the_one_before() {
        let mut record = Record::new();
        let mut now = at(100);
        let mut seconds = Vec::new();
        for _ in 0..9 {
            let length = eject(&mut record, now);
            seconds.push(length.as_secs());
            now = now + length;
            assert!(record.returns(now));
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn on_probation_one_failure_ejects_and_one_success_clears() {
        let mut record = Record::new();
        eject(&mut record, at(0));
        assert!(!record.returns(Nanos(999_999_999)), "not yet");
        assert!(record.returns(at(1)));
        assert_eq!(fail(&mut record), Some(Cause::Probation));
        eject(&mut record, at(1));
        assert!(record.returns(at(3)));
        record.succeeded(SHORTEST);
        assert_eq!(fail(&mut record), None, "counting starts again");
    }

    #[test]
    fn on_probation_only_failures_that_a_detector_counts_eject() {
        let mut record = Record::new();
        eject(&mut record, at(0));
        assert!(record.returns(at(1)));
        assert_eq!(record.failed(Fault::Answer, &Detection::default()), None);
        assert_eq!(fail(&mut record), None, "it has passed its probation");
        let mut other = Record::new();
        eject(&mut other, at(0));
        assert!(other.returns(at(1)));
        assert_eq!(other.failed(Fault::Answer, &any_failure(9)), Some(Cause::Probation));
    }

    #[test]
    fn a_minute_of_good_behaviour_is_forgiveness() {
        let mut record = Record::new();
        eject(&mut record, at(0));
        assert!(record.returns(at(1)));
        assert_eq!(eject(&mut record, at(61)), SHORTEST);
    }

    #[test]
    fn what_was_sent_before_the_ejection_changes_nothing() {
        let mut record = Record::new();
        fail(&mut record);
        eject(&mut record, at(0));
        record.succeeded(SHORTEST);
        assert_eq!(fail(&mut record), None);
        assert_eq!(record.until(), Some(at(1)));
        assert_eq!(record.take_interval().requests(), 0, "what led to it is not judged twice");
    }
}
