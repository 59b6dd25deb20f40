//! Waiting for something to become so. The only place in the tests that sleeps.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

/// How often [`eventually`] looks again: often enough to cost a test little, rarely enough not to be the load.
const EVERY: Duration = Duration::from_millis(20);
/// How long [`eventually`] goes on. Generous: it is only ever reached by a test that fails.
const WITHIN: Duration = Duration::from_secs(30);

/// Looks until `look` brings a value.
///
/// # Panics
/// It brings none within 30 seconds: with `what` was waited for and what was seen last.
pub fn eventually<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let start = SystemTime::now();
    loop {
        let seen = match look() {
            Ok(value) => return value,
            Err(seen) => seen,
        };
        if start.elapsed().unwrap_or(WITHIN) >= WITHIN {
            panic!("waited {WITHIN:?} for this: {what}; last seen: {seen:?}");
        }
        std::thread::sleep(EVERY);
    }
}

/// `Ok` if the claim holds, else what was seen: for use with [`eventually`].
///
/// # Errors
/// The claim does not hold.
pub fn holds<T: Debug>(claim: bool, seen: T) -> Result<(), T> {
    if claim { Ok(()) } else { Err(seen) }
}
