//! How much is let in and sent, and failures made on purpose, as a TrafficPolicy says it: a [`CircuitBreaker`] and
//! [`FaultRule`]s for callers, [`PortLimits`] for the sidecar of the application. What is not said is `None`: defaults and
//! ranges are the sidecar's, which refuses by name what it can't use.

use crate::error::{DecodeError, port};
use crate::service::{RouteMatch, duration, millis};
use crate::wire::v1 as wire;
use mesh_names::Port;
use std::num::NonZeroU32;
use std::time::Duration;

/// How much a sidecar has under way with a port at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Connections that carry one thing each; none: no limit.
    pub connections: Option<NonZeroU32>,
    /// Requests; none: no limit.
    pub requests: Option<NonZeroU32>,
    /// Requests that wait for their turn.
    pub pending: Option<u32>,
    /// How long one waits.
    pub pending_time: Option<Duration>,
    /// Requests that are tried again; none: no limit.
    pub retries: Option<u32>,
}

/// A failure that is made on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRule {
    /// Requests it is for: those that fit any of these, whose `rule` is 0; none: every request.
    pub matches: Vec<RouteMatch>,
    /// A pause before the request goes on, and for how many percent of them.
    pub delay: Option<(Duration, u32)>,
    /// An answer in place of the application's, and for how many percent of them.
    pub abort: Option<(FaultAnswer, u32)>,
}

/// The answer of a failure that is made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAnswer {
    /// This status.
    Http(u16),
    /// This gRPC status.
    Grpc(u8),
}

/// What is let in at an application's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortLimits {
    /// Where the application listens.
    pub port: Port,
    /// How much at once.
    pub concurrency: Option<ConcurrencyLimit>,
    /// How often. A request needs a token of each that fits it.
    pub rate_limits: Vec<RateLimit>,
}

/// How many requests at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcurrencyLimit {
    /// The TrafficPolicy, `namespace/name`, for people.
    pub policy: String,
    /// The limit; where it adapts, the most it may become.
    pub requests: Option<NonZeroU32>,
    /// It follows latency; none: it is fixed.
    pub adaptive: Option<AdaptiveConcurrency>,
    /// Requests that wait for their turn.
    pub pending: Option<u32>,
    /// How long one waits.
    pub pending_time: Option<Duration>,
}

/// How a limit follows latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdaptiveConcurrency {
    /// It never falls below.
    pub least: Option<NonZeroU32>,
    /// Where it begins.
    pub initial: Option<NonZeroU32>,
    /// Latency that is still good, in percent of the usual.
    pub tolerance: Option<NonZeroU32>,
    /// How long samples are gathered before it changes.
    pub window: Option<Duration>,
}

/// How often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// The TrafficPolicy, `namespace/name`, for people.
    pub policy: String,
    /// Requests it is for: those that fit any of these, whose `rule` is 0; none: every request.
    pub matches: Vec<RouteMatch>,
    /// What has a bucket of its own; none: all requests share one.
    pub key: Option<RateLimitKey>,
    /// How many in each unit.
    pub requests: NonZeroU32,
    /// In how long.
    pub unit: RateUnit,
    /// How many at once after a pause; none: as many as `requests`.
    pub burst: Option<NonZeroU32>,
}

/// What has a bucket of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateLimitKey {
    /// Each SPIFFE ID.
    ClientIdentity,
    /// Each value of this header, its name in lower case.
    Header(String),
}

/// What a rate is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateUnit {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl CircuitBreaker {
    pub(crate) fn to_wire(self) -> wire::CircuitBreaker {
        wire::CircuitBreaker {
            connections: number(self.connections),
            requests: number(self.requests),
            pending: self.pending,
            pending_ms: millis(self.pending_time),
            retries: self.retries,
        }
    }

    pub(crate) fn of_wire(message: wire::CircuitBreaker) -> Self {
        Self {
            connections: NonZeroU32::new(message.connections),
            requests: NonZeroU32::new(message.requests),
            pending: message.pending,
            pending_time: duration(message.pending_ms),
            retries: message.retries,
        }
    }
}

impl FaultRule {
    pub(crate) fn to_wire(&self) -> wire::FaultRule {
        use wire::fault_rule::Abort;
        wire::FaultRule {
            matches: self.matches.iter().map(RouteMatch::to_wire).collect(),
            delay_ms: millis(self.delay.map(|(pause, _)| pause)),
            delay_percent: self.delay.map(|(_, percent)| percent).unwrap_or_default(),
            abort: self.abort.map(|(answer, _)| match answer {
                FaultAnswer::Http(status) => Abort::HttpStatus(status.into()),
                FaultAnswer::Grpc(status) => Abort::GrpcStatus(status.into()),
            }),
            abort_percent: self.abort.map(|(_, percent)| percent).unwrap_or_default(),
        }
    }

