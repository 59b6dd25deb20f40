//! How a request is attempted: how long it and each of its attempts may take, which failures are tried again, and when a
//! second attempt is made beside a slow first one. What is not said is `None`: defaults and ranges are the sidecar's.

use crate::error::DecodeError;
use crate::service::{duration, millis};
use crate::wire::v1 as wire;
use std::num::NonZeroU32;
use std::time::Duration;

/// How long a request may take; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the last byte of the request's head to the last byte of the response.
    pub request: Option<Duration>,
    /// The same for one attempt.
    pub attempt: Option<Duration>,
    /// From the last byte that passed, in either direction, to the next.
    pub idle: Option<Duration>,
}

/// Retries that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Further attempts after the first, at most; 0: none, not even those that are always safe.
    pub attempts: u32,
    /// HTTP status codes that are retried; a gRPC status counts as the HTTP code it maps to (`google.rpc.Code`).
    pub codes: Vec<u16>,
    /// gRPC status codes that are retried, 1 to 16.
    pub grpc_codes: Vec<u8>,
    /// Failures without an answer that are retried.
    pub on: Vec<RetryOn>,
    /// Methods that are retried though they may have been processed.
    pub methods: RetryMethods,
    /// The first backoff; none: the sidecar's default.
    pub backoff: Option<Duration>,
    /// The longest backoff; none: ten times the first.
    pub backoff_most: Option<Duration>,
    /// How long an answer's Retry-After is waited for at most; zero: it is not looked at.
    pub retry_after_most: Option<Duration>,
    /// How many retries there may be.
    pub budget: AttemptBudget,
}

/// A failure without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection could be made.
    ConnectFailure,
    /// The other side says that it has not processed the request.
    RefusedStream,
    /// The connection or stream broke before the answer.
    Reset,
    /// The attempt took longer than it may.
    Timeout,
}

/// Methods that are retried though they may have been processed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RetryMethods {
    /// Those for which doing it twice is as good as once (RFC 9110 §9.2.2).
    #[default]
    Idempotent,
    /// All.
    Any,
    /// These.
    Listed(Vec<String>),
}

/// How many further attempts there may be within any ten seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttemptBudget {
    /// This share of the requests, in percent.
    pub percent: Option<u32>,
    /// And ten times this many on top.
    pub least_per_second: Option<u32>,
}

/// A second attempt elsewhere when the first takes long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hedging {
    /// Which percentile of the live latencies is usual, 1 to 99.
    pub percentile: Option<NonZeroU32>,
    /// What is never too long.
    pub least_delay: Option<Duration>,
    /// How many second attempts there may be.
    pub budget: AttemptBudget,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 0,
            codes: Vec::new(),
            grpc_codes: Vec::new(),
            on: RetryOn::ALL.to_vec(),
            methods: RetryMethods::default(),
            backoff: None,
            backoff_most: None,
            retry_after_most: None,
            budget: AttemptBudget::default(),
        }
    }
}

impl RetryOn {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::ConnectFailure, Self::RefusedStream, Self::Reset, Self::Timeout];
}

impl Timeouts {
    pub(crate) fn to_wire(self) -> wire::RouteTimeouts {
        let [request_ms, backend_request_ms, idle_ms] = [self.request, self.attempt, self.idle].map(millis);
        wire::RouteTimeouts { request_ms, backend_request_ms, idle_ms }
    }

    pub(crate) fn of_wire(message: wire::RouteTimeouts) -> Self {
        let wire::RouteTimeouts { request_ms, backend_request_ms, idle_ms } = message;
        let [request, attempt, idle] = [request_ms, backend_request_ms, idle_ms].map(duration);
        Self { request, attempt, idle }
    }
}

impl RetryPolicy {
    pub(crate) fn to_wire(&self) -> wire::RetryPolicy {
        let (methods, listed_methods) = match &self.methods {
            RetryMethods::Idempotent => (wire::RetryMethods::Idempotent, Vec::new()),
            RetryMethods::Any => (wire::RetryMethods::Any, Vec::new()),
            RetryMethods::Listed(listed) => (wire::RetryMethods::Listed, listed.clone()),
        };
        wire::RetryPolicy {
            attempts: self.attempts,
            codes: self.codes.iter().map(|code| u32::from(*code)).collect(),
            backoff_ms: millis(self.backoff),
            backoff_most_ms: millis(self.backoff_most),
            retry_on: self.on.iter().map(|on| on.to_wire().into()).collect(),
            grpc_codes: self.grpc_codes.iter().map(|code| u32::from(*code)).collect(),
            methods: methods.into(),
            listed_methods,
            retry_after_most_ms: self
                .retry_after_most
                .map(|most| u64::try_from(most.as_millis()).unwrap_or(u64::MAX)),
            budget: self.budget.to_wire(),
        }
    }

