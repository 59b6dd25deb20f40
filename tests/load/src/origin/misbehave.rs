//! Misbehaviour on demand: failing a share of the requests and answering late. Deterministic: at a rate of 0.25 exactly
//! every fourth request fails, so that tests can count.

use clap::Args;
use std::cell::Cell;
use std::time::Duration;

/// The flags of misbehaviour.
#[derive(Debug, Clone, Copy, Args)]
pub struct Misbehave {
    /// Share of requests to fail, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub fail_rate: f64,
    /// Milliseconds to wait before each answer
    #[arg(long, default_value_t = 0)]
    pub delay_ms: u64,
    /// Share of requests to answer late, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub slow_rate: f64,
    /// Milliseconds to wait before each answer that is late, beside --delay-ms
    #[arg(long, default_value_t = 0)]
    pub slow_ms: u64,
}

/// Spreads failures evenly: an error-diffusion counter, one per serving thread.
#[derive(Debug)]
pub struct Failures {
    rate: f64,
    owed: Cell<f64>,
}

/// Spreads late answers evenly, as [`Failures`].
#[derive(Debug)]
pub struct Slowness {
    share: Failures,
    by: Duration,
}

impl Slowness {
    /// How long the next answer waits beside the others; `None` when it is not late.
    pub fn next(&self) -> Option<Duration> {
        self.share.next_fails().then_some(self.by)
    }
}

impl Misbehave {
    /// How long each answer waits; `None` when there is nothing to wait for.
    pub fn delay(&self) -> Option<Duration> {
        (self.delay_ms > 0).then(|| Duration::from_millis(self.delay_ms))
    }

    /// A counter of the answers that are late.
    pub fn slowness(&self) -> Slowness {
        Slowness {
            share: Failures { rate: self.slow_rate, owed: Cell::new(0.0) },
            by: Duration::from_millis(self.slow_ms),
        }
    }

    /// A counter that fails this share of requests.
    pub fn failures(&self) -> Failures {
        Failures { rate: self.fail_rate, owed: Cell::new(0.0) }
    }
}

impl Failures {
    /// Whether the next request is one of those that fail.
    pub fn next_fails(&self) -> bool {
        if self.rate <= 0.0 {
            return false;
        }
        let owed = self.owed.get() + self.rate;
        // The tolerance keeps ten additions of 0.1 from missing the tenth request.
        let fails = owed >= 1.0 - 1e-9;
        self.owed.set(if fails { owed - 1.0 } else { owed });
        fails
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is not a share: give a number from 0 to 1, such as 0.05")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed_of_hundred(fail_rate: f64) -> usize {
        let failures = Misbehave { fail_rate, delay_ms: 0, slow_rate: 0.0, slow_ms: 0 }.failures();
        (0..100).filter(|_| failures.next_fails()).count()
    }

    #[test]
    fn fails_exactly_the_asked_share() {
        assert_eq!(failed_of_hundred(0.0), 0);
        assert_eq!(failed_of_hundred(0.1), 10);
        assert_eq!(failed_of_hundred(0.25), 25);
        assert_eq!(failed_of_hundred(1.0), 100);
    }

    #[test]
    fn every_twentieth_is_late_at_a_rate_of_5_percent() {
        let slowness = Misbehave { fail_rate: 0.0, delay_ms: 0, slow_rate: 0.05, slow_ms: 7 }.slowness();
        let late: Vec<_> = (1..=60).filter(|_| slowness.next() == Some(Duration::from_millis(7))).collect();
        assert_eq!(late, [20, 40, 60]);
    }

    #[test]
    fn refuses_what_is_not_a_share() {
        assert!(share("1.5").is_err());
        assert!(share("x").is_err());
        assert_eq!(share("0.5"), Ok(0.5));
    }
}
