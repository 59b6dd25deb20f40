//! How long things may take. Each limit names the event that starts it and the event that ends it. A request has no
//! timer unless its route asks for one.
//!
//! | limit | from | to | default |
//! | --- | --- | --- | --- |
//! | request | the last byte of the head | the last byte of the response | none, or what the caller says is left |
//! | attempt | the attempt's start | the last byte of the response | none |
//! | [`Idle`] | a byte of the request or the response passes | the next one does, or the response ends | none |
//! | connect | an attempt needs a connection that is not there | it is open, TLS included | none but the next two |
//! | [`CONNECT`] | SYN | the connection is open | 5 s |
//! | [`HANDSHAKE`] | the first byte of TLS | its last | 10 s |
//! | [`DISCOVERY`] | a service is asked for | the control plane has answered | 2 s |
//! | [`LOOK_UP`] | a name outside is asked for | DNS has answered | 5 s |
//! | [`FIRST_CONFIGURATION`] | the worker's start, while there is no configuration | the first one | 10 s |
//! | [`PARTIAL`] | bytes that could be HTTP | more of them | 100 ms |
//! | [`LINGER`] | the end of a last answer, while its client still sends | the client's end | 5 s |
//! | [`REFUSED`] | a connection is refused, or its server can't be reached | its client's first bytes | 1 s |

use crate::refusal::{Reason, Refusal};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// From SYN to open. Envoy's default: three SYNs are sent within it.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// A whole handshake: one round trip and two signatures, with room for a machine that is starting.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// From asking for a service to the control plane's answer; a round trip, and a reconnect if need be.
pub(crate) const DISCOVERY: Duration = Duration::from_secs(2);

/// From asking for the address of a place outside of the mesh to the answer of DNS: as long as resolvers try.
pub(crate) const LOOK_UP: Duration = Duration::from_secs(5);

/// From the start to the first configuration: what comes meanwhile is held, not failed. Longer than a control plane's
/// restart, shorter than most clients wait.
pub(crate) const FIRST_CONFIGURATION: Duration = Duration::from_secs(10);

/// Until when an answer of the control plane that is asked for now is waited for. `first` is when the first
/// configuration must be there; nothing if it is.
pub(crate) fn discovery(now: Instant, first: Option<Instant>) -> Instant {
    let usual = now + DISCOVERY;
    first.map_or(usual, |first| first.max(usual))
}

/// From bytes that could be the beginning of HTTP, on a port where anything may be spoken, to taking them for something
/// else. A request line comes in one piece; a protocol that sends `PING` and waits is not kept waiting for long.
pub(crate) const PARTIAL: Duration = Duration::from_millis(100);

/// From the refusal of a connection to closing it, while its client says nothing: one that speaks HTTP does so at once and
/// is told why, one that waits for the server to speak first must not wait for ever. A second is a round trip to a client
/// that is far away and slow.
pub(crate) const REFUSED: Duration = Duration::from_secs(1);

/// From the end of a connection's last answer to closing it, where its client still sends a body that nobody wants: a
/// connection closed on unread bytes is reset, and the answer may be lost with it. nginx waits as long for more of them.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// When a request, and one attempt of it, must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Deadlines {
    request: Option<Instant>,
    attempt: Option<Duration>,
    /// The end of the request is its caller's, who does not wait for as long as is allowed.
    is_callers: bool,
}

/// A point in time and what it means to miss it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) reason: Reason,
}

impl Deadlines {
    /// Of a request whose head was complete at `started`.
    pub(crate) fn new(started: Instant, request: Option<Duration>, attempt: Option<Duration>) -> Self {
        let request = request.and_then(|limit| started.checked_add(limit));
        Self { request, attempt, is_callers: false }
    }

    /// Of the whole request.
    pub(crate) fn of_request(&self) -> Option<Deadline> {
        self.request.map(|at| Deadline { at, reason: Reason::RequestTimeout })
    }

    /// Of the attempt that starts now: the nearer of the two, since nested deadlines only shrink.
    pub(crate) fn of_attempt(&self, now: Instant) -> Option<Deadline> {
        let attempt = self.attempt.and_then(|limit| now.checked_add(limit));
        match (self.request, attempt) {
            (None, None) => None,
            (Some(at), Some(attempt)) if attempt < at => {
                Some(Deadline { at: attempt, reason: Reason::AttemptTimeout })
            }
            (Some(at), _) => Some(Deadline { at, reason: Reason::RequestTimeout }),
            (None, Some(at)) => Some(Deadline { at, reason: Reason::AttemptTimeout }),
        }
    }

