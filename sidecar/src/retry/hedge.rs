//! When a second attempt is made beside a slow first one. Pure: what enters is how long requests take, and the time; what
//! leaves is after how long one is slow. Whether one is made is decided where the attempts are, within a budget.
//!
//! Source: Dean and Barroso, "The Tail at Scale" (CACM 2013): a second request to another replica once the first has been
//! outstanding for longer than the 95th percentile of its class takes the tail away for a few percent more load.
//!
//! Here it is *twice* a percentile. Where one request of twenty takes a hundred times as long, the 95th percentile is now what
//! the fast ones take and now what the slow ones do, and a budget of 5 % spent on the slower half of the fast ones is not there
//! for the slow. Twice the 90th is far above nearly all of the fast ones, and far below the slow.

use super::policy::{allowance, within};
use hdrhistogram::Histogram;
use mesh_balance::{Allowance, Nanos};
use mesh_protocol::attempts::Hedging;
use std::time::Duration;

/// The percentile by default.
const PERCENTILE: u32 = 90;

/// What is never too long, by default: half of it is what two sidecars add.
const LEAST_DELAY: Duration = Duration::from_millis(1);

/// How many times the percentile is too long.
const MARGIN: u32 = 2;

/// Latencies are counted in two windows of this length: what is gone by is from the last 10 to 20 seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// From one look at the percentile to the next: it costs some microseconds.
const RENEWED: Duration = Duration::from_secs(1);

/// Fewer latencies than this say nothing of a percentile.
const SAMPLES_LEAST: u64 = 50;

/// The range of what is told apart, in microseconds; what is beyond is its end.
const RANGE_MICROS: (u64, u64) = (1, 60_000_000);

/// A latency is told to 6 %, in 3 KiB for both windows.
const DIGITS: u8 = 1;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HedgePolicy {
    percentile: u32,
    least_delay: Duration,
    pub(crate) allowed: Allowance,
}

impl HedgePolicy {
    /// The percentile that is usual.
    pub(crate) fn percentile(self) -> u32 {
        self.percentile
    }

    pub(super) fn compile(told: Hedging) -> Self {
        Self {
            percentile: within(told.percentile, 50, 99, PERCENTILE),
            least_delay: told.least_delay.unwrap_or(LEAST_DELAY),
            allowed: allowance(told.budget, Allowance::HEDGES),
        }
    }
}

/// How long the requests of a worker to a cluster take.
#[derive(Debug)]
pub(crate) struct Latencies {
    now: Histogram<u32>,
    before: Histogram<u32>,
    /// When `now` began.
    began: Nanos,
    /// The percentile as it was last looked at: when, which one, and what it was.
    looked: Option<(Nanos, u32, Option<Duration>)>,
}

impl Latencies {
    /// None yet. Nothing only if the bounds of this room were wrong.
    pub(crate) fn new(now: Nanos) -> Option<Self> {
        let window = Histogram::new_with_bounds(RANGE_MICROS.0, RANGE_MICROS.1, DIGITS).ok()?;
        Some(Self { now: window.clone(), before: window, began: now, looked: None })
    }

    /// A request was answered.
    pub(crate) fn saw(&mut self, now: Nanos, latency: Duration) {
        self.turn(now);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.now.saturating_record(micros.clamp(RANGE_MICROS.0, RANGE_MICROS.1));
    }

    /// After how long a request is slow; nothing while too little is known.
    pub(crate) fn delay(&mut self, now: Nanos, policy: &HedgePolicy) -> Option<Duration> {
        self.turn(now);
        let usual = match self.looked {
            Some((at, percentile, usual)) if percentile == policy.percentile && now.since(at) < RENEWED => {
                usual
            }
            Some(_) | None => {
                let usual = self.usual(policy.percentile);
                // Until there is enough to go by, each one is looked at.
                self.looked = usual.map(|_| (now, policy.percentile, usual));
                usual
            }
        };
        usual.map(|usual| usual.saturating_mul(MARGIN).max(policy.least_delay))
    }

