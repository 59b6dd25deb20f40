//! What is to be done about the rules, from what was seen of the sidecar. Pure: a table with a little memory.
//!
//! ```text
//!            ready, and listens where the rules lead          ready
//!   ┌─────┐ ─────────────────────────────────────────> ┌────┐ <───── ┌─────┐
//!   │ Out │                                            │ In │        │ Old │  rules of an earlier installation
//!   └─────┘ <───────────────────────────────────────── └────┘        └─────┘
//!      ^      gone, silent, or takes no connections                     │
//!      └────────────────────────────────────────────────────────────────┘
//! ```
//! A sidecar that answers and is not ready leaves things as they are while it takes connections: one that starts is
//! waited for, one that drains with its command is still needed.

use crate::backoff::Backoff;
use crate::intercept::capture::Capture;
use std::time::Duration;

/// From an answer to the next question, on the same connection. The end of a process is seen at once, by the end of the
/// connection; this is how soon one is seen that drains, hangs or becomes ready.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
/// The first wait for a sidecar that is gone: less than a restart takes.
const RETURN_FIRST: Duration = Duration::from_millis(20);
/// The longest: what it costs is four refused connections a second on loopback, and meanwhile nothing is mutual TLS.
const RETURN_MOST: Duration = Duration::from_millis(250);
/// Connections in a row that end before their answer, until nobody is believed to answer. A process that ends, or hands
/// over, closes what it has accepted; the next connection then meets its successor, or nobody.
const BROKEN_MAX: u32 = 5;

/// What came of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Traffic can flow through it.
    Ready,
    /// It answers, and says why traffic cannot flow.
    NotReady(String),
    /// Nobody listens.
    Refused,
    /// No answer in time.
    Silent,
    /// The connection ended before the answer.
    Broken,
    /// This machine could not ask; with why.
    Unasked(String),
}

/// Which rules are in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// None.
    Out,
    /// Those of an earlier installation.
    Old,
    /// Ours.
    In,
}

/// What is to be done, with why in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Put the rules there.
    PutIn,
    /// Take them away.
    TakeAway(String),
    /// Leave things as they are, which is worth a word.
    Stay(String),
    /// Leave things as they are: all is well.
    Rest,
}

/// One place the rules lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taker {
    /// Its port.
    pub(super) port: u16,
    /// The flag of `install` that names it.
    pub(super) flag: &'static str,
}

/// Where rules lead, the one first that counts most: without it the service's own calls fail.
pub(super) fn takers(capture: &Capture) -> Vec<Taker> {
    let outbound = capture.outbound.as_ref().map(|it| Taker { port: it.port, flag: "--outbound-port" });
    let inbound = capture.inbound.as_ref().map(|it| Taker { port: it.port, flag: "--inbound-port" });
    let dns = capture.dns.as_ref().map(|it| Taker { port: it.port, flag: "--dns-port" });
    [outbound, inbound, dns].into_iter().flatten().collect()
}

/// Judges what is seen.
#[derive(Debug)]
pub(super) struct Judge {
    takers: Vec<Taker>,
    rules: Rules,
    broken: u32,
    returning: Backoff,
}

impl Judge {
    pub(super) fn new(takers: Vec<Taker>, rules: Rules) -> Self {
        Self { takers, rules, broken: 0, returning: Backoff::new(RETURN_FIRST, RETURN_MOST) }
    }

    /// Which rules there are, as far as is known.
    pub(super) fn rules(&self) -> Rules {
        self.rules
    }

