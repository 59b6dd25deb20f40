//! What is tried again, and how often.

use super::*;
use mesh_protocol::attempts::{AttemptBudget, RetryMethods, RetryOn, RetryPolicy as Told, Timeouts};
use proptest::prelude::*;
use std::time::Duration;

const UNREACHABLE: Failed = Failed::Without(Reason::ConnectRefused, Again::Unprocessed);
const REFUSED: Failed = Failed::Without(Reason::UpstreamReset, Again::Unprocessed);
const BROKEN: Failed = Failed::Without(Reason::UpstreamReset, Again::MaybeProcessed);
const LATE: Failed = Failed::Without(Reason::AttemptTimeout, Again::MaybeProcessed);
const NEVER: Failed = Failed::Without(Reason::UpstreamProtocol, Again::Never);

fn answer(status: u16) -> Failed {
    Failed::Answer { status, grpc: None, is_broken: false }
}

fn compiled(told: &Told) -> RetryPolicy {
    AttemptPolicy::compile(Timeouts::default(), Some(told), None).retry
}

/// As an HTTPRoute asks for retries.
fn route(attempts: u32) -> Told {
    Told { attempts, codes: vec![503], methods: RetryMethods::Any, ..Told::default() }
}

/// As a TrafficPolicy does.
fn policy() -> Told {
    Told { attempts: 2, codes: vec![503], grpc_codes: vec![14], ..Told::default() }
}

fn cause_of(failed: Failed, method: &Method, policy: &RetryPolicy) -> Option<Cause> {
    match plan(failed, method, policy, 0) {
        Decision::Again(plan) => Some(plan.cause),
        Decision::Final | Decision::UsedUp => None,
    }
}

#[test]
fn what_may_be_made_again() {
    use Cause::{Broken, Status, Timeout, Unprocessed};
    let (none, route, policy) = (&STANDARD.retry, &compiled(&route(1)), &compiled(&policy()));
    let listed = RetryMethods::Listed(vec!["POST".to_owned()]);
    let post = &compiled(&Told { methods: listed, ..self::policy() });
    let only_reset = &compiled(&Told { on: vec![RetryOn::Reset], ..self::policy() });
    let unavailable = Failed::Answer { status: 503, grpc: Some(14), is_broken: false };
    let exhausted = Failed::Answer { status: 429, grpc: Some(8), is_broken: false };
    let app_closed = Failed::Answer { status: 502, grpc: None, is_broken: true };
    let by_status = &compiled(&Told { on: vec![], codes: vec![502], ..self::policy() });
    for (failed, method, policy, cause) in [
        (app_closed, Method::GET, none, Some(Broken)),
        (app_closed, Method::POST, none, None),
        (app_closed, Method::POST, route, Some(Broken)),
        (app_closed, Method::GET, by_status, Some(Status)),
        (UNREACHABLE, Method::POST, none, Some(Unprocessed)),
        (REFUSED, Method::POST, none, Some(Unprocessed)),
        (BROKEN, Method::GET, none, Some(Broken)),
        (BROKEN, Method::POST, none, None),
        (LATE, Method::GET, none, None),
        (answer(503), Method::GET, none, None),
        (BROKEN, Method::POST, route, Some(Broken)),
        (LATE, Method::POST, route, Some(Timeout)),
        (NEVER, Method::GET, route, None),
        (answer(503), Method::POST, route, Some(Status)),
        (answer(500), Method::GET, route, None),
        (answer(503), Method::GET, policy, Some(Status)),
        (answer(503), Method::POST, policy, None),
        (BROKEN, Method::POST, policy, None),
        (LATE, Method::GET, policy, Some(Timeout)),
        (LATE, Method::POST, policy, None),
        (UNREACHABLE, Method::POST, policy, Some(Unprocessed)),
        (unavailable, Method::POST, policy, Some(Status)),
        (exhausted, Method::POST, policy, None),
        (BROKEN, Method::POST, post, Some(Broken)),
        (BROKEN, Method::GET, post, None),
        (UNREACHABLE, Method::GET, only_reset, None),
        (REFUSED, Method::GET, only_reset, None),
        (LATE, Method::GET, only_reset, None),
        (BROKEN, Method::GET, only_reset, Some(Broken)),
    ] {
        assert_eq!(cause_of(failed, &method, policy), cause, "{failed:?} {method} {policy:?}");
    }
}

