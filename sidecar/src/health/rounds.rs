//! Checks, each asked when it is due, over and over. No question outlives its timeout, and one that hangs holds no other up.
//!
//! ```text
//! due ──room for a question──> asked ──answer, or timeout──> due again, an interval after it was asked
//! ```

use super::probe;
use super::verdict::{Answer, Thresholds, Verdict};
use crate::backoff::random;
use crate::dial::Dial;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use mesh_names::AppProtocol;
use mesh_protocol::health::HealthCheck;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// From one question to the next, unless a policy says otherwise; Kubernetes' default.
const INTERVAL: Duration = Duration::from_secs(10);
/// From a question, its connection included, to giving it up, unless a policy says otherwise; Kubernetes' default.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Questions under way at a time: more wait, so that a thousand instances take no thousand sockets.
const ASKED_MAX: usize = 64;

/// Who is asked what. What makes two checks the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    /// Where.
    pub(crate) at: SocketAddr,
    /// What is spoken there.
    pub(crate) protocol: AppProtocol,
    pub(crate) check: HealthCheck,
}

/// A subject, and what is known of it.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) subject: Subject,
    verdict: Verdict,
    due: Instant,
    is_asked: bool,
    /// What was wrong with the last bad answer.
    pub(super) wrong: String,
}

/// An answer that was taken in.
#[derive(Debug)]
pub(super) struct Answered<'a> {
    pub(super) checked: &'a Checked,
    pub(super) is_good: bool,
    /// Set if it changed the verdict.
    pub(super) news: Option<News>,
}

/// Why a verdict is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// By the first answer.
    First(Answer),
    /// By so many answers in a row.
    InARow(Answer, u32),
}

/// All checks of one keeper.
pub(super) struct Rounds {
    dial: Dial,
    all: Vec<Checked>,
    asking: FuturesUnordered<BoxFuture<'static, (Subject, Result<(), String>)>>,
}

impl Checked {
    /// Whether enough answers were bad.
    pub(super) fn is_unwell(&self) -> bool {
        self.verdict.found() == Some(Answer::Bad)
    }
}

impl Rounds {
    pub(super) fn new(dial: Dial) -> Self {
        Self { dial, all: Vec::new(), asking: FuturesUnordered::new() }
    }

    pub(super) fn all(&self) -> &[Checked] {
        &self.all
    }

    /// Checks these from now on; what is known of those that stay is kept, the others are due at once. Returns whether
    /// anything is another.
    pub(super) fn set(&mut self, subjects: Vec<Subject>, now: Instant) -> bool {
        if self.all.iter().map(|checked| &checked.subject).eq(&subjects) {
            return false;
        }
        let before = std::mem::take(&mut self.all).into_iter();
        let mut before: std::collections::HashMap<_, _> =
            before.map(|checked| (checked.subject.clone(), checked)).collect();
        self.all = subjects
            .into_iter()
            .map(|subject| {
                before.remove(&subject).unwrap_or_else(|| Checked {
                    subject,
                    verdict: Verdict::default(),
                    due: now,
                    is_asked: false,
                    wrong: String::new(),
                })
            })
            .collect();
        true
    }

    /// Asks what is due, and returns the next answer; never if there is nothing to ask.
    ///
    /// # Cancel safety
    /// Safe: questions under way go on with the next call.
    pub(super) async fn next(&mut self) -> Answered<'_> {
        let (place, answer) = loop {
            let next_due = self.ask(Instant::now());
            let due = async {
                match next_due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let answered = async {
                match self.asking.next().await {
                    Some(answered) => answered,
                    None => std::future::pending().await,
                }
            };
            let (subject, answer) = tokio::select! {
                answered = answered => answered,
                () = due => continue,
            };
            // It may be asked for no more.
            if let Some(place) = self.all.iter().position(|checked| checked.subject == subject) {
                break (place, answer);
            }
        };
        self.take(place, answer)
    }

    /// Begins what is due, as far as there is room. Returns when the next is due that there is room for.
    fn ask(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for checked in self.all.iter_mut().filter(|checked| !checked.is_asked) {
            if self.asking.len() >= ASKED_MAX {
                return None;
            }
            if checked.due > now {
                next = Some(next.map_or(checked.due, |next: Instant| next.min(checked.due)));
                continue;
            }
            checked.is_asked = true;
            checked.due = now + jittered(checked.subject.check.interval.unwrap_or(INTERVAL), random());
            self.asking.push(Box::pin(question(self.dial, checked.subject.clone())));
        }
        next
    }

    fn take(&mut self, place: usize, answer: Result<(), String>) -> Answered<'_> {
        #[allow(clippy::indexing_slicing, reason = "it was found at this place")]
        let checked = &mut self.all[place];
        checked.is_asked = false;
        let thresholds = thresholds(&checked.subject.check);
        let is_good = answer.is_ok();
        let answer = match answer {
            Ok(()) => Answer::Good,
            Err(wrong) => {
                checked.wrong = wrong;
                Answer::Bad
            }
        };
        let was_asked = checked.verdict.found().is_some();
        let why = match (was_asked, answer) {
            (false, _) => News::First(answer),
            (true, Answer::Good) => News::InARow(answer, thresholds.healthy),
            (true, Answer::Bad) => News::InARow(answer, thresholds.unhealthy),
        };
        let news = checked.verdict.take(answer, thresholds).then_some(why);
        Answered { checked, is_good, news }
    }
}

