//! Whether a failed attempt is made again. Pure: what enters is how it failed, the method, what the route asks for and
//! how many attempts there were; what leaves is a [`Plan`] or nothing. The budget, the body and the deadline have their
//! own say where the plan is carried out.
//!
//! | the attempt | is made again |
//! | --- | --- |
//! | was never processed: no connection, refused stream, GOAWAY | always, twice at most by default |
//! | may have been processed: reset, closed | for idempotent methods (RFC 9110 §9.2.2), or where the route has a retry |
//! | took too long (per attempt) | where the route has a retry |
//! | was answered with a status the route lists | where the route has a retry (Gateway API GEP-1731) |

use crate::refusal::{Again, Reason};
use http::Method;
use mesh_balance::Backoff;
use mesh_protocol::service::RouteRetry;

/// Further attempts where the route does not say: with different endpoints, three dead ones in a row are rare.
pub(crate) const FURTHER_ATTEMPTS: u32 = 2;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Without an answer.
    Without(Reason, Again),
    /// With an answer of this status (gRPC statuses as the HTTP status they map to).
    Status(u16),
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
    /// The status is one the route lists.
    Status,
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

/// Another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) cause: Cause,
    /// How to wait before it; the first retry of what was never processed does not wait, since it goes elsewhere.
    pub(crate) backoff: Option<Backoff>,
}

/// Decides on another attempt after `made` further ones.
pub(crate) fn plan(failed: Failed, method: &Method, route: Option<&RouteRetry>, made: u32) -> Option<Plan> {
    let asked = route.is_some();
    let listed = |status| route.is_some_and(|retry| retry.codes.contains(&status));
    let cause = match failed {
        Failed::Without(_, Again::Unprocessed) => Cause::Unprocessed,
        Failed::Without(Reason::AttemptTimeout, _) if asked => Cause::Timeout,
        Failed::Without(Reason::AttemptTimeout, _) => return None,
        Failed::Without(_, Again::MaybeProcessed) if asked || is_idempotent(method) => Cause::Broken,
        Failed::Without(_, Again::MaybeProcessed | Again::Never) => return None,
        Failed::Status(status) if listed(status) => Cause::Status,
        Failed::Status(_) => return None,
    };
    let most = match (cause, route) {
        (Cause::Unprocessed, Some(retry)) => retry.attempts.max(FURTHER_ATTEMPTS),
        (Cause::Broken | Cause::Timeout | Cause::Status, Some(retry)) => retry.attempts,
        (_, None) => FURTHER_ATTEMPTS,
    };
    if made >= most {
        return None;
    }
    let backoff = match route.and_then(|retry| retry.backoff) {
        Some(first) => Some(Backoff::new(first, first.saturating_mul(10))),
        None if cause == Cause::Unprocessed && made == 0 => None,
        None => Some(Backoff::RETRY),
    };
    Some(Plan { cause, backoff })
}

/// Whether doing it twice is as good as doing it once (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn retry(attempts: u32, codes: &[u16]) -> RouteRetry {
        RouteRetry { attempts, codes: codes.to_vec(), backoff: None }
    }

    #[test]
    fn what_may_be_made_again() {
        let unprocessed = Failed::Without(Reason::ConnectRefused, Again::Unprocessed);
        let broken = Failed::Without(Reason::UpstreamReset, Again::MaybeProcessed);
        let late = Failed::Without(Reason::AttemptTimeout, Again::MaybeProcessed);
        let never = Failed::Without(Reason::UpstreamProtocol, Again::Never);
        let asked = retry(1, &[503]);
        for (failed, method, route, cause) in [
            (unprocessed, Method::POST, None, Some(Cause::Unprocessed)),
            (broken, Method::GET, None, Some(Cause::Broken)),
            (broken, Method::POST, None, None),
            (broken, Method::POST, Some(&asked), Some(Cause::Broken)),
            (late, Method::GET, None, None),
            (late, Method::POST, Some(&asked), Some(Cause::Timeout)),
            (never, Method::GET, Some(&asked), None),
            (Failed::Status(503), Method::POST, Some(&asked), Some(Cause::Status)),
            (Failed::Status(503), Method::GET, None, None),
            (Failed::Status(500), Method::GET, Some(&asked), None),
        ] {
            assert_eq!(
                plan(failed, &method, route, 0).map(|p| p.cause),
                cause,
                "{failed:?} {method} {route:?}"
            );
        }
    }

    #[test]
    fn the_number_of_attempts_is_bounded() {
        let unprocessed = Failed::Without(Reason::ConnectRefused, Again::Unprocessed);
        for (route, failed, most) in [
            (None, unprocessed, 2),
            (Some(retry(1, &[503])), unprocessed, 2),
            (Some(retry(5, &[503])), unprocessed, 5),
            (Some(retry(1, &[503])), Failed::Status(503), 1),
            (Some(retry(0, &[503])), Failed::Status(503), 0),
        ] {
            let made =
                (0..10).take_while(|n| plan(failed, &Method::GET, route.as_ref(), *n).is_some()).count();
            assert_eq!(made, most, "{route:?} {failed:?}");
        }
    }

    #[test]
    fn only_the_first_retry_elsewhere_does_not_wait() {
        let unprocessed = Failed::Without(Reason::ConnectRefused, Again::Unprocessed);
        let backoff =
            |route: Option<&RouteRetry>, made| plan(unprocessed, &Method::GET, route, made).unwrap().backoff;
        assert_eq!(backoff(None, 0), None);
        assert_eq!(backoff(None, 1), Some(Backoff::RETRY));
        let asked = RouteRetry { backoff: Some(Duration::from_millis(7)), ..retry(2, &[]) };
        let own = Backoff::new(Duration::from_millis(7), Duration::from_millis(70));
        assert_eq!(backoff(Some(&asked), 0), Some(own));
    }
}
