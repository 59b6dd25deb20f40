//! The clock and the dice of the API: the only room that looks at either.

use super::meta::Birth;
use jiff::Timestamp;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Identity and age of a new object.
pub(crate) fn birth() -> Birth {
    Birth { uid: uuid(random(), random()), now: now() }
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A number nobody guesses twice: the standard library's keyed hash, with keys from the operating system, of a number
/// that never repeats. Good for identities and suffixes, not for secrets.
pub(crate) fn random() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    RandomState::new().hash_one((count, Timestamp::now().as_nanosecond()))
}

/// A version 4 UUID (RFC 9562 §5.4) of 122 given bits.
fn uuid(high: u64, low: u64) -> String {
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let (time, clock) = (format!("{high:016x}"), format!("{low:016x}"));
    let cut = |text: &str, from: usize, to: usize| text.get(from..to).unwrap_or_default().to_owned();
    format!(
        "{}-{}-{}-{}-{}",
        cut(&time, 0, 8),
        cut(&time, 8, 12),
        cut(&time, 12, 16),
        cut(&clock, 0, 4),
        cut(&clock, 4, 16)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_have_the_form_of_the_standard_and_differ() {
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let many: std::collections::BTreeSet<_> = (0..1000).map(|_| birth().uid).collect();
        assert_eq!(many.len(), 1000);
    }
}