/// Asks once, as long as it may take.
async fn question(dial: Dial, subject: Subject) -> (Subject, Result<(), String>) {
    let Subject { at, protocol, check } = &subject;
    let patience = check.timeout.unwrap_or(TIMEOUT);
    let answer = match timeout(patience, probe::ask(dial, *at, *protocol, &check.asks)).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(format!("no answer at port {} within {} ms", at.port(), patience.as_millis())),
    };
    (subject, answer)
}

fn thresholds(check: &HealthCheck) -> Thresholds {
    let default = Thresholds::default();
    Thresholds {
        healthy: check.healthy_threshold.map_or(default.healthy, NonZeroU32::get),
        unhealthy: check.unhealthy_threshold.map_or(default.unhealthy, NonZeroU32::get),
    }
}

/// Up to a tenth earlier or later, so that instances that were started together are not asked together for ever.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the servers of a test end with it")]
mod tests {
    use super::*;
    use mesh_protocol::health::Asks;
    use std::collections::BTreeMap;
    use tokio::net::TcpListener;

    fn subject(port: u16, policy: &str) -> Subject {
        let check = HealthCheck {
            policy: policy.to_owned(),
            asks: Asks::Tcp,
            interval: None,
            timeout: None,
            healthy_threshold: None,
            unhealthy_threshold: None,
        };
        Subject { at: ([127, 0, 0, 1], port).into(), protocol: AppProtocol::Tcp, check }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_stays_keeps_its_verdict_and_its_turn_and_a_new_one_is_due_at_once() {
        let (start, mut rounds) = (Instant::now(), Rounds::new(Dial::default()));
        assert!(!rounds.set(vec![], start));
        assert!(rounds.set(vec![subject(80, "shop/a"), subject(81, "shop/a")], start));
        assert!(rounds.all.iter().all(|it| it.due == start && it.verdict == Verdict::default()));
        rounds.all[1].due = start + INTERVAL;
        rounds.all[1].verdict.take(Answer::Bad, Thresholds::default());
        let later = start + Duration::from_secs(5);
        assert!(rounds.set(vec![subject(81, "shop/a"), subject(80, "shop/b")], later));
        let seen: Vec<_> = rounds.all.iter().map(|it| (it.due - start, it.verdict.found())).collect();
        assert_eq!(seen, [(INTERVAL, Some(Answer::Bad)), (later - start, None)]);
        assert!(!rounds.set(vec![subject(81, "shop/a"), subject(80, "shop/b")], later));
        assert!(rounds.set(vec![], later) && rounds.all.is_empty());
    }

    #[test]
    fn intervals_are_spread_by_a_tenth() {
        let secs = |random| jittered(Duration::from_secs(10), random).as_secs_f64();
        assert!((secs(0.0) - 9.0).abs() < 1e-6 && (secs(1.0) - 11.0).abs() < 1e-6);
    }

    #[tokio::test]
    async fn one_that_hangs_holds_no_other_up() {
        // Nobody accepts here; the kernel does, and then nothing is said.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let prompt = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hanging = Subject {
            protocol: AppProtocol::Http,
            check: HealthCheck {
                asks: Asks::Http { path: "/".into(), host: None, statuses: vec![] },
                timeout: Some(Duration::from_secs(3600)),
                ..subject(0, "shop/a").check
            },
            at: silent.local_addr().unwrap(),
        };
        let check = HealthCheck { interval: Some(Duration::from_millis(1)), ..subject(0, "shop/a").check };
        let quick = Subject { at: prompt.local_addr().unwrap(), check, protocol: AppProtocol::Tcp };
        let mut rounds = Rounds::new(Dial::default());
        rounds.set(vec![hanging, quick.clone()], Instant::now());
        for _ in 0..3 {
            let answered = rounds.next().await;
            assert!(answered.is_good && answered.checked.subject == quick);
        }
    }

    #[tokio::test]
    async fn all_are_asked_though_only_so_many_at_a_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let subjects: Vec<_> =
            (0..ASKED_MAX * 3).map(|n| Subject { at, ..subject(0, &format!("shop/{n}")) }).collect();
        let mut rounds = Rounds::new(Dial::default());
        rounds.set(subjects.clone(), Instant::now());
        let mut asked = BTreeMap::new();
        while asked.len() < subjects.len() {
            let answered = rounds.next().await;
            assert_eq!(answered.news, Some(News::First(Answer::Good)));
            *asked.entry(answered.checked.subject.check.policy.clone()).or_insert(0) += 1;
            assert!(rounds.asking.len() < ASKED_MAX);
        }
        assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    }

    #[tokio::test]
    async fn what_is_asked_for_no_more_is_answered_in_vain() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let [gone, kept] = ["shop/gone", "shop/kept"].map(|policy| Subject { at, ..subject(0, policy) });
        let mut rounds = Rounds::new(Dial::default());
        rounds.set(vec![gone], Instant::now());
        rounds.ask(Instant::now());
        rounds.set(vec![kept.clone()], Instant::now());
        assert_eq!(rounds.next().await.checked.subject, kept);
    }
}
