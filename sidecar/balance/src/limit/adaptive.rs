//! How much at once, found by watching latency: as long as more at once takes no longer, more is allowed.
//!
//! ```text
//! limit' = limit × gradient + √limit      gradient = tolerance × usual latency / latency now, from 0.5 to 1
//! ```
//!
//! Enters: requests that begin and end, with their latencies. Leaves: whether one more may begin. Never here: a queue:
//! what may not begin is refused, fast.
//!
//! Source: Netflix's `Gradient2Limit` (concurrency-limits), with samples gathered in windows as its `WindowedLimit` does,
//! and Envoy's headroom √limit in place of a constant, so that large limits can grow too. Unlike Envoy's controller it never
//! throttles to measure an unloaded latency: the usual latency is a slow average, which is brought down when it is far
//! above what is measured now. A window in which requests were dropped lowers the limit whatever the latency.

use crate::Nanos;
use crate::numbers::bounded;
use std::time::Duration;

bounded!(
    /// Requests under way.
    Concurrency, "the concurrency", 1..=1_000_000, default 20
);
bounded!(
    /// How much longer than usual requests may take before the limit falls, in percent.
    Tolerance, "the tolerance in percent", 100..=1_000, default 150
);

/// How the limit is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptiveSettings {
    /// Where it begins. By default 20.
    pub initial: Concurrency,
    /// It never falls below. By default 4: with less, nothing can be learned.
    pub least: Concurrency,
    /// It never rises above. By default 1,000.
    pub most: Concurrency,
    /// Of latency.
    pub tolerance: Tolerance,
    /// How long samples are gathered before the limit changes; and at least ten of them. By default 1 s, Netflix's.
    pub window: Duration,
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        let number = |number| Concurrency::new(number).unwrap_or_default();
        Self {
            initial: number(20),
            least: number(4),
            most: number(1_000),
            tolerance: Tolerance::DEFAULT,
            window: Duration::from_secs(1),
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// It was answered after this time.
    Answered(Duration),
    /// It ran into a deadline, or was refused for want of resources: a sign of overload.
    Dropped,
    /// It says nothing: it failed fast, or its client went away.
    Ignored,
}

/// Fewer samples say nothing of a window.
const SAMPLES_LEAST: u32 = 10;
/// How much of a new limit is taken over at once.
const SMOOTHING: f64 = 0.2;
/// The usual latency is an average of about this many windows, ten minutes by default: overload that lasts less must not
/// become usual. Netflix's value.
const USUAL_WINDOWS: f64 = 600.0;
/// Of the first windows it is their plain average.
const WARM_UP: u32 = 10;
/// What is left of the limit after a window with drops. Netflix's AIMD limit.
const BACK_OFF: f64 = 0.9;

/// A limit of requests under way that follows latency.
#[derive(Debug, Clone)]
pub struct AdaptiveLimit {
    settings: AdaptiveSettings,
    limit: f64,
    under_way: u32,
    /// In seconds, once there was a window.
    usual: f64,
    windows: u32,
    window: Window,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Nanos,
    seconds: f64,
    samples: u32,
    most_under_way: u32,
    has_drops: bool,
}

impl Window {
    fn new(began: Nanos) -> Self {
        Self { began, seconds: 0.0, samples: 0, most_under_way: 0, has_drops: false }
    }
}

impl AdaptiveLimit {
    /// A limit that has learned nothing yet.
    pub fn new(settings: AdaptiveSettings, now: Nanos) -> Self {
        let limit = f64::from(settings.initial.number());
        let mut new =
            Self { settings, limit, under_way: 0, usual: 0.0, windows: 0, window: Window::new(now) };
        new.set(limit);
        new
    }

    /// The limit.
    pub fn limit(&self) -> u32 {
        // From 1 to 1,000,000.
        self.limit as u32
    }

    /// How many are under way.
    pub fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Goes by these settings from now on. What is under way and what was learned stays, within the new bounds.
    pub fn adjust(&mut self, settings: AdaptiveSettings) {
        self.settings = settings;
        self.set(self.limit);
    }

    /// Whether one more may begin; if so it is counted, and [`end`](Self::end) follows, from a guard.
    #[must_use]
    pub fn begin(&mut self) -> bool {
        let may = self.under_way < self.limit();
        if may {
            self.under_way += 1;
            self.window.most_under_way = self.window.most_under_way.max(self.under_way);
        }
        may
    }

    /// One has ended.
    pub fn end(&mut self, sample: Sample, now: Nanos) {
        self.under_way = self.under_way.saturating_sub(1);
        match sample {
            Sample::Answered(latency) => {
                self.window.seconds += latency.as_secs_f64();
                self.window.samples = self.window.samples.saturating_add(1);
            }
            Sample::Dropped => self.window.has_drops = true,
            Sample::Ignored => {}
        }
        let is_over = now.since(self.window.began) >= self.settings.window;
        if is_over && (self.window.samples >= SAMPLES_LEAST || self.window.has_drops) {
            let window = std::mem::replace(&mut self.window, Window::new(now));
            self.window.most_under_way = self.under_way;
            self.learn(window);
        }
    }

