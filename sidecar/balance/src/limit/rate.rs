//! How often: a bucket of tokens that fills at a constant rate, and a bounded number of such buckets, one for each client.
//!
//! Enters: the time of each request and whose it is. Leaves: yes, or how long until it would be. Never here: waiting.

use crate::numbers::bounded;
use crate::{HashKey, Nanos};
use std::collections::HashMap;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// Ten thousand places are looked at in some ten microseconds.
const CLEARED_EVERY: Duration = Duration::from_millis(10);

bounded!(
    /// Requests in each unit of time.
    Requests, "the number of requests", 1..=1_000_000, default 100
);
bounded!(
    /// Requests at once after a pause: how many tokens the bucket holds.
    Burst, "the burst", 1..=1_000_000, default 100
);

/// What a rate is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// A second.
    #[default]
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// How many.
    pub requests: Requests,
    /// In each of these.
    pub unit: Unit,
}

impl Rate {
    /// The time in which one token comes.
    fn token(self) -> Duration {
        let seconds = match self.unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
        };
        Duration::from_nanos(seconds * SECOND / u64::from(self.requests.number()))
    }
}

/// A rate with a burst.
///
/// Kept as one time, the moment at which the bucket was or will be full (GCRA, the virtual scheduling algorithm of ITU-T
/// I.371): eight bytes, no rounding, and nothing to do while no request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    full_at: Nanos,
}

