//! How many further attempts may be made, retries or hedges: a share of the requests, so that they can never become the load.
//!
//! Enters: requests and wishes for another attempt, with the time and what is allowed. Leaves: yes or no. Never here: whether
//! it would be safe.
//!
//! Source: Finagle's `RetryBudget`, as used by Linkerd. Counting retries per request instead (three tries each) triples the
//! load on a service exactly when it fails.

use crate::Nanos;

/// One slot is a second; ten of them are the time for which a request earns further attempts.
const SLOTS: usize = 10;
const SLOT_NANOS: u64 = 1_000_000_000;

/// How many further attempts are allowed within any ten seconds: `percent` of the requests plus `10 × least_per_second`.
/// More than 100 percent, or than 1000 per second, is as much as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    percent: u32,
    least_per_second: u32,
}

impl Allowance {
    /// For retries: 20 % of the requests and ten per second, Linkerd's values.
    pub const RETRIES: Self = Self::new(20, 10);

    /// For hedges: 5 % of the requests. Nothing on top: with few requests there is no percentile to go by.
    pub const HEDGES: Self = Self::new(5, 0);

    /// So many percent of the requests, and so many per second on top for services with little traffic.
    pub const fn new(percent: u32, least_per_second: u32) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        let least_per_second = if least_per_second > 1_000 { 1_000 } else { least_per_second };
        Self { percent, least_per_second }
    }

    /// The share of the requests, in percent.
    pub const fn percent(self) -> u32 {
        self.percent
    }

    /// What is on top of it.
    pub const fn least_per_second(self) -> u32 {
        self.least_per_second
    }
}

/// What one worker has sent to one service lately: the requests, and further attempts of one kind.
#[derive(Debug, Clone, Default)]
pub struct AttemptBudget {
    slots: [SlotCount; SLOTS],
    /// The second the newest slot stands for.
    second: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct SlotCount {
    requests: u64,
    further: u64,
}

impl AttemptBudget {
    /// A request came in (not another attempt): it earns its share of one for the next ten seconds.
    pub fn deposit(&mut self, now: Nanos) {
        self.advance(now);
        self.update_newest(|slot| slot.requests = slot.requests.saturating_add(1));
    }

    /// Whether another attempt may be made now; if so it is counted.
    #[must_use]
    pub fn withdraw(&mut self, now: Nanos, allowed: Allowance) -> bool {
        self.advance(now);
        let requests: u64 = self.slots.iter().map(|slot| slot.requests).sum();
        let further: u64 = self.slots.iter().map(|slot| slot.further).sum();
        let seconds = u64::try_from(SLOTS).unwrap_or(1);
        // In hundredths of an attempt.
        let reserve = u64::from(allowed.least_per_second) * seconds * 100;
        let earned = requests.saturating_mul(allowed.percent.into()).saturating_add(reserve);
        let granted = further.saturating_add(1).saturating_mul(100) <= earned;
        if granted {
            self.update_newest(|slot| slot.further = slot.further.saturating_add(1));
        }
        granted
    }

    fn update_newest(&mut self, update: impl FnOnce(&mut SlotCount)) {
        let second = self.second;
        if let Some(slot) = self.slots.get_mut(index(second)) {
            update(slot);
        }
    }

    /// Clears the slots of the seconds that have passed.
    fn advance(&mut self, now: Nanos) {
        let second = now.0 / SLOT_NANOS;
        let passed = second.saturating_sub(self.second).min(u64::try_from(SLOTS).unwrap_or(u64::MAX));
        for step in 0..passed {
            if let Some(slot) = self.slots.get_mut(index(second - step)) {
                *slot = SlotCount::default();
            }
        }
        self.second = self.second.max(second);
    }
}

fn index(second: u64) -> usize {
    usize::try_from(second).unwrap_or_default() % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const FIFTH: Allowance = Allowance::new(20, 0);

    fn granted(budget: &mut AttemptBudget, now: Nanos, allowed: Allowance) -> usize {
        std::iter::repeat_with(|| budget.withdraw(now, allowed)).take_while(|granted| *granted).count()
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_retried() {
        let mut budget = AttemptBudget::default();
        assert_eq!(granted(&mut budget, Nanos(0), FIFTH), 0, "nothing earned yet");
        (0..100).for_each(|_| budget.deposit(Nanos(0)));
        assert_eq!(granted(&mut budget, Nanos(0), FIFTH), 20);
    }

    #[test]
    fn those_that_are_allowed_more_count_the_same_requests_and_attempts() {
        let mut budget = AttemptBudget::default();
        (0..100).for_each(|_| budget.deposit(Nanos(0)));
        assert_eq!(granted(&mut budget, Nanos(0), FIFTH), 20);
        assert_eq!(granted(&mut budget, Nanos(0), Allowance::new(25, 0)), 5);
        assert_eq!(granted(&mut budget, Nanos(0), FIFTH), 0);
    }

    #[test]
    fn the_reserve_serves_those_with_little_traffic() {
        let mut budget = AttemptBudget::default();
        assert_eq!(granted(&mut budget, Nanos(0), Allowance::RETRIES), 100, "ten per second for ten seconds");
        let later = Nanos(0) + Duration::from_secs(10);
        assert_eq!(granted(&mut budget, later, Allowance::RETRIES), 100);
    }

    #[test]
    fn what_a_request_earned_lapses_after_ten_seconds() {
        let mut budget = AttemptBudget::default();
        (0..100).for_each(|_| budget.deposit(Nanos(0)));
        assert!(budget.withdraw(Nanos(9_999_999_999), FIFTH));
        assert!(!budget.withdraw(Nanos(10_000_000_000), FIFTH));
    }

    proptest! {
        #[test]
        fn never_more_than_the_share_and_the_reserve_within_ten_seconds(
            percent in 0_u32..=100,
            least in 0_u32..5,
            steps in prop::collection::vec((0_u64..2_000_000_000, 0_u32..20, 0_u32..20), 1..100),
        ) {
            let (mut budget, allowed) = (AttemptBudget::default(), Allowance::new(percent, least));
            let mut now = Nanos(0);
            let mut events: Vec<(u64, u64, u64)> = Vec::new();
            for (pause, requests, wishes) in steps {
                now = Nanos(now.0 + pause);
                (0..requests).for_each(|_| budget.deposit(now));
                let retries = (0..wishes).filter(|_| budget.withdraw(now, allowed)).count() as u64;
                events.push((now.0 / SLOT_NANOS, u64::from(requests), retries));
                let window = events.iter().filter(|(second, ..)| second + 10 > now.0 / SLOT_NANOS);
                let (requests, retries) = window.fold((0, 0), |sum, event| (sum.0 + event.1, sum.1 + event.2));
                let most = requests * u64::from(percent) + u64::from(least) * 1_000;
                // What had been earned when a retry was granted may have lapsed since, hence only those just granted count
                // against the present sum when none were granted now.
                let just_granted = events.last().is_some_and(|event| event.2 > 0);
                prop_assert!(!just_granted || retries * 100 <= most, "{retries} of {requests}");
            }
        }
    }
}
