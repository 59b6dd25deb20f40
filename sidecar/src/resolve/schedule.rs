//! What to look up when, and which addresses stand meanwhile. Pure: time is an argument.
//!
//! ```text
//! wanted ──> looking ──addresses──> known until its TTL ──near its end, still used──> looking
//!               ├──no such name──> refused until the answer's TTL ──> looking
//!               └──no answer─────> what was known stays (stale), else refused; again after a pause
//! ```
//! A name that exists no more is believed, as RFC 8767 §4 has it: only silence and errors leave what was known.

use crate::snapshot::LastUsed;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Names held; beyond, the one used longest ago goes. As many as hosts the control plane is asked about.
pub(super) const NAMES_MAX: usize = 500;
/// Look-ups under way at once; more wait for one of them.
const FLIGHTS_MAX: usize = 16;
/// A TTL is taken for at least this: a server that says 0 must not be asked before each request.
const TTL_MIN: Duration = Duration::from_secs(5);
/// A TTL is taken for at most this, so that a mistake in DNS is mended soon after it is corrected there.
const TTL_MAX: Duration = Duration::from_secs(300);
/// "No such name" is believed for at least and at most this long: a name that was just made is found soon.
const NEGATIVE_MIN: Duration = Duration::from_secs(1);
const NEGATIVE_MAX: Duration = Duration::from_secs(30);
/// From a failure to the next look-up; doubled with each further failure up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A name nobody used for this long is let go.
const IDLE: Duration = Duration::from_secs(300);
/// Addresses of one name; more add nothing to a choice of two.
const ADDRESSES_MAX: usize = 64;

/// What a look-up came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The name has these addresses, never none, for this long.
    Addresses(Vec<IpAddr>, Duration),
    /// There is no such name, or it has no addresses; for this long, if the server said so.
    None(Option<Duration>),
    /// Nobody could say; why.
    Failed(Arc<str>),
}

/// What every name asked for has come to.
#[derive(Debug, Default)]
pub struct Resolved {
    names: HashMap<Arc<str>, NameView>,
}

/// What is known of a name.
#[derive(Debug, Clone)]
pub struct NameView {
    /// The answer that stands.
    pub state: NameState,
    /// When a worker last used it.
    pub last_used: Arc<LastUsed>,
}

/// The answer that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameState {
    /// These addresses, in order.
    Addresses(Arc<[IpAddr]>),
    /// None; why, for people.
    Refused(Arc<str>),
}

impl Resolved {
    /// What is known of `name`; nothing as long as the first look-up lasts.
    pub fn name(&self, name: &str) -> Option<&NameView> {
        self.names.get(name)
    }
}

#[derive(Debug)]
struct Entry {
    state: Option<NameState>,
    last_used: Arc<LastUsed>,
    wanted: Instant,
    is_looking: bool,
    next: Instant,
    failures: u32,
    /// When the addresses should have been renewed.
    runs_out: Instant,
}

/// All names.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    entries: BTreeMap<Arc<str>, Entry>,
    flights: usize,
}

impl Schedule {
    /// Traffic needs `name`. Whether another was let go for it.
    pub(super) fn want(&mut self, name: &Arc<str>, now: Instant) -> bool {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.wanted = now;
            return false;
        }
        let mut is_changed = false;
        if self.entries.len() >= NAMES_MAX {
            let idle = self.entries.iter().filter(|(_, entry)| !entry.is_looking);
            let oldest = idle.min_by_key(|(_, entry)| (entry.last_used.second(), entry.wanted));
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { return false };
            self.entries.remove(&oldest);
            is_changed = true;
        }
        let entry = Entry {
            state: None,
            last_used: Arc::default(),
            wanted: now,
            is_looking: false,
            next: now,
            failures: 0,
            runs_out: now,
        };
        self.entries.insert(name.clone(), entry);
        is_changed
    }

    /// Lets go of what nobody uses. Whether there was any.
    pub(super) fn expire(&mut self, now: Instant, started: Instant) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.is_looking || entry.idle(now, started) < IDLE);
        self.entries.len() != before
    }

    /// The names to look up now; each is under way from here on until it is [`Schedule::answered`].
    pub(super) fn due(&mut self, now: Instant, started: Instant) -> Vec<Arc<str>> {
        let mut due = Vec::new();
        for (name, entry) in &mut self.entries {
            if self.flights >= FLIGHTS_MAX {
                break;
            }
            if !entry.is_looking && entry.next <= now && entry.idle(now, started) < IDLE {
                entry.is_looking = true;
                self.flights += 1;
                due.push(name.clone());
            }
        }
        due
    }

    /// A look-up has ended. Whether what stands has changed.
    pub(super) fn answered(&mut self, name: &str, answer: Answer, now: Instant) -> bool {
        self.flights = self.flights.saturating_sub(1);
        let Some(entry) = self.entries.get_mut(name) else { return false };
        entry.is_looking = false;
        let state = match answer {
            Answer::Addresses(mut addresses, ttl) => {
                let ttl = ttl.clamp(TTL_MIN, TTL_MAX);
                entry.failures = 0;
                entry.runs_out = now + ttl;
                // A fifth of its life is left for the look-up, and for another if that fails.
                entry.next = now + ttl * 4 / 5;
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                NameState::Addresses(addresses.into())
            }
            Answer::None(ttl) => {
                let ttl = ttl.unwrap_or(NEGATIVE_MIN).clamp(NEGATIVE_MIN, NEGATIVE_MAX);
                entry.failures = 0;
                entry.runs_out = now + ttl;
                entry.next = now + ttl;
                NameState::Refused(format!("DNS knows no address of `{name}`").into())
            }
            Answer::Failed(why) => {
                let pause = PAUSE.saturating_mul(2_u32.saturating_pow(entry.failures)).min(PAUSE_MAX);
                entry.failures = entry.failures.saturating_add(1);
                entry.next = now + pause;
                match &entry.state {
                    Some(NameState::Addresses(_)) => return false,
                    Some(NameState::Refused(_)) | None => NameState::Refused(
                        format!("the address of `{name}` cannot be looked up: {why}").into(),
                    ),
                }
            }
        };
        let is_changed = entry.state.as_ref() != Some(&state);
        entry.state = Some(state);
        is_changed
    }

    /// When to look again at the latest.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let waiting = self.entries.values().filter(|entry| !entry.is_looking);
        let next = waiting.map(|entry| entry.next).min().unwrap_or(now + IDLE);
        // Those that have to wait for another's end are looked at when it has ended.
        if self.flights >= FLIGHTS_MAX { next.max(now + PAUSE) } else { next }
    }

    /// What workers read.
    pub(super) fn resolved(&self) -> Resolved {
        let known = self.entries.iter().filter_map(|(name, entry)| {
            let view = NameView { state: entry.state.clone()?, last_used: entry.last_used.clone() };
            Some((name.clone(), view))
        });
        Resolved { names: known.collect() }
    }

    /// How many names are held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// For how long the oldest addresses still in use should have been renewed.
    pub(super) fn stalest(&self, now: Instant) -> Duration {
        let used = self.entries.values().filter(|entry| matches!(entry.state, Some(NameState::Addresses(_))));
        used.map(|entry| now.saturating_duration_since(entry.runs_out)).max().unwrap_or_default()
    }
}

impl Entry {
    /// For how long nobody has used it.
    fn idle(&self, now: Instant, started: Instant) -> Duration {
        let used = started + Duration::from_secs(self.last_used.second());
        now.saturating_duration_since(used.max(self.wanted))
    }
}

#[cfg(test)]
mod tests;