impl TokenBucket {
    /// A full bucket.
    pub fn full(now: Nanos) -> Self {
        Self { full_at: now }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long until there is one, if there is none now. For `Retry-After`.
    pub fn take(&mut self, rate: Rate, burst: Burst, now: Nanos) -> Result<(), Duration> {
        let token = rate.token();
        let full_at = self.full_at.max(now) + token;
        let missing = full_at.since(now).saturating_sub(token.saturating_mul(burst.number()));
        if !missing.is_zero() {
            return Err(missing);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Whether it is full, and so the same as one nobody has used.
    pub fn is_full(&self, now: Nanos) -> bool {
        self.full_at <= now
    }
}

/// A rate for each client, for at most a number of clients at once.
///
/// Only clients whose bucket is not full take a place, about 40 bytes each: a client that keeps to its rate is soon
/// forgotten. When all places are taken, further clients share one bucket: a flood of invented clients gets one client's
/// rate together, and hurts no client that has a place.
#[derive(Debug, Clone)]
pub struct ClientRates {
    rate: Rate,
    burst: Burst,
    most: usize,
    buckets: HashMap<HashKey, TokenBucket>,
    /// Of those without a place.
    others: TokenBucket,
    /// When places were last cleared of full buckets.
    cleared: Nanos,
}

impl ClientRates {
    /// This rate for each of at most `most` clients.
    pub fn new(rate: Rate, burst: Burst, most: usize, now: Nanos) -> Self {
        let others = TokenBucket::full(now);
        Self { rate, burst, most, buckets: HashMap::new(), others, cleared: now }
    }

    /// Takes a token of this client.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&mut self, client: HashKey, now: Nanos) -> Result<(), Duration> {
        if !self.buckets.contains_key(&client) && self.buckets.len() >= self.most {
            self.clear(now);
            if self.buckets.len() >= self.most {
                return self.others.take(self.rate, self.burst, now);
            }
        }
        let bucket = self.buckets.entry(client).or_insert(TokenBucket::full(now));
        bucket.take(self.rate, self.burst, now)
    }

    /// How many clients have a place.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Forgets clients whose bucket is full again; at most once in the time in which one token comes, and every ten
    /// milliseconds, so that a flood does not make every request look at all places.
    fn clear(&mut self, now: Nanos) {
        if now.since(self.cleared) >= self.rate.token().max(CLEARED_EVERY) {
            self.cleared = now;
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(rate: u32) -> Rate {
        Rate { requests: Requests::new(rate).expect("in range"), unit: Unit::Second }
    }

    fn burst(burst: u32) -> Burst {
        Burst::new(burst).expect("in range")
    }

    fn at(millis: u64) -> Nanos {
        Nanos(0) + Duration::from_millis(millis)
    }

    #[test]
    fn after_a_pause_the_burst_and_then_the_rate() {
        let mut bucket = TokenBucket::full(at(0));
        let mut taken = |now| {
            std::iter::repeat_with(|| bucket.take(rate(10), burst(5), now)).take_while(Result::is_ok).count()
        };
        assert_eq!([0, 99, 100, 300, 10_000].map(|millis| taken(at(millis))), [5, 0, 1, 2, 5]);
    }

    #[test]
    fn a_rate_may_be_by_minute_or_hour() {
        let seldom = |unit| Rate { unit, ..rate(6) };
        for (unit, token) in [(Unit::Minute, 10_000), (Unit::Hour, 600_000)] {
            let mut bucket = TokenBucket::full(at(0));
            let mut taken = |now| bucket.take(seldom(unit), burst(1), at(now)).map_err(|it| it.as_millis());
            let found = [taken(0), taken(token - 1), taken(token)];
            assert_eq!(found, [Ok(()), Err(1), Ok(())], "{unit:?}");
        }
    }

    #[test]
    fn a_refusal_says_when_to_come_again() {
        let mut bucket = TokenBucket::full(at(0));
        assert_eq!(bucket.take(rate(10), burst(1), at(0)), Ok(()));
        assert_eq!(bucket.take(rate(10), burst(1), at(30)), Err(Duration::from_millis(70)));
        assert_eq!(bucket.take(rate(10), burst(1), at(100)), Ok(()));
    }

    #[test]
    fn clients_have_rates_of_their_own() {
        let mut rates = ClientRates::new(rate(10), burst(1), 8, at(0));
        let (a, b) = (HashKey::of(b"a"), HashKey::of(b"b"));
        assert_eq!(rates.take(a, at(0)), Ok(()));
        assert!(rates.take(a, at(0)).is_err());
        assert_eq!(rates.take(b, at(0)), Ok(()));
    }

    #[test]
    fn a_flood_of_clients_takes_no_more_than_its_places_and_hurts_nobody_with_one() {
        let mut rates = ClientRates::new(rate(1), burst(10), 100, at(0));
        let known = HashKey::of(b"known");
        assert_eq!(rates.take(known, at(0)), Ok(()));
        let allowed =
            (0..10_000_u32).filter(|client| rates.take(HashKey::of(&client.to_le_bytes()), at(0)).is_ok());
        assert_eq!(allowed.count(), 99 + 10, "a place each, and one bucket for the others");
        assert_eq!((rates.len(), rates.take(known, at(0))), (100, Ok(())));
        assert_eq!(rates.take(HashKey::of(b"late"), at(60_000)), Ok(()));
        assert_eq!(rates.len(), 1, "full buckets were forgotten");
    }

    proptest! {
        #[test]
        fn in_any_time_no_more_than_burst_and_rate(
            per_second in 1_u32..1_000, size in 1_u32..50, pauses in prop::collection::vec(0_u64..200_000_000, 1..200),
        ) {
            let mut bucket = TokenBucket::full(at(0));
            let mut now = at(0);
            let mut granted: Vec<Nanos> = Vec::new();
            for pause in pauses {
                now = Nanos(now.0 + pause);
                if bucket.take(rate(per_second), burst(size), now).is_ok() { granted.push(now); }
            }
            for (count, first) in granted.iter().enumerate() {
                let seconds = now.since(*first).as_secs_f64();
                // The token's time is cut off to a nanosecond: at 1,000 per second, one in a million.
                let most = f64::from(size) + seconds * f64::from(per_second) * 1.000_001 + 1e-6;
                prop_assert!((granted.len() - count) as f64 <= most.floor() + 1e-9 || most.fract() > 0.999, "{} since {:?}", granted.len() - count, first);
            }
        }
    }
}