    /// The percentile of both windows.
    fn usual(&self, percentile: u32) -> Option<Duration> {
        let samples = self.now.len() + self.before.len();
        if samples < SAMPLES_LEAST {
            return None;
        }
        let mut both = self.before.clone();
        both.add(&self.now).ok()?;
        Some(Duration::from_micros(both.value_at_percentile(percentile.into())))
    }

    fn turn(&mut self, now: Nanos) {
        let passed = now.since(self.began);
        if passed < WINDOW {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.reset();
        if passed >= WINDOW * 2 {
            self.before.reset();
        }
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy() -> HedgePolicy {
        HedgePolicy::compile(Hedging::default())
    }

    #[test]
    fn slow_is_twice_what_nine_of_ten_take_though_one_of_twenty_takes_a_hundred_times_as_long() {
        let mut latencies = Latencies::new(Nanos(0)).unwrap();
        for number in 0..1_000_u32 {
            latencies.saw(Nanos(0), if number % 20 == 19 { MS * 500 } else { MS * 5 });
        }
        let delay = latencies.delay(Nanos(0), &policy()).unwrap();
        assert!((MS * 10..MS * 11).contains(&delay), "{delay:?}");
    }

    #[test]
    fn nothing_is_slow_until_enough_is_known_and_again_when_all_of_it_is_old() {
        let mut latencies = Latencies::new(Nanos(0)).unwrap();
        for _ in 0..SAMPLES_LEAST {
            assert_eq!(latencies.delay(Nanos(0), &policy()), None);
            latencies.saw(Nanos(0), MS * 5);
        }
        assert!(latencies.delay(Nanos(0), &policy()).is_some());
        let later = Nanos(0) + WINDOW;
        assert!(latencies.delay(later, &policy()).is_some(), "the window before");
        assert_eq!(latencies.delay(later + WINDOW, &policy()), None);
        let mut latencies = Latencies::new(Nanos(0)).unwrap();
        (0..SAMPLES_LEAST).for_each(|_| latencies.saw(Nanos(0), MS * 5));
        assert_eq!(latencies.delay(Nanos(0) + WINDOW * 2, &policy()), None, "nothing came for long");
    }

    #[test]
    fn what_is_never_too_long_is_waited_for() {
        let mut latencies = Latencies::new(Nanos(0)).unwrap();
        (0..100).for_each(|_| latencies.saw(Nanos(0), MS / 10));
        assert_eq!(latencies.delay(Nanos(0), &policy()), Some(LEAST_DELAY));
        let patient = HedgePolicy::compile(Hedging { least_delay: Some(MS * 30), ..Hedging::default() });
        assert_eq!(latencies.delay(Nanos(0), &patient), Some(MS * 30));
    }

    #[test]
    fn a_change_is_heeded_within_a_second() {
        let mut latencies = Latencies::new(Nanos(0)).unwrap();
        (0..100).for_each(|_| latencies.saw(Nanos(0), MS));
        let fast = latencies.delay(Nanos(0), &policy());
        (0..10_000).for_each(|_| latencies.saw(Nanos(0), MS * 100));
        assert_eq!(latencies.delay(Nanos(0), &policy()), fast, "not looked at yet");
        assert!(latencies.delay(Nanos(0) + RENEWED, &policy()) > fast);
    }

    proptest! {
        #[test]
        fn any_latency_is_taken(nanos: u64, percentile in 1_u32..200) {
            let told = Hedging { percentile: std::num::NonZeroU32::new(percentile), ..Hedging::default() };
            let mut latencies = Latencies::new(Nanos(0)).unwrap();
            (0..SAMPLES_LEAST).for_each(|_| latencies.saw(Nanos(0), Duration::from_nanos(nanos)));
            let delay = latencies.delay(Nanos(0), &HedgePolicy::compile(told)).unwrap();
            prop_assert!(delay >= LEAST_DELAY && delay <= Duration::from_secs(130));
        }
    }
}
