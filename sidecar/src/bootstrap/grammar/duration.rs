//! Durations: a whole number with its unit.

use super::{GrammarError, wrong};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longer than this is a mistake in the unit: supervisors kill after minutes.
const MOST: Duration = Duration::from_secs(3600);

/// How long running requests may take to finish once the drain has begun. 30 seconds by default, as Kubernetes gives a
/// Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(pub Duration);

impl Default for Grace {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

/// How long a command waits until traffic can flow. A minute by default: a control plane that restarts is back within
/// seconds, and a supervisor that starts the job again waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyTimeout(pub Duration);

impl Default for ReadyTimeout {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}

impl FromStr for Grace {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        parse(text).map(Self)
    }
}

impl FromStr for ReadyTimeout {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        parse(text).map(Self)
    }
}

fn parse(text: &str) -> Result<Duration, GrammarError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: Option<u64> = number.parse().ok();
    let duration = match (number, unit) {
        (Some(number), "ms") => Duration::from_millis(number),
        (Some(number), "s") => Duration::from_secs(number),
        (Some(number), "m") => Duration::from_secs(number.saturating_mul(60)),
        _ => return wrong("it must be a whole number with a unit: 30s, 500ms or 2m"),
    };
    if duration > MOST { wrong("it must be at most 60m") } else { Ok(duration) }
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, f)
    }
}

impl fmt::Display for ReadyTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, f)
    }
}

fn show(duration: Duration, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if duration.subsec_millis() == 0 {
        write!(f, "{}s", duration.as_secs())
    } else {
        write!(f, "{}ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        for (text, millis) in [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("0s", 0)] {
            assert_eq!(text.parse::<Grace>().unwrap().0, Duration::from_millis(millis));
        }
        for text in ["30", "s", "-1s", "1h", "61m", "99999999999999999999s"] {
            text.parse::<Grace>().unwrap_err();
        }
        assert_eq!(Grace::default().to_string(), "30s");
        assert_eq!(ReadyTimeout::default().to_string(), "60s");
    }
}