    pub(crate) fn of_wire(message: wire::RetryPolicy) -> Result<Self, DecodeError> {
        let methods = match wire::RetryMethods::try_from(message.methods) {
            Ok(wire::RetryMethods::Idempotent) => RetryMethods::Idempotent,
            Ok(wire::RetryMethods::Any) => RetryMethods::Any,
            Ok(wire::RetryMethods::Listed) => RetryMethods::Listed(message.listed_methods),
            // Taking it for another would send again what must not be.
            Err(_) => {
                return Err(DecodeError::value("retry.methods", "this version knows no such set of methods"));
            }
        };
        let code = |code: u32| {
            let code = u16::try_from(code).ok().filter(|code| (400..=599).contains(code));
            code.ok_or_else(|| DecodeError::value("retry.codes", "a code must be between 400 and 599"))
        };
        let grpc = |code: u32| {
            let code = u8::try_from(code).ok().filter(|code| (1..=16).contains(code));
            code.ok_or_else(|| DecodeError::value("retry.grpc_codes", "a code must be between 1 and 16"))
        };
        Ok(Self {
            attempts: message.attempts,
            codes: message.codes.into_iter().map(code).collect::<Result<_, _>>()?,
            grpc_codes: message.grpc_codes.into_iter().map(grpc).collect::<Result<_, _>>()?,
            on: message.retry_on.into_iter().map(RetryOn::of_wire).collect::<Result<_, _>>()?,
            methods,
            backoff: duration(message.backoff_ms),
            backoff_most: duration(message.backoff_most_ms),
            retry_after_most: message.retry_after_most_ms.map(Duration::from_millis),
            budget: AttemptBudget::of_wire(message.budget),
        })
    }
}

impl RetryOn {
    fn to_wire(self) -> wire::RetryOn {
        match self {
            Self::ConnectFailure => wire::RetryOn::ConnectFailure,
            Self::RefusedStream => wire::RetryOn::RefusedStream,
            Self::Reset => wire::RetryOn::Reset,
            Self::Timeout => wire::RetryOn::Timeout,
        }
    }

    fn of_wire(message: i32) -> Result<Self, DecodeError> {
        match wire::RetryOn::try_from(message) {
            Ok(wire::RetryOn::ConnectFailure) => Ok(Self::ConnectFailure),
            Ok(wire::RetryOn::RefusedStream) => Ok(Self::RefusedStream),
            Ok(wire::RetryOn::Reset) => Ok(Self::Reset),
            Ok(wire::RetryOn::Timeout) => Ok(Self::Timeout),
            Ok(wire::RetryOn::Unknown) | Err(_) => {
                Err(DecodeError::value("retry.retry_on", "this version knows no such failure"))
            }
        }
    }
}

impl AttemptBudget {
    fn to_wire(self) -> Option<wire::AttemptBudget> {
        let Self { percent, least_per_second } = self;
        (self != Self::default()).then_some(wire::AttemptBudget { percent, least_per_second })
    }

    fn of_wire(message: Option<wire::AttemptBudget>) -> Self {
        let wire::AttemptBudget { percent, least_per_second } = message.unwrap_or_default();
        Self { percent, least_per_second }
    }
}

impl Hedging {
    pub(crate) fn to_wire(self) -> wire::Hedging {
        wire::Hedging {
            percentile: self.percentile.map_or(0, NonZeroU32::get),
            least_delay_ms: millis(self.least_delay),
            budget: self.budget.to_wire(),
        }
    }

    pub(crate) fn of_wire(message: wire::Hedging) -> Self {
        Self {
            percentile: NonZeroU32::new(message.percentile),
            least_delay: duration(message.least_delay_ms),
            budget: AttemptBudget::of_wire(message.budget),
        }
    }
}
