//! When a certificate is renewed. Pure: the time and the randomness are arguments.

use std::time::{Duration, SystemTime};

/// Renewal starts at half of a certificate's life: that leaves the other half, 12 hours of 24, for a control plane that
/// is away.
const DUE: f64 = 0.5;
/// Each sidecar waits up to this share of the life longer, so that a fleet started together does not renew together.
const SPREAD: f64 = 0.1;

/// When a certificate that is valid from `not_before` to `not_after` should be renewed. `random` is in 0..1.
pub(crate) fn due(not_before: SystemTime, not_after: SystemTime, random: f64) -> SystemTime {
    let life = not_after.duration_since(not_before).unwrap_or(Duration::ZERO);
    let wait = life.mul_f64(DUE + SPREAD * random.clamp(0.0, 1.0));
    not_before.checked_add(wait).unwrap_or(not_before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_from_half_of_the_life_on() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let end = start + Duration::from_secs(24 * 3600);
        assert_eq!(due(start, end, 0.0), start + Duration::from_secs(12 * 3600));
        assert_eq!(due(start, end, 1.0), start + Duration::from_secs(24 * 3600 * 6 / 10));
        assert_eq!(due(end, start, 0.5), end, "a life that ends before it begins is due at once");
    }
}
