//! What operators see of the DNS server: questions by where their answer came from, the cache, the upstream servers, and
//! which bound has been reached. A question is rare enough for shared atomics.

use super::requests::counter;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Registry};
use std::time::Duration;

/// From a tenth of a millisecond, about what an answer from memory takes, to five seconds, when resolvers give up.
const DURATION_BUCKETS: [f64; 13] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DnsKind {
    /// From the mesh.
    Mesh,
    /// From an upstream server, directly or out of the cache.
    Forwarded,
    /// From nowhere: the question was refused.
    Refused,
}

impl DnsKind {
    const ALL: [Self; 3] = [Self::Mesh, Self::Forwarded, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
        }
    }
}

/// What the cache did for a question that is not the mesh's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DnsCacheResult {
    /// Had the answer.
    Hit,
    /// Had no answer: a server is asked.
    Miss,
    /// Had no answer, but a server was being asked already.
    Joined,
    /// Had an answer that had run out, and no server gave a newer one.
    Stale,
}

impl DnsCacheResult {
    const ALL: [Self; 4] = [Self::Hit, Self::Miss, Self::Joined, Self::Stale];

    fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Joined => "joined",
            Self::Stale => "stale",
        }
    }
}

/// What was wrong with an upstream server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DnsFailure {
    /// No answer in time.
    Timeout,
    /// It can't be reached, or there is none.
    Unreachable,
    /// What it said is not an answer to the question.
    Malformed,
    /// It answered that it can't or won't.
    Code,
}

impl DnsFailure {
    const ALL: [Self; 4] = [Self::Timeout, Self::Unreachable, Self::Malformed, Self::Code];

    fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Malformed => "malformed",
            Self::Code => "code",
        }
    }
}

/// A bound of the DNS server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DnsBound {
    /// Questions being answered at once.
    Questions,
    /// TCP connections at once.
    Connections,
    /// Different questions being forwarded at once.
    Flights,
}

impl DnsBound {
    const ALL: [Self; 3] = [Self::Questions, Self::Connections, Self::Flights];

    fn as_str(self) -> &'static str {
        match self {
            Self::Questions => "questions",
            Self::Connections => "connections",
            Self::Flights => "flights",
        }
    }
}

/// The families of the DNS server. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(crate) struct DnsMetrics {
    queries: IntCounterVec,
    duration: HistogramVec,
    cache: IntCounterVec,
    entries: IntGauge,
    failures: IntCounterVec,
    limited: IntCounterVec,
}

impl DnsMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of the names is taken in `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::new(
            "outrigger_dns_query_duration_seconds",
            "From a DNS question's last byte to its answer; moves when the answer is made.",
        );
        let duration = HistogramVec::new(options.buckets(DURATION_BUCKETS.to_vec()), &["kind"])?;
        registry.register(Box::new(duration.clone()))?;
        let entries =
            IntGauge::new("outrigger_dns_cache_entries", "Answers of upstream servers that are kept now.")?;
        registry.register(Box::new(entries.clone()))?;
        let metrics = Self {
            queries: counter(
                registry,
                "outrigger_dns_queries_total",
                "DNS questions answered, by where the answer came from: `mesh`, `forwarded`, or `refused` without looking.",
                &["kind", "rcode"],
            )?,
            duration,
            cache: counter(
                registry,
                "outrigger_dns_cache_total",
                "What the cache did for questions that are not the mesh's: `hit`, `miss`, `joined` a question already \
                 on its way, or gave a `stale` answer since no server gave a newer one.",
                &["result"],
            )?,
            entries,
            failures: counter(
                registry,
                "outrigger_dns_upstream_failures_total",
                "Upstream DNS servers that gave no usable answer; moves once for each server asked.",
                &["failure"],
            )?,
            limited: counter(
                registry,
                "outrigger_dns_limited_total",
                "A bound of the DNS server was reached: `questions` and `flights` beyond it are answered SERVFAIL, \
                 `connections` wait to be accepted.",
                &["bound"],
            )?,
        };
        // Shown as 0 from the start, so that a first increase is seen as one.
        DnsKind::ALL
            .iter()
            .for_each(|kind| metrics.queries.with_label_values(&[kind.as_str(), "NOERROR"]).reset());
        DnsCacheResult::ALL
            .iter()
            .for_each(|result| metrics.cache.with_label_values(&[result.as_str()]).reset());
        DnsFailure::ALL
            .iter()
            .for_each(|failure| metrics.failures.with_label_values(&[failure.as_str()]).reset());
        DnsBound::ALL.iter().for_each(|bound| metrics.limited.with_label_values(&[bound.as_str()]).reset());
        Ok(metrics)
    }

    /// A question was answered with this code, `rcode` being its name in the registry of DNS.
    pub(crate) fn answered(&self, kind: DnsKind, rcode: &'static str, took: Duration) {
        self.queries.with_label_values(&[kind.as_str(), rcode]).inc();
        self.duration.with_label_values(&[kind.as_str()]).observe(took.as_secs_f64());
    }

    /// The cache was asked.
    pub(crate) fn cache(&self, result: DnsCacheResult) {
        self.cache.with_label_values(&[result.as_str()]).inc();
    }

    /// The cache keeps this many answers.
    pub(crate) fn kept(&self, entries: usize) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// An upstream server gave no usable answer.
    pub(crate) fn failed(&self, failure: DnsFailure) {
        self.failures.with_label_values(&[failure.as_str()]).inc();
    }

    /// A bound was reached.
    pub(crate) fn limited(&self, bound: DnsBound) {
        self.limited.with_label_values(&[bound.as_str()]).inc();
    }
}

#[cfg(test)]
impl DnsMetrics {
    /// How often the cache did this.
    pub(crate) fn cached(&self, result: DnsCacheResult) -> u64 {
        self.cache.with_label_values(&[result.as_str()]).get()
    }

    /// How often a question was answered so.
    pub(crate) fn answers(&self, kind: DnsKind, rcode: &str) -> u64 {
        self.queries.with_label_values(&[kind.as_str(), rcode]).get()
    }

    /// How often a bound was reached.
    pub(crate) fn limits(&self, bound: DnsBound) -> u64 {
        self.limited.with_label_values(&[bound.as_str()]).get()
    }
}