    fn learn(&mut self, window: Window) {
        if window.has_drops {
            self.set(self.limit * BACK_OFF);
            return;
        }
        // Zero would make every ratio infinite.
        let latency = (window.seconds / f64::from(window.samples.max(1))).max(1e-9);
        self.remember(latency);
        // What was not used was not tried: nothing is known about it.
        if f64::from(window.most_under_way) < self.limit / 2.0 {
            return;
        }
        let tolerance = f64::from(self.settings.tolerance.number()) / 100.0;
        let gradient = (tolerance * self.usual / latency).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + self.limit.sqrt();
        self.set(self.limit * (1.0 - SMOOTHING) + wanted * SMOOTHING);
    }

    fn remember(&mut self, latency: f64) {
        self.windows = self.windows.saturating_add(1);
        if self.windows <= WARM_UP {
            self.usual += (latency - self.usual) / f64::from(self.windows);
            return;
        }
        self.usual += (latency - self.usual) * 2.0 / (USUAL_WINDOWS + 1.0);
        // After an overload that lasted, what was usual is too much: it comes down faster than an average would.
        if self.usual > latency * 2.0 {
            self.usual *= 0.95;
        }
    }

    fn set(&mut self, limit: f64) {
        let (least, most) = (self.settings.least.number(), self.settings.most.number());
        self.limit = limit.max(f64::from(least)).min(f64::from(most.max(least)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// A server of `capacity` places, each taking 10 ms; what does not fit waits for its turn. Clients begin as many requests
    /// as they may, at most `wish`. Returns the limit after each of `windows` windows.
    fn served(limit: &mut AdaptiveLimit, from: u64, windows: u64, capacity: u32, wish: u32) -> Vec<u32> {
        let mut limits = Vec::new();
        for window in from..from + windows {
            let now = Nanos(0) + Duration::from_secs(window + 1);
            let under_way = (0..wish).filter(|_| limit.begin()).count() as u32;
            let latency = MS * 10 * under_way.div_ceil(capacity).max(1);
            (0..under_way).for_each(|_| limit.end(Sample::Answered(latency), now));
            limits.push(limit.limit());
        }
        limits
    }

    fn new() -> AdaptiveLimit {
        AdaptiveLimit::new(AdaptiveSettings::default(), Nanos(0))
    }

    #[test]
    fn one_more_than_the_limit_is_refused() {
        let mut limit = new();
        assert_eq!((0..100).filter(|_| limit.begin()).count(), 20);
        limit.end(Sample::Ignored, Nanos(0));
        assert!(limit.begin() && !limit.begin());
        assert_eq!(limit.under_way(), 20);
    }

    #[test]
    fn the_limit_grows_while_latency_stays() {
        let limits = served(&mut new(), 0, 100, 100_000, 100_000);
        assert!(limits.is_sorted());
        assert!(limits.last() > Some(&200), "{limits:?}");
    }

    #[test]
    fn the_limit_does_not_grow_beyond_what_is_used() {
        let limits = served(&mut new(), 0, 200, 100_000, 15);
        assert!(limits.iter().all(|limit| *limit <= 32), "{limits:?}");
    }

    #[test]
    fn overload_is_found_and_forgotten() {
        let mut limit = new();
        let before = *served(&mut limit, 0, 60, 400, 300).last().expect("windows");
        let during = *served(&mut limit, 60, 30, 20, 300).last().expect("windows");
        let after = *served(&mut limit, 90, 200, 400, 300).last().expect("windows");
        assert!(during < before / 2, "{before}, then {during}");
        assert!(after > during * 2, "{during}, then {after}");
    }

    #[test]
    fn drops_lower_the_limit_whatever_the_latency() {
        let mut limit = new();
        assert!(limit.begin());
        limit.end(Sample::Dropped, Nanos(0) + Duration::from_secs(1));
        assert_eq!(limit.limit(), 18);
    }

    #[test]
    fn other_bounds_hold_at_once_and_what_is_under_way_stays() {
        let mut limit = new();
        assert_eq!((0..20).filter(|_| limit.begin()).count(), 20);
        let most = Concurrency::new(7).expect("in range");
        limit.adjust(AdaptiveSettings { most, ..AdaptiveSettings::default() });
        assert_eq!((limit.limit(), limit.under_way(), limit.begin()), (7, 20, false));
    }

    #[test]
    fn few_samples_change_nothing() {
        let mut limit = new();
        for second in 1..9 {
            assert!(limit.begin());
            limit.end(Sample::Answered(MS), Nanos(0) + Duration::from_secs(second));
        }
        assert_eq!(limit.limit(), 20);
    }

    proptest! {
        #[test]
        fn the_limit_keeps_its_bounds_and_so_does_what_is_under_way(
            least in 1_u32..30, most in 1_u32..100,
            steps in prop::collection::vec((0_u32..60, 0_u64..1_000, any::<bool>()), 1..100),
        ) {
            let number = |number| Concurrency::new(number).expect("in range");
            let settings = AdaptiveSettings { least: number(least), most: number(most), ..AdaptiveSettings::default() };
            let mut limit = AdaptiveLimit::new(settings, Nanos(0));
            let mut now = Nanos(0);
            for (wish, latency, drops) in steps {
                let begun = (0..wish).filter(|_| limit.begin()).count();
                prop_assert!(limit.under_way() <= limit.limit());
                now = now + Duration::from_millis(500);
                for _ in 0..begun {
                    let sample = if drops { Sample::Dropped } else { Sample::Answered(MS * latency as u32) };
                    limit.end(sample, now);
                }
                prop_assert_eq!(limit.under_way(), 0);
                prop_assert!((least..=most.max(least)).contains(&limit.limit()));
            }
        }
    }
}
