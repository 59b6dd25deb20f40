//! What is counted while requests run, and the reports made of it.

use super::report::{Latency, Report};
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Longest latency told apart; longer ones count as this.
const LONGEST: Duration = Duration::from_secs(600);
/// Failures described in words; the rest is only counted.
const EXAMPLES: usize = 5;
/// Different instance names, greeters and reasons counted; further ones count as `…`.
const NAMES: usize = 64;

/// Why a request failed: `cause` is counted, `words` describe the first few.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: String,
    pub(super) words: String,
}

impl Failure {
    pub(super) fn new(cause: impl Into<String>, words: impl std::fmt::Display) -> Self {
        Self { cause: cause.into(), words: words.to_string() }
    }
}

/// Who answered, as far as the answer says.
#[derive(Debug, Default)]
pub(super) struct Answered<'a> {
    pub(super) instance: Option<&'a str>,
    pub(super) greeter: Option<&'a str>,
    pub(super) bytes: u64,
}

/// Counts of one period.
struct Counts {
    since: Instant,
    histogram: Histogram<u64>,
    ok: u64,
    bytes: u64,
    resent: u64,
    failed: BTreeMap<String, u64>,
    examples: Vec<String>,
    instances: BTreeMap<String, u64>,
    greeters: BTreeMap<String, u64>,
}

/// Counts requests: those of the whole measured time, and those of the running interval.
pub(super) struct Recorder {
    measure_from: Cell<Instant>,
    measure_to: Cell<Instant>,
    total: RefCell<Counts>,
    interval: Option<RefCell<Counts>>,
    warmup_failed: Cell<u64>,
    sent: Cell<u64>,
}

impl Counts {
    fn new(since: Instant) -> anyhow::Result<Self> {
        Ok(Self {
            since,
            histogram: Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, 3)?,
            ok: 0,
            bytes: 0,
            resent: 0,
            failed: BTreeMap::new(),
            examples: Vec::new(),
            instances: BTreeMap::new(),
            greeters: BTreeMap::new(),
        })
    }

    fn ok(&mut self, latency: Duration, answered: &Answered<'_>) {
        self.ok += 1;
        self.bytes += answered.bytes;
        self.histogram.saturating_record(latency.as_nanos() as u64);
        count(&mut self.instances, answered.instance);
        count(&mut self.greeters, answered.greeter);
    }

    fn failed(&mut self, failure: &Failure) {
        count(&mut self.failed, Some(&failure.cause));
        self.example(failure);
    }

    fn example(&mut self, failure: &Failure) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(format!("{}: {}", failure.cause, failure.words));
        }
    }

    fn report(&self, until: Instant) -> Report {
        let seconds = until.saturating_duration_since(self.since).as_secs_f64().max(1e-9);
        let failed_total: u64 = self.failed.values().sum();
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Report {
            kind: "interval".to_owned(),
            seconds,
            sent: self.ok + failed_total,
            ok: self.ok,
            failed_total,
            failed: self.failed.clone(),
            failure_examples: self.examples.clone(),
            resent: self.resent,
            warmup_failed: 0,
            requests_per_second: self.ok as f64 / seconds,
            bytes: self.bytes,
            latency_us: Latency {
                mean: self.histogram.mean() / 1000.0,
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: self.histogram.max() as f64 / 1000.0,
            },
            instances: self.instances.clone(),
            greeters: self.greeters.clone(),
        }
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: Option<&str>) {
    let Some(name) = name else { return };
    if let Some(seen) = counts.get_mut(name) {
        *seen += 1;
    } else {
        let name = if counts.len() < NAMES { name } else { "…" };
        *counts.entry(name.to_owned()).or_default() += 1;
    }
}

impl Recorder {
    /// Records requests due from `measure_from` until `measure_to`.
    pub(super) fn new(
        measure_from: Instant,
        measure_to: Instant,
        with_intervals: bool,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            measure_from: Cell::new(measure_from),
            measure_to: Cell::new(measure_to),
            total: RefCell::new(Counts::new(measure_from)?),
            interval: with_intervals.then(|| Counts::new(measure_from)).transpose()?.map(RefCell::new),
            warmup_failed: Cell::new(0),
            sent: Cell::new(0),
        })
    }

    /// The request due at `due` was answered as expected.
    pub(super) fn ok(&self, due: Instant, answered: &Answered<'_>) {
        self.sent.set(self.sent.get() + 1);
        if due < self.measure_from.get() {
            return;
        }
        let latency = due.elapsed();
        self.total.borrow_mut().ok(latency, answered);
        if let Some(interval) = &self.interval {
            interval.borrow_mut().ok(latency, answered);
        }
    }

    /// The request due at `due` failed.
    pub(super) fn failed(&self, due: Instant, failure: &Failure) {
        self.sent.set(self.sent.get() + 1);
        let mut total = self.total.borrow_mut();
        if due < self.measure_from.get() {
            self.warmup_failed.set(self.warmup_failed.get() + 1);
            total.example(failure);
        } else {
            total.failed(failure);
        }
        if let Some(interval) = &self.interval {
            interval.borrow_mut().failed(failure);
        }
    }

    /// A request was sent again, because its connection had closed before anything of it was answered.
    pub(super) fn resent(&self) {
        self.total.borrow_mut().resent += 1;
        if let Some(interval) = &self.interval {
            interval.borrow_mut().resent += 1;
        }
    }

    /// Answers of any kind so far, warm-up included.
    pub(super) fn answered(&self) -> u64 {
        self.sent.get()
    }

    /// Ends the measured time now.
    pub(super) fn end_now(&self) {
        self.measure_to.set(self.measure_to.get().min(Instant::now()));
    }

    /// The report of the running interval; begins the next.
    pub(super) fn take_interval(&self) -> Option<Report> {
        let interval = self.interval.as_ref()?;
        let now = Instant::now();
        let report = interval.borrow().report(now);
        let fresh = Counts::new(now).ok()?;
        *interval.borrow_mut() = fresh;
        Some(report)
    }

    /// The report of the whole measured time.
    pub(super) fn total(&self) -> Report {
        let mut report = self.total.borrow().report(self.measure_to.get());
        report.kind = "total".to_owned();
        report.warmup_failed = self.warmup_failed.get();
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_latency_from_when_a_request_was_due() {
        let due = Instant::now() - Duration::from_secs(60);
        let recorder = Recorder::new(due, due + Duration::from_secs(1), false).unwrap();
        recorder.ok(due, &Answered { instance: Some("a"), ..Answered::default() });
        let report = recorder.total();
        assert!((59_000_000.0..61_000_000.0).contains(&report.latency_us.p50), "{report:?}");
        assert_eq!(report.instances.get("a"), Some(&1));
    }

    #[test]
    fn keeps_the_warm_up_out_but_tells_its_failures() {
        let start = Instant::now();
        let recorder =
            Recorder::new(start + Duration::from_secs(1), start + Duration::from_secs(2), false).unwrap();
        recorder.ok(start, &Answered::default());
        recorder.failed(start, &Failure::new("status-503", "no healthy endpoint"));
        let report = recorder.total();
        assert_eq!((report.sent, report.warmup_failed), (0, 1));
        assert!(report.failure_examples[0].contains("no healthy endpoint"));
    }
}
