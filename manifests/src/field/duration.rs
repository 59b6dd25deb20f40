//! Durations in the Gateway API's format, GEP-2257: one to four of `<up to 5 digits><h|m|s|ms>`, such as `1h30m` or
//! `500ms`. No sign, no fraction, nothing below a millisecond.

use std::time::Duration;

const UNITS_MAX: usize = 4;
const DIGITS_MAX: usize = 5;

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// A number has no unit, as in `10`.
    #[error("a number needs a unit: h, m, s or ms")]
    NoUnit,
    /// A unit is not one of the four, as in `1d` or `5us`.
    #[error("the units are h, m, s and ms")]
    BadUnit,
    /// There is a sign or a fraction, as in `-1s` or `1.5s`.
    #[error("it must be made of whole numbers without sign, each followed by a unit")]
    NotWhole,
    /// A number has more than 5 digits.
    #[error("a number may have at most 5 digits")]
    TooManyDigits,
    /// There are more than 4 numbers.
    #[error("it may have at most 4 numbers")]
    TooManyUnits,
}

/// Reads a duration. `0s` is zero, which most fields take as "no limit".
///
/// # Errors
/// [`DurationError`] with the rule the text breaks.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    for _ in 0..UNITS_MAX {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(DurationError::NoUnit)?;
        let (number, after) = rest.split_at(digits);
        if number.is_empty() || after.starts_with(['.', ',']) {
            return Err(DurationError::NotWhole);
        }
        if number.len() > DIGITS_MAX {
            return Err(DurationError::TooManyDigits);
        }
        let number: u64 = number.parse().map_err(|_| DurationError::NotWhole)?;
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        total += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            "" => return Err(DurationError::NotWhole),
            _ => return Err(DurationError::BadUnit),
        };
        if next.is_empty() {
            return Ok(total);
        }
        rest = next;
    }
    Err(DurationError::TooManyUnits)
}

/// Writes a duration so that it [reads back](parse_duration): greatest unit first, each once. Less than a millisecond
/// is cut off, more than 99999 hours is written as 99999 hours.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis().min(99_999 * 3_600_000);
    let parts = [
        (millis / 3_600_000, "h"),
        (millis / 60_000 % 60, "m"),
        (millis / 1000 % 60, "s"),
        (millis % 1000, "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_the_gateway_api_defines_them() {
        for (text, millis) in [
            ("0s", 0),
            ("0h", 0),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("30m1h", 5_400_000),
            ("1s1s", 2000),
            ("1500ms", 1500),
            ("500ms", 500),
            ("2h1m1s1ms", 7_261_001),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn every_broken_rule_of_a_duration_is_named() {
        for (text, error) in [
            ("", DurationError::Empty),
            ("10", DurationError::NoUnit),
            ("1h10", DurationError::NoUnit),
            ("1d", DurationError::BadUnit),
            ("5us", DurationError::BadUnit),
            ("5S", DurationError::BadUnit),
            ("-1s", DurationError::NotWhole),
            ("1.5s", DurationError::NotWhole),
            ("1 s", DurationError::NotWhole),
            ("s", DurationError::NotWhole),
            ("100000s", DurationError::TooManyDigits),
            ("1h1m1s1ms1h", DurationError::TooManyUnits),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was_written(millis in 0_u64..99_999 * 3_600_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_judged_without_panic(text in ".*") {
            let _judged = parse_duration(&text);
        }
    }
}
