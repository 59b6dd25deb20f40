//! Forwarded answers and how long they hold. Enters: a reply of an upstream server, and the time. Leaves: the same reply,
//! its TTLs less by its age; fresh, or stale when the server has stopped answering. Pure. Evicted is what was used longest
//! ago, as soon as a bound is reached, and what is too stale when it is next looked at.
//!
//! ```text
//! kept ──its TTL──> stale ──a day──> gone       stale: asked anew; given out if no server answers
//!                     └─ no server answers: given out at once for 30 s, then asked anew
//! ```
//!
//! | rule | source |
//! | --- | --- |
//! | an answer holds as long as the shortest TTL of its records | RFC 2181 §5.2 |
//! | "no such name" and "no data" hold as long as the SOA record says; without one they are not kept | RFC 2308 §5 |
//! | no answer at all is remembered for a second | RFC 9520 §3.2 |
//! | stale answers are given out with a TTL of 30 s, and only when no server answers | RFC 8767 §4, §5 |

use super::question::Wishes;
use super::reply::Reply;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Most answers kept. A service asks for tens of names, a crawler for thousands.
const ENTRIES_MAX: usize = 4096;
/// Most bytes kept, as the answers were on the wire; in memory about four times as much.
const BYTES_MAX: usize = 1024 * 1024;

/// Shortest life of an answer: a TTL of 0 shields the server from a loop, and nobody sees a second.
const TTL_FLOOR: Duration = Duration::from_secs(1);
/// Longest life of an answer: whoever moves a name waits for other caches longer than this.
const TTL_CEILING: Duration = Duration::from_secs(3600);
/// Longest life of a "no": someone may be waiting for the name to appear (RFC 2308 §5 allows hours).
const NEGATIVE_CEILING: Duration = Duration::from_secs(300);
/// How long "no server answers" is remembered, so that a loop of retries does not become one of packets.
const FAILURE: Duration = Duration::from_secs(1);
/// From the end of an answer's life to its end as a stale one (RFC 8767 §5 suggests one to three days).
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);
/// From a failure to the next try to refresh a stale answer.
const RECHECK: Duration = Duration::from_secs(30);
/// The TTL of a stale answer, in seconds.
const STALE_TTL: u32 = 30;

/// What makes two questions the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Compared without regard to case.
    pub(super) name: Name,
    pub(super) kind: RecordType,
    pub(super) wishes: Wishes,
}

/// What is kept for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// To be given out.
    Fresh(Reply),
    /// To be given out if no server answers.
    Stale(Reply),
    /// To be given out without asking: no server answered a moment ago.
    StaleOnly(Reply),
    /// Nothing.
    Nothing,
}

/// The answers. One owner; every call tells the time.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    /// Keys by when they were last used, oldest first.
    order: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    reply: Arc<Reply>,
    kept: Instant,
    fresh_until: Instant,
    stale_until: Instant,
    /// Not to be asked for before, since no server answered.
    recheck: Option<Instant>,
    bytes: usize,
    used: u64,
}

impl Cache {
    /// What is kept for `key`.
    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Found {
        let used = self.next_use();
        let Some(entry) = self.entries.get_mut(key) else { return Found::Nothing };
        if now >= entry.fresh_until && now >= entry.stale_until {
            self.remove(key);
            return Found::Nothing;
        }
        let before = std::mem::replace(&mut entry.used, used);
        if let Some(key) = self.order.remove(&before) {
            self.order.insert(used, key);
        }
        if now < entry.fresh_until {
            Found::Fresh(aged(&entry.reply, now.saturating_duration_since(entry.kept)))
        } else if entry.recheck.is_some_and(|at| now < at) {
            Found::StaleOnly(stale(&entry.reply))
        } else {
            Found::Stale(stale(&entry.reply))
        }
    }

    /// Keeps what a server said, if it may be kept. `bytes` is its length on the wire.
    pub(super) fn keep(&mut self, key: Key, reply: Arc<Reply>, bytes: usize, now: Instant) {
        match lifetime(&reply) {
            Some(life) => self.insert(key, reply, bytes, now, life, STALE_MAX),
            None => self.remove(&key),
        }
    }

    /// Notes that no server answers: a stale answer stays for a while as it is, or else the failure itself is kept for a
    /// moment.
    pub(super) fn failed(&mut self, key: Key, failure: Arc<Reply>, now: Instant) {
        match self.entries.get_mut(&key) {
            Some(entry) if now < entry.stale_until => entry.recheck = Some(now + RECHECK),
            Some(_) | None => self.insert(key, failure, 0, now, FAILURE, Duration::ZERO),
        }
    }

    /// How many answers are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn insert(
        &mut self,
        key: Key,
        reply: Arc<Reply>,
        bytes: usize,
        now: Instant,
        life: Duration,
        stale: Duration,
    ) {
        self.remove(&key);
        let used = self.next_use();
        let fresh_until = now + life;
        let stale_until = if stale.is_zero() { now } else { fresh_until + stale };
        let entry = Entry { reply, kept: now, fresh_until, stale_until, recheck: None, bytes, used };
        self.bytes = self.bytes.saturating_add(bytes);
        self.order.insert(used, key.clone());
        self.entries.insert(key, entry);
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}

/// How long a reply holds; nothing if it may not be kept.
fn lifetime(reply: &Reply) -> Option<Duration> {
    let seconds = |ttl: u32| Duration::from_secs(ttl.into());
    let answers = reply.answers.iter().map(|record| seconds(record.ttl)).min();
    let no = reply.authorities.iter().find_map(|record| {
        let RData::SOA(soa) = &record.data else { return None };
        Some(seconds(record.ttl.min(soa.minimum)).min(NEGATIVE_CEILING))
    });
    let life = match (answers, no) {
        // An alias that leads nowhere: both its parts must hold.
        (Some(answers), Some(no)) => answers.min(no),
        (Some(answers), None) if reply.code == ResponseCode::NoError => answers,
        (None, Some(no)) => no,
        (Some(_), None) | (None, None) => return None,
    };
    Some(life.clamp(TTL_FLOOR, TTL_CEILING))
}

/// The reply as it is after `age`.
pub(super) fn aged(reply: &Reply, age: Duration) -> Reply {
    let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
    let ceiling = u32::try_from(TTL_CEILING.as_secs()).unwrap_or(u32::MAX);
    with_ttls(reply, |ttl| ttl.min(ceiling).saturating_sub(age))
}

fn stale(reply: &Reply) -> Reply {
    with_ttls(reply, |_| STALE_TTL)
}

fn with_ttls(reply: &Reply, ttl: impl Fn(u32) -> u32) -> Reply {
    let mut reply = reply.clone();
    let sections = [&mut reply.answers, &mut reply.authorities, &mut reply.additionals];
    for record in sections.into_iter().flatten() {
        record.ttl = ttl(record.ttl);
    }
    reply
}

#[cfg(test)]
mod tests;
