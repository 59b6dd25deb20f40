//! Whether a failed attempt is made again. Pure: what enters is how it failed, the method, what is asked for and how many
//! attempts there were; what leaves is a [`Decision`]. The budget, the body and the deadline have their own say where it is
//! carried out.
//!
//! | the attempt | is made again, twice at most, unless a policy says otherwise |
//! | --- | --- |
//! | was never processed: no connection, refused stream, GOAWAY | always |
//! | may have been processed: reset, closed, here or between the peer's sidecar and its application | for idempotent methods (RFC 9110 §9.2.2), or those that are listed |
//! | took too long (per attempt) | the same, where retries are asked for |
//! | was answered with a status that is listed | the same |
//! | was answered with a gRPC status that is listed | whatever the method, as it is always POST |
//!
//! [`hedge`] is about a second attempt while the first is still under way, [`exhausted`] about not trying again what others
//! have tried already.

pub(crate) mod exhausted;
pub(crate) mod hedge;
mod policy;

pub(crate) use policy::{AttemptPolicy, FURTHER_ATTEMPTS, RetryPolicy, STANDARD, is_idempotent};

use crate::refusal::{Again, Reason};
use http::Method;
use mesh_balance::Backoff;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Without an answer.
    Without(Reason, Again),
    /// With an answer.
    Answer {
        /// Its status; a gRPC status as the HTTP status it maps to.
        status: u16,
        /// Its gRPC status, if it is one.
        grpc: Option<u8>,
        /// The peer's sidecar made it, since its application broke off: for the request that is as if this attempt had.
        is_broken: bool,
    },
}

/// Why an attempt is made again; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It was never processed.
    Unprocessed,
    /// The connection broke before the answer.
    Broken,
    /// It took too long.
    Timeout,
    /// The status is one that is listed.
    Status,
}

/// Why an attempt that could be made again is not; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// There were as many as there may be.
    Attempts,
    /// The service's budget is used up.
    Budget,
    /// What is left of the request's time does not suffice.
    Deadline,
    /// The beginning of the request's body is no longer at hand.
    Body,
    /// The answer asks for more time than is waited, or for none at all.
    RetryAfter,
    /// As many requests are being tried again as the circuit breaker allows.
    Limit,
    /// Somebody further down has tried again already.
    Exhausted,
}

impl Cause {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unprocessed => "unprocessed",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::Status => "status",
        }
    }
}

impl Denied {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Body => "body",
            Self::RetryAfter => "retry_after",
            Self::Limit => "limit",
            Self::Exhausted => "exhausted",
        }
    }
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is not one to be made again.
    Final,
    /// It would be, but there were enough.
    UsedUp,
    /// It is.
    Again(Plan),
}

/// Another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) cause: Cause,
    /// How to wait before it; the first retry of what was never processed does not wait, since it goes elsewhere.
    pub(crate) backoff: Option<Backoff>,
}

/// Decides on another attempt after `made` further ones.
pub(crate) fn plan(failed: Failed, method: &Method, policy: &RetryPolicy, made: u32) -> Decision {
    let Some(cause) = cause(failed, method, policy).filter(|_| policy.attempts > 0) else {
        return Decision::Final;
    };
    let most = match cause {
        Cause::Unprocessed => policy.attempts.max(FURTHER_ATTEMPTS),
        Cause::Broken | Cause::Timeout | Cause::Status => policy.attempts,
    };
    if made >= most {
        return Decision::UsedUp;
    }
    let backoff = match policy.backoff {
        Some(backoff) => Some(backoff),
        None if cause == Cause::Unprocessed && made == 0 => None,
        None => Some(Backoff::RETRY),
    };
    Decision::Again(Plan { cause, backoff })
}

/// What makes an attempt one to be made again, if anything does.
fn cause(failed: Failed, method: &Method, policy: &RetryPolicy) -> Option<Cause> {
    let on = policy.on;
    match failed {
        Failed::Without(reason, Again::Unprocessed) => {
            let asked = if is_refusal(reason) { on.refused } else { on.connect };
            asked.then_some(Cause::Unprocessed)
        }
        Failed::Without(Reason::AttemptTimeout, _) => {
            (on.timeout && policy.may_repeat(method)).then_some(Cause::Timeout)
        }
        Failed::Without(_, Again::MaybeProcessed) => {
            (on.reset && policy.may_repeat(method)).then_some(Cause::Broken)
        }
        Failed::Without(_, Again::Never) => None,
        Failed::Answer { is_broken: true, .. } if on.reset && policy.may_repeat(method) => {
            Some(Cause::Broken)
        }
        Failed::Answer { status, grpc, .. } => {
            let listed = policy.codes.contains(&status) && policy.may_repeat(method);
            (listed || grpc.is_some_and(|code| policy.lists_grpc(code))).then_some(Cause::Status)
        }
    }
}

/// Whether a connection was there, and the other side did not take the request.
fn is_refusal(reason: Reason) -> bool {
    matches!(reason, Reason::UpstreamReset | Reason::UpstreamClosed | Reason::Draining)
}

#[cfg(test)]
mod tests;