    /// Whether the endpoint of an attempt that starts now owes its answer by then: always by the attempt's limit; by the
    /// request's, if at least half of the time is left for it. What only the caller does not wait for, nobody owes: who is in a
    /// hurry would have good endpoints left out.
    pub(crate) fn are_owed(&self, by: Deadline, started: Instant, now: Instant) -> bool {
        let had_half = now.saturating_duration_since(started) <= by.at.saturating_duration_since(now);
        by.reason == Reason::AttemptTimeout || (had_half && !self.is_callers)
    }

    /// The caller waits no longer than this after `started`, whatever is allowed.
    pub(crate) fn shrink(&mut self, started: Instant, left: Duration) {
        if let Some(at) = started.checked_add(left)
            && self.request.is_none_or(|request| at < request)
        {
            self.request = Some(at);
            self.is_callers = true;
        }
    }

    /// Whether `needed` from now on is less than what is left.
    pub(crate) fn allow(&self, now: Instant, needed: Duration) -> bool {
        self.request.is_none_or(|at| now.checked_add(needed).is_some_and(|end| end < at))
    }
}

/// When a byte of a request or of its response passed last, and how long the next one may take.
#[derive(Debug)]
pub(crate) struct Idle {
    limit: Duration,
    last: Cell<Instant>,
}

impl Idle {
    pub(crate) fn new(limit: Duration, now: Instant) -> Rc<Self> {
        Rc::new(Self { limit, last: Cell::new(now) })
    }

    /// A byte has passed.
    pub(crate) fn touch(&self) {
        self.last.set(Instant::now());
    }

    /// When it is too late, unless another byte passes.
    pub(crate) fn due(&self) -> Deadline {
        // Nobody waits for longer than a limit of a century.
        let at = self.last.get().checked_add(self.limit).unwrap_or_else(|| self.last.get() + CENTURY);
        Deadline { at, reason: Reason::IdleTimeout }
    }

    /// Returns once no byte has passed for too long.
    pub(crate) async fn quiet(&self) -> Reason {
        loop {
            let Deadline { at, reason } = self.due();
            if at <= Instant::now() {
                return reason;
            }
            tokio::time::sleep_until(at).await;
        }
    }
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// What ends a response before its time: a deadline, or silence, whichever comes first.
#[derive(Debug)]
pub(crate) struct Ends {
    sleep: Pin<Box<Sleep>>,
    deadline: Option<Deadline>,
    idle: Option<Rc<Idle>>,
}

impl Ends {
    /// Nothing if nothing does.
    pub(crate) fn new(deadline: Option<Deadline>, idle: Option<Rc<Idle>>) -> Option<Box<Self>> {
        let at = next(deadline, idle.as_deref())?.at;
        Some(Box::new(Self { sleep: Box::pin(tokio::time::sleep_until(at)), deadline, idle }))
    }

    /// A byte has passed.
    pub(crate) fn touch(&self) {
        if let Some(idle) = &self.idle {
            idle.touch();
        }
    }

    /// Ready, with the reason, once it is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let Some(Deadline { at, reason }) = next(self.deadline, self.idle.as_deref()) else {
                return Poll::Pending;
            };
            if at <= self.sleep.deadline() {
                return Poll::Ready(reason);
            }
            // Bytes have passed meanwhile.
            self.sleep.as_mut().reset(at);
        }
    }
}

fn next(deadline: Option<Deadline>, idle: Option<&Idle>) -> Option<Deadline> {
    deadline.into_iter().chain(idle.map(Idle::due)).min_by_key(|it| it.at)
}

/// Runs `future` until it is silent for too long.
pub(crate) async fn lively<T>(
    idle: &Idle,
    future: impl Future<Output = Result<T, Reason>>,
) -> Result<T, Reason> {
    idle.touch();
    tokio::select! {
        biased;
        // What is there at the same moment is not late.
        outcome = future => {
            idle.touch();
            outcome
        }
        reason = idle.quiet() => Err(reason),
    }
}

/// Waits for a connection no longer than `limit`, if there is one.
pub(crate) async fn connecting<T>(
    limit: Option<Duration>,
    connection: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    match limit {
        None => connection.await,
        // Boxed, as is what is rare.
        Some(limit) => match Box::pin(tokio::time::timeout(limit, connection)).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(Reason::ConnectTimeout.into()),
        },
    }
}