#[test]
fn the_number_of_attempts_is_bounded() {
    for (policy, failed, most) in [
        (None, UNREACHABLE, 2),
        (Some(1), UNREACHABLE, 2),
        (Some(5), UNREACHABLE, 5),
        (Some(1), answer(503), 1),
        (Some(1_000), answer(503), 100),
    ] {
        let told = policy.map(route);
        let policy = AttemptPolicy::compile(Timeouts::default(), told.as_ref(), None).retry;
        let made = (0..1_000).find(|made| plan(failed, &Method::GET, &policy, *made) == Decision::UsedUp);
        assert_eq!(made, Some(most), "{told:?} {failed:?}");
    }
    let off = compiled(&route(0));
    for failed in [UNREACHABLE, BROKEN, answer(503)] {
        assert_eq!(plan(failed, &Method::GET, &off, 0), Decision::Final, "0 is none at all: {failed:?}");
    }
}

#[test]
fn only_the_first_retry_elsewhere_does_not_wait_unless_a_pause_is_asked_for() {
    let backoff = |policy: &RetryPolicy, made| match plan(UNREACHABLE, &Method::GET, policy, made) {
        Decision::Again(plan) => plan.backoff,
        other @ (Decision::Final | Decision::UsedUp) => panic!("{other:?}"),
    };
    assert_eq!(backoff(&STANDARD.retry, 0), None);
    assert_eq!(backoff(&STANDARD.retry, 1), Some(Backoff::RETRY));
    let ms = Duration::from_millis;
    for (first, most, expected) in [
        (Some(7), None, Some(Backoff::new(ms(7), ms(70)))),
        (Some(7), Some(9), Some(Backoff::new(ms(7), ms(9)))),
        (None, Some(9), Some(Backoff::new(ms(9), ms(9)))),
        (None, Some(900), Some(Backoff::new(ms(25), ms(900)))),
    ] {
        let (backoff_, backoff_most) = (first.map(ms), most.map(ms));
        let asked = compiled(&Told { backoff: backoff_, backoff_most, ..route(2) });
        assert_eq!(backoff(&asked, 0), expected);
    }
}

#[test]
fn what_is_not_said_of_a_budget_is_the_default_and_what_is_beyond_is_the_bound() {
    use mesh_balance::Allowance;
    let allowed = |percent, least_per_second| {
        compiled(&Told { budget: AttemptBudget { percent, least_per_second }, ..policy() }).allowed
    };
    assert_eq!(allowed(None, None), Allowance::RETRIES);
    assert_eq!(allowed(Some(0), None), Allowance::new(0, 10));
    assert_eq!(allowed(Some(200), Some(5_000)), Allowance::new(100, 1_000));
}

proptest! {
    /// The promise: what may have reached an application is sent again only if it is idempotent, or somebody asked for it.
    #[test]
    fn nobody_repeats_a_post_that_may_have_been_processed_without_being_asked(
        attempts in 0_u32..200,
        codes in prop::collection::vec(400_u16..600, 0..8),
        on in prop::sample::subsequence(RetryOn::ALL.to_vec(), 0..=4),
        status in 400_u16..600,
        made in 0_u32..5,
    ) {
        let policy = compiled(&Told { attempts, codes, on, ..Told::default() });
        for failed in [BROKEN, LATE, NEVER, answer(status)] {
            let decided = plan(failed, &Method::POST, &policy, made);
            prop_assert_eq!(decided, Decision::Final, "{:?}", failed);
        }
    }
}