    /// Which rules there are now.
    pub(super) fn has(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// What is to be done, and how long to wait before the next question, if the connection does not end before.
    /// `listens` tells of a TCP port of this machine; it is asked only when that matters.
    pub(super) fn judge(&mut self, seen: &Seen, listens: impl Fn(u16) -> bool) -> (Act, Duration) {
        self.broken = if *seen == Seen::Broken { self.broken.saturating_add(1) } else { 0 };
        match seen {
            Seen::Ready => (self.of_ready(listens), self.settled()),
            Seen::NotReady(why) => (self.of_unready(why, listens), self.settled()),
            Seen::Broken if self.broken < BROKEN_MAX => (Act::Rest, Duration::ZERO),
            Seen::Unasked(why) => {
                (Act::Stay(format!("it is not known how the sidecar is: {why}")), self.wait())
            }
            Seen::Broken => {
                (self.without("the sidecar ends every connection without an answer"), self.wait())
            }
            Seen::Refused => (self.without("the sidecar is gone"), self.wait()),
            Seen::Silent => (self.without("the sidecar hangs: it did not answer in time"), self.wait()),
        }
    }

    fn of_ready(&self, listens: impl Fn(u16) -> bool) -> Act {
        if self.rules == Rules::In {
            return Act::Rest;
        }
        let Some(missing) = self.takers.iter().find(|taker| !listens(taker.port)) else { return Act::PutIn };
        let Taker { port, flag } = missing;
        self.without(&format!(
            "the sidecar answers, but nobody listens on port {port} ({flag}): run it with --capture and the ports that \
             the rules lead to"
        ))
    }

    fn of_unready(&self, why: &str, listens: impl Fn(u16) -> bool) -> Act {
        match (self.rules, self.takers.first()) {
            (Rules::In | Rules::Old, Some(first)) if !listens(first.port) => {
                Act::TakeAway(format!("the sidecar takes no new connections ({why})"))
            }
            (Rules::In | Rules::Old, _) => Act::Rest,
            (Rules::Out, _) => Act::Stay(format!("the sidecar is {why}")),
        }
    }

    /// There is nobody to lead traffic to.
    fn without(&self, why: &str) -> Act {
        match self.rules {
            Rules::In | Rules::Old => Act::TakeAway(why.to_owned()),
            Rules::Out => Act::Stay(why.to_owned()),
        }
    }

    fn settled(&mut self) -> Duration {
        self.returning.reset();
        INTERVAL
    }

    /// Without jitter: there is one sidecar, and one who waits for it.
    fn wait(&mut self) -> Duration {
        self.returning.after_failure(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTBOUND: Taker = Taker { port: 15001, flag: "--outbound-port" };
    const INBOUND: Taker = Taker { port: 15006, flag: "--inbound-port" };

    fn judge(rules: Rules) -> Judge {
        Judge::new(vec![OUTBOUND, INBOUND], rules)
    }

    fn not_ready() -> Seen {
        Seen::NotReady("not ready: workers".to_owned())
    }

    /// What one look comes to: `in`, `out`, `stay` or `rest`.
    fn act(rules: Rules, seen: &Seen, listening: &[u16]) -> &'static str {
        match judge(rules).judge(seen, |port| listening.contains(&port)).0 {
            Act::PutIn => "in",
            Act::TakeAway(_) => "out",
            Act::Stay(_) => "stay",
            Act::Rest => "rest",
        }
    }

    #[test]
    fn rules_are_there_exactly_while_a_sidecar_takes_what_they_lead_to_it() {
        let (both, inbound, none): (&[u16], &[u16], &[u16]) = (&[15001, 15006], &[15006], &[]);
        let unasked = Seen::Unasked("no route".to_owned());
        for (seen, listening, out, old, ours) in [
            (Seen::Ready, both, "in", "in", "rest"),
            // Another's ports: to lead traffic there would be to refuse it.
            (Seen::Ready, inbound, "stay", "out", "rest"),
            // One that starts is waited for; one that drains with its command carries on.
            (not_ready(), both, "stay", "rest", "rest"),
            (not_ready(), inbound, "stay", "out", "out"),
            (not_ready(), none, "stay", "out", "out"),
            (Seen::Refused, none, "stay", "out", "out"),
            // The sockets of one that hangs are still there.
            (Seen::Silent, both, "stay", "out", "out"),
            (Seen::Broken, both, "rest", "rest", "rest"),
            (unasked, both, "stay", "stay", "stay"),
        ] {
            for (rules, expected) in [(Rules::Out, out), (Rules::Old, old), (Rules::In, ours)] {
                assert_eq!(act(rules, &seen, listening), expected, "{rules:?} {seen:?} {listening:?}");
            }
        }
    }

    #[test]
    fn a_connection_that_ends_without_an_answer_is_asked_again_at_once_but_not_for_ever() {
        let mut judge = judge(Rules::In);
        for _ in 1..BROKEN_MAX {
            assert_eq!(judge.judge(&Seen::Broken, |_| true), (Act::Rest, Duration::ZERO));
        }
        let (act, wait) = judge.judge(&Seen::Broken, |_| true);
        assert!(matches!(act, Act::TakeAway(_)), "{act:?}");
        assert!(wait > Duration::ZERO);
    }

    #[test]
    fn a_takeover_s_broken_connection_changes_nothing() {
        let mut judge = judge(Rules::In);
        for seen in [Seen::Ready, Seen::Broken, Seen::Ready, Seen::Broken, Seen::Broken, Seen::Ready] {
            assert_eq!(judge.judge(&seen, |_| true).0, Act::Rest, "{seen:?}");
        }
    }

    #[test]
    fn the_wait_for_its_return_grows_to_a_quarter_of_a_second_and_starts_over() {
        let mut judge = judge(Rules::Out);
        let mut waits =
            || (0..6).map(|_| judge.judge(&Seen::Refused, |_| false).1.as_millis()).collect::<Vec<_>>();
        assert_eq!(waits(), [20, 40, 80, 160, 250, 250]);
        judge.judge(&not_ready(), |_| false);
        assert_eq!(judge.judge(&Seen::Refused, |_| false).1, RETURN_FIRST);
    }

    #[test]
    fn why_says_which_port_and_flag_are_missing() {
        let (act, _) = judge(Rules::Out).judge(&Seen::Ready, |port| port == 15001);
        let Act::Stay(why) = act else { panic!("{act:?}") };
        assert!(why.contains("nobody listens on port 15006 (--inbound-port)"), "{why}");
    }
}