/// Runs `future` until the deadline, if there is one.
pub(crate) async fn within<F: Future>(deadline: Option<Deadline>, future: F) -> Result<F::Output, Reason> {
    match deadline {
        None => Ok(future.await),
        Some(Deadline { at, reason }) => {
            if Instant::now() >= at {
                return Err(reason);
            }
            // Timers are a millisecond coarse: what came after the deadline came too late, whichever was seen first. An answer's
            // body would be cut off at once, and its head with it.
            match tokio::time::timeout_at(at, future).await {
                Ok(output) if Instant::now() < at => Ok(output),
                Ok(_) | Err(_) => Err(reason),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_nearer_deadline_counts() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let both = Deadlines::new(start, Some(second * 3), Some(second * 2));
        let at = |offset: Duration| both.of_attempt(start + offset).unwrap();
        assert_eq!(at(Duration::ZERO), Deadline { at: start + second * 2, reason: Reason::AttemptTimeout });
        assert_eq!(at(second * 2), Deadline { at: start + second * 3, reason: Reason::RequestTimeout });
        assert_eq!(Deadlines::new(start, None, None).of_attempt(start), None);
        assert!(both.allow(start, second));
        assert!(!both.allow(start + second * 2, second));
    }

    #[tokio::test]
    async fn an_endpoint_owes_what_is_allowed_if_it_had_the_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let owed = |request: Option<u32>, attempt: Option<u32>, left: Option<u32>, after: u32| {
            let seconds = |count: Option<u32>| count.map(|count| second * count);
            let mut deadlines = Deadlines::new(start, seconds(request), seconds(attempt));
            if let Some(left) = seconds(left) {
                deadlines.shrink(start, left);
            }
            let now = start + second * after;
            let by = deadlines.of_attempt(now)?;
            deadlines.are_owed(by, start, now).then(|| by.at - start)
        };
        assert_eq!(owed(None, None, None, 0), None);
        assert_eq!(owed(Some(4), None, None, 0), Some(second * 4));
        assert_eq!(owed(Some(4), None, None, 2), Some(second * 4));
        assert_eq!(owed(Some(4), None, None, 3), None, "it had but a quarter");
        assert_eq!(owed(Some(4), None, Some(3), 0), None, "the caller is in a hurry");
        assert_eq!(owed(Some(4), None, Some(5), 0), Some(second * 4), "it is not");
        assert_eq!(
            owed(Some(4), Some(1), Some(3), 1),
            Some(second * 2),
            "the attempt's limit is no caller's"
        );
        assert_eq!(owed(Some(4), Some(2), None, 3), None, "the request ends before the attempt");
    }

    #[tokio::test]
    async fn what_the_caller_says_is_left_only_shrinks_what_is_allowed() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut deadlines = Deadlines::new(start, Some(second * 3), None);
        deadlines.shrink(start, second * 5);
        assert_eq!(deadlines.of_attempt(start).unwrap().at, start + second * 3);
        deadlines.shrink(start, second);
        assert_eq!(deadlines.of_attempt(start).unwrap().at, start + second);
        let mut none = Deadlines::default();
        none.shrink(start, Duration::MAX);
        assert_eq!(none, Deadlines::default(), "no clock goes that far");
        none.shrink(start, second * 2);
        assert!(
            none.allow(start, second) && !none.allow(start, second * 2) && !none.allow(start, Duration::MAX)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_response_and_each_byte_begins_it_anew() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let idle = Idle::new(second * 2, start);
        let mut ends =
            Ends::new(Some(Deadline { at: start + second * 60, reason: Reason::RequestTimeout }), Some(idle))
                .unwrap();
        for _ in 0..3 {
            let pending = tokio::time::timeout(second, std::future::poll_fn(|cx| ends.poll(cx))).await;
            assert!(pending.is_err(), "too early");
            ends.touch();
        }
        assert_eq!(std::future::poll_fn(|cx| ends.poll(cx)).await, Reason::IdleTimeout);
        assert_eq!(start.elapsed(), second * 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_a_response_whatever_passes() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let deadline = Some(Deadline { at: start + second * 3, reason: Reason::RequestTimeout });
        let mut ends = Ends::new(deadline, Some(Idle::new(second * 2, start))).unwrap();
        tokio::time::sleep(second).await;
        ends.touch();
        tokio::time::sleep(second).await;
        ends.touch();
        assert_eq!(std::future::poll_fn(|cx| ends.poll(cx)).await, Reason::RequestTimeout);
        assert_eq!(start.elapsed(), second * 3);
        assert!(Ends::new(None, None).is_none(), "no timer where nothing ends it");
    }

    #[tokio::test]
    async fn the_first_configuration_is_waited_for_longer() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let first = start + FIRST_CONFIGURATION;
        assert_eq!(discovery(start, None), start + DISCOVERY);
        assert_eq!(discovery(start + second, Some(first)), first);
        assert_eq!(discovery(first, Some(first)), first + DISCOVERY);
    }

    #[tokio::test]
    async fn what_is_late_is_cut_with_the_deadlines_reason() {
        let deadline = Deadline { at: Instant::now(), reason: Reason::RequestTimeout };
        assert_eq!(within(Some(deadline), std::future::pending::<()>()).await, Err(Reason::RequestTimeout));
        assert_eq!(within(None, async { 7 }).await, Ok(7));
    }
}