    pub(crate) fn of_wire(message: wire::FaultRule) -> Result<Self, DecodeError> {
        use wire::fault_rule::Abort;
        let answer = match message.abort {
            None => None,
            Some(Abort::HttpStatus(status)) => {
                let rule = "a status must be between 400 and 599";
                let status = u16::try_from(status).ok().filter(|status| (400..=599).contains(status));
                let status = status.ok_or_else(|| DecodeError::value("policy.fault_rules.abort", rule))?;
                Some(FaultAnswer::Http(status))
            }
            Some(Abort::GrpcStatus(status)) => {
                let rule = "a gRPC status must be between 1 and 16";
                let status = u8::try_from(status).ok().filter(|status| (1..=16).contains(status));
                let status = status.ok_or_else(|| DecodeError::value("policy.fault_rules.abort", rule))?;
                Some(FaultAnswer::Grpc(status))
            }
        };
        Ok(Self {
            matches: matches_of_wire(message.matches)?,
            delay: duration(message.delay_ms).map(|pause| (pause, message.delay_percent)),
            abort: answer.map(|answer| (answer, message.abort_percent)),
        })
    }
}

impl PortLimits {
    pub(crate) fn to_wire(&self) -> wire::PortLimits {
        wire::PortLimits {
            port: self.port.number().into(),
            concurrency: self.concurrency.as_ref().map(ConcurrencyLimit::to_wire),
            rate_limits: self.rate_limits.iter().map(RateLimit::to_wire).collect(),
        }
    }

    pub(crate) fn of_wire(message: wire::PortLimits) -> Result<Self, DecodeError> {
        let rate_limits = message.rate_limits.into_iter().map(RateLimit::of_wire);
        Ok(Self {
            port: port("limits.port", message.port)?,
            concurrency: message.concurrency.map(ConcurrencyLimit::of_wire),
            rate_limits: rate_limits.collect::<Result<_, _>>()?,
        })
    }
}

impl ConcurrencyLimit {
    fn to_wire(&self) -> wire::ConcurrencyLimit {
        wire::ConcurrencyLimit {
            policy: self.policy.clone(),
            requests: number(self.requests),
            adaptive: self.adaptive.map(|it| wire::AdaptiveConcurrency {
                least: number(it.least),
                initial: number(it.initial),
                tolerance: number(it.tolerance),
                window_ms: millis(it.window),
            }),
            pending: self.pending,
            pending_ms: millis(self.pending_time),
        }
    }

    fn of_wire(message: wire::ConcurrencyLimit) -> Self {
        Self {
            policy: message.policy,
            requests: NonZeroU32::new(message.requests),
            adaptive: message.adaptive.map(|it| AdaptiveConcurrency {
                least: NonZeroU32::new(it.least),
                initial: NonZeroU32::new(it.initial),
                tolerance: NonZeroU32::new(it.tolerance),
                window: duration(it.window_ms),
            }),
            pending: message.pending,
            pending_time: duration(message.pending_ms),
        }
    }
}

impl RateLimit {
    fn to_wire(&self) -> wire::RateLimit {
        use wire::rate_limit_key::Key;
        let key = self.key.as_ref().map(|key| match key {
            RateLimitKey::ClientIdentity => Key::ClientIdentity(true),
            RateLimitKey::Header(name) => Key::Header(name.clone()),
        });
        let mut message = wire::RateLimit {
            policy: self.policy.clone(),
            matches: self.matches.iter().map(RouteMatch::to_wire).collect(),
            key: key.map(|key| wire::RateLimitKey { key: Some(key) }),
            requests: self.requests.get(),
            burst: number(self.burst),
            ..Default::default()
        };
        message.set_unit(match self.unit {
            RateUnit::Second => wire::RateUnit::Second,
            RateUnit::Minute => wire::RateUnit::Minute,
            RateUnit::Hour => wire::RateUnit::Hour,
        });
        message
    }

    fn of_wire(message: wire::RateLimit) -> Result<Self, DecodeError> {
        use wire::rate_limit_key::Key;
        let unit = match wire::RateUnit::try_from(message.unit) {
            Ok(wire::RateUnit::Second) => RateUnit::Second,
            Ok(wire::RateUnit::Minute) => RateUnit::Minute,
            Ok(wire::RateUnit::Hour) => RateUnit::Hour,
            Err(_) => {
                return Err(DecodeError::value("limits.rate_limits.unit", "this version knows no such unit"));
            }
        };
        let key = match message.key.map(|key| key.key) {
            None => None,
            Some(Some(Key::ClientIdentity(_))) => Some(RateLimitKey::ClientIdentity),
            Some(Some(Key::Header(name))) => Some(RateLimitKey::Header(name)),
            // Passing over it would put all clients into one bucket.
            Some(None) => {
                return Err(DecodeError::value("limits.rate_limits.key", "this version knows no such key"));
            }
        };
        let requests = NonZeroU32::new(message.requests);
        Ok(Self {
            policy: message.policy,
            matches: matches_of_wire(message.matches)?,
            key,
            requests: requests
                .ok_or_else(|| DecodeError::value("limits.rate_limits.requests", "it is missing"))?,
            unit,
            burst: NonZeroU32::new(message.burst),
        })
    }
}

fn matches_of_wire(matches: Vec<wire::RouteMatch>) -> Result<Vec<RouteMatch>, DecodeError> {
    matches.into_iter().map(|it| RouteMatch::of_wire(it, 1)).collect()
}

/// On the wire 0 is what is not said.
fn number(number: Option<NonZeroU32>) -> u32 {
    number.map_or(0, NonZeroU32::get)
}
