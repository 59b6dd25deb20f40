//! How many retries may be made: a share of the requests, so that retries can never become the load.
//!
//! Enters: requests and wishes to retry, with the time. Leaves: yes or no. Never here: whether a retry would be safe.
//!
//! Source: Finagle's `RetryBudget`, as used by Linkerd. Counting retries per request instead (three tries each) triples the
//! load on a service exactly when it fails.

use crate::Nanos;

/// One slot is a second; ten of them are the time for which a request earns retries.
const SLOTS: usize = 10;
const SLOT_NANOS: u64 = 1_000_000_000;

/// The budget of one worker for one service.
///
/// Within any ten seconds at most `percent` of the requests plus `10 × least_per_second` retries are granted.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    percent: u64,
    /// In hundredths of a retry, as all sums here.
    reserve: u64,
    slots: [SlotCount; SLOTS],
    /// The second the newest slot stands for.
    second: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct SlotCount {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// A budget of `percent` of the requests, and `least_per_second` retries on top for services with little traffic.
    pub fn new(percent: u32, least_per_second: u32) -> Self {
        let reserve = u64::from(least_per_second) * u64::try_from(SLOTS).unwrap_or(1) * 100;
        Self { percent: u64::from(percent), reserve, slots: [SlotCount::default(); SLOTS], second: 0 }
    }

    /// Linkerd's values: 20 % of the requests and ten per second.
    pub fn standard() -> Self {
        Self::new(20, 10)
    }

    /// A request came in (not a retry): it earns its share of a retry for the next ten seconds.
    pub fn deposit(&mut self, now: Nanos) {
        self.advance(now);
        self.update_newest(|slot| slot.requests = slot.requests.saturating_add(1));
    }

    /// Whether a retry may be made now; if so it is counted.
    #[must_use]
    pub fn withdraw(&mut self, now: Nanos) -> bool {
        self.advance(now);
        let requests: u64 = self.slots.iter().map(|slot| slot.requests).sum();
        let retries: u64 = self.slots.iter().map(|slot| slot.retries).sum();
        let earned = requests.saturating_mul(self.percent).saturating_add(self.reserve);
        let granted = retries.saturating_add(1).saturating_mul(100) <= earned;
        if granted {
            self.update_newest(|slot| slot.retries = slot.retries.saturating_add(1));
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

    fn granted(budget: &mut RetryBudget, now: Nanos) -> usize {
        std::iter::repeat_with(|| budget.withdraw(now)).take_while(|granted| *granted).count()
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_retried() {
        let mut budget = RetryBudget::new(20, 0);
        assert_eq!(granted(&mut budget, Nanos(0)), 0, "nothing earned yet");
        (0..100).for_each(|_| budget.deposit(Nanos(0)));
        assert_eq!(granted(&mut budget, Nanos(0)), 20);
    }

    #[test]
    fn the_reserve_serves_those_with_little_traffic() {
        let mut budget = RetryBudget::standard();
        assert_eq!(granted(&mut budget, Nanos(0)), 100, "ten per second for ten seconds");
        let later = Nanos(0) + Duration::from_secs(10);
        assert_eq!(granted(&mut budget, later), 100);
    }

    #[test]
    fn what_a_request_earned_lapses_after_ten_seconds() {
        let mut budget = RetryBudget::new(20, 0);
        (0..100).for_each(|_| budget.deposit(Nanos(0)));
        assert!(budget.withdraw(Nanos(9_999_999_999)));
        assert!(!budget.withdraw(Nanos(10_000_000_000)));
    }

    proptest! {
        #[test]
        fn never_more_than_the_share_and_the_reserve_within_ten_seconds(
            percent in 0_u32..=100,
            least in 0_u32..5,
            steps in prop::collection::vec((0_u64..2_000_000_000, 0_u32..20, 0_u32..20), 1..100),
        ) {
            let mut budget = RetryBudget::new(percent, least);
            let mut now = Nanos(0);
            let mut events: Vec<(u64, u64, u64)> = Vec::new();
            for (pause, requests, wishes) in steps {
                now = Nanos(now.0 + pause);
                (0..requests).for_each(|_| budget.deposit(now));
                let retries = (0..wishes).filter(|_| budget.withdraw(now)).count() as u64;
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
