//! How requests are attempted, as they read it: compiled from what the control plane has said of a port or of a rule. Pure.
//! What is out of range is the nearest end of it: each bound holds here whoever speaks.

use super::hedge::HedgePolicy;
use http::Method;
use mesh_balance::{Allowance, Backoff};
use mesh_protocol::attempts::{AttemptBudget, Hedging, RetryMethods, RetryOn, Timeouts};
use std::num::NonZeroU32;
use std::time::Duration;

/// Further attempts where nobody says: with different endpoints, three dead ones in a row are rare.
pub(crate) const FURTHER_ATTEMPTS: u32 = 2;

/// More attempts than this is a storm, whatever the budget.
const ATTEMPTS_MAX: u32 = 100;

/// How long `Retry-After` is waited for by default: the least it can say in whole seconds. A caller waits, too.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How requests are attempted.
#[derive(Debug)]
pub(crate) struct AttemptPolicy {
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryPolicy,
    /// None: there are no second attempts beside a slow one.
    pub(crate) hedge: Option<HedgePolicy>,
}

/// What holds where nothing is said.
pub(crate) static STANDARD: AttemptPolicy = AttemptPolicy {
    timeouts: Timeouts { request: None, attempt: None, idle: None },
    retry: RetryPolicy::STANDARD,
    hedge: None,
};

/// Which failed attempts are made again.
#[derive(Debug)]
pub(crate) struct RetryPolicy {
    /// Further attempts at most.
    pub(super) attempts: u32,
    pub(super) codes: Vec<u16>,
    /// A bit for each gRPC status.
    grpc_codes: u32,
    pub(super) on: Failures,
    methods: Methods,
    /// None: the standard one, and none at all before the first attempt elsewhere.
    pub(super) backoff: Option<Backoff>,
    /// How long an answer's Retry-After is waited for; zero: it is not looked at.
    pub(crate) retry_after_most: Duration,
    pub(crate) allowed: Allowance,
}

/// Failures without an answer that are retried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failures {
    pub(super) connect: bool,
    pub(super) refused: bool,
    pub(super) reset: bool,
    pub(super) timeout: bool,
}

/// Methods that are retried though they may have been processed.
#[derive(Debug)]
enum Methods {
    Idempotent,
    Any,
    Listed(Vec<Method>),
}

impl AttemptPolicy {
    /// Compiles what is said of a port or of a rule.
    pub(crate) fn compile(
        timeouts: Timeouts,
        retry: Option<&mesh_protocol::attempts::RetryPolicy>,
        hedging: Option<Hedging>,
    ) -> Self {
        let retry = retry.map_or(RetryPolicy::STANDARD, RetryPolicy::compile);
        Self { timeouts, retry, hedge: hedging.map(HedgePolicy::compile) }
    }
}

impl RetryPolicy {
    /// What is safe: twice.
    const STANDARD: Self = Self {
        attempts: FURTHER_ATTEMPTS,
        codes: Vec::new(),
        grpc_codes: 0,
        on: Failures { connect: true, refused: true, reset: true, timeout: false },
        methods: Methods::Idempotent,
        backoff: None,
        retry_after_most: RETRY_AFTER,
        allowed: Allowance::RETRIES,
    };

    fn compile(told: &mesh_protocol::attempts::RetryPolicy) -> Self {
        let has = |failure| told.on.contains(&failure);
        let backoff = told.backoff.or(told.backoff_most.map(|most| most.min(Backoff::RETRY.base())));
        Self {
            attempts: told.attempts.min(ATTEMPTS_MAX),
            codes: told.codes.clone(),
            grpc_codes: told.grpc_codes.iter().fold(0, |bits, code| bits | bit(*code)),
            on: Failures {
                connect: has(RetryOn::ConnectFailure),
                refused: has(RetryOn::RefusedStream),
                reset: has(RetryOn::Reset),
                timeout: has(RetryOn::Timeout),
            },
            methods: match &told.methods {
                RetryMethods::Idempotent => Methods::Idempotent,
                RetryMethods::Any => Methods::Any,
                // One that can't be a method is nobody's.
                RetryMethods::Listed(listed) => {
                    Methods::Listed(listed.iter().filter_map(|text| text.parse().ok()).collect())
                }
            },
            backoff: backoff.map(|first| {
                Backoff::new(first, told.backoff_most.unwrap_or(first.saturating_mul(10)).max(first))
            }),
            retry_after_most: told.retry_after_most.unwrap_or(RETRY_AFTER),
            allowed: allowance(told.budget, Allowance::RETRIES),
        }
    }

    /// Further attempts at most.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether a request with this method may be sent again though it may have been processed.
    pub(super) fn may_repeat(&self, method: &Method) -> bool {
        match &self.methods {
            Methods::Idempotent => is_idempotent(method),
            Methods::Any => true,
            Methods::Listed(listed) => listed.contains(method),
        }
    }

    /// Whether this gRPC status is retried.
    pub(super) fn lists_grpc(&self, code: u8) -> bool {
        self.grpc_codes & bit(code) != 0
    }
}

/// Whether doing it twice is as good as doing it once (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// What is allowed; what is not said is as in `otherwise`.
pub(super) fn allowance(told: AttemptBudget, otherwise: Allowance) -> Allowance {
    let percent = told.percent.unwrap_or(otherwise.percent());
    Allowance::new(percent, told.least_per_second.unwrap_or(otherwise.least_per_second()))
}

/// A number within bounds.
pub(super) fn within(told: Option<NonZeroU32>, least: u32, most: u32, otherwise: u32) -> u32 {
    told.map_or(otherwise, |number| number.get().clamp(least, most))
}

fn bit(code: u8) -> u32 {
    1_u32.checked_shl(code.into()).unwrap_or(0)
}
