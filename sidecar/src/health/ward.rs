//! The checks of the own application, each asked when it is due. One task owns all of it: what is due together is asked
//! together, and no question outlives its timeout.

use super::probe;
use super::verdict::{Answer, Thresholds, Verdict};
use crate::backoff::random;
use crate::dial::Dial;
use crate::register::Registrar;
use crate::snapshot::Snapshot;
use crate::telemetry::ApplicationMetrics;
use futures_util::future::join_all;
use mesh_names::{AppProtocol, Port};
use mesh_protocol::health::HealthCheck;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// From one question to the next, unless a policy says otherwise; Kubernetes' default.
const INTERVAL: Duration = Duration::from_secs(10);
/// From a question, its connection included, to giving it up, unless a policy says otherwise; Kubernetes' default.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Watches over the application beside this sidecar.
#[derive(Debug)]
pub(crate) struct Ward {
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Where the application listens.
    pub(crate) application: IpAddr,
    pub(crate) dial: Dial,
    pub(crate) registrar: Registrar,
    pub(crate) metrics: ApplicationMetrics,
}

/// What makes two checks the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    port: Port,
    protocol: AppProtocol,
    check: HealthCheck,
}

#[derive(Debug)]
struct Checked {
    subject: Subject,
    verdict: Verdict,
    due: Instant,
    /// What was wrong with the last bad answer.
    wrong: String,
}

impl Ward {
    /// Asks whenever a check is due, until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut all: Vec<Checked> = Vec::new();
        self.snapshots.mark_changed();
        let asking = async {
            loop {
                let due = all.iter().map(|checked| checked.due).min();
                let next = async {
                    match due {
                        Some(due) => sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = self.snapshots.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let subjects = subjects(&self.snapshots.borrow_and_update());
                        if take_over(&mut all, subjects, Instant::now()) {
                            self.tell(&all);
                        }
                    }
                    () = next => self.ask(&mut all).await,
                }
            }
        };
        tokio::select! {
            () = asking => {}
            () = stop.cancelled() => {}
        }
    }

    /// Asks all that is due.
    async fn ask(&self, all: &mut [Checked]) {
        let now = Instant::now();
        let due = all.iter_mut().filter(|checked| checked.due <= now).map(|checked| async move {
            let Subject { port, protocol, check } = &checked.subject;
            let at = SocketAddr::new(self.application, port.number());
            let patience = check.timeout.unwrap_or(TIMEOUT);
            let answer = match timeout(patience, probe::ask(self.dial, at, *protocol, &check.asks)).await {
                Ok(answer) => answer,
                Err(_elapsed) => Err(format!("no answer at port {port} within {} ms", patience.as_millis())),
            };
            checked.due = now + jittered(check.interval.unwrap_or(INTERVAL), random());
            self.take(checked, answer)
        });
        let changes = join_all(due).await;
        if changes.contains(&true) {
            self.tell(all);
        }
    }

    /// Takes an answer in, counts it, and says so if it changes the verdict.
    fn take(&self, checked: &mut Checked, answer: Result<(), String>) -> bool {
        let Subject { port, check, .. } = &checked.subject;
        let default = Thresholds::default();
        let thresholds = Thresholds {
            healthy: check.healthy_threshold.map_or(default.healthy, std::num::NonZeroU32::get),
            unhealthy: check.unhealthy_threshold.map_or(default.unhealthy, std::num::NonZeroU32::get),
        };
        self.metrics.answered(*port, answer.is_ok());
        let answer = match answer {
            Ok(()) => Answer::Good,
            Err(wrong) => {
                checked.wrong = wrong;
                Answer::Bad
            }
        };
        let was_asked = checked.verdict.found().is_some();
        let is_news = checked.verdict.take(answer, thresholds);
        match (is_news, answer) {
            (true, Answer::Bad) => tracing::warn!(
                port = port.number(),
                policy = check.policy,
                after = if was_asked { thresholds.unhealthy } else { 1 },
                "the application is not well, and gets no traffic: {}",
                checked.wrong
            ),
            (true, Answer::Good) if was_asked => tracing::info!(
                port = port.number(),
                policy = check.policy,
                after = thresholds.healthy,
                "the application is well again"
            ),
            (true, Answer::Good) | (false, _) => {}
        }
        is_news
    }

    /// Says what all checks together mean.
    fn tell(&self, all: &[Checked]) {
        let is_bad = |checked: &Checked| checked.verdict.found() == Some(Answer::Bad);
        self.metrics.checked(all.iter().map(|checked| (checked.subject.port, !is_bad(checked))));
        let wrong: Vec<_> = all.iter().filter(|it| is_bad(it)).map(|it| it.wrong.as_str()).collect();
        self.registrar.well(if wrong.is_empty() { None } else { Some(wrong.join("; ")) });
    }
}

/// The checks of the own ports, as the control plane says.
fn subjects(snapshot: &Snapshot) -> Vec<Subject> {
    let ports = snapshot.workload.iter().flat_map(|workload| &workload.ports);
    let checks = ports.flat_map(|port| {
        let subject = |check: &HealthCheck| Subject {
            port: port.port,
            protocol: port.app_protocol,
            check: check.clone(),
        };
        port.health_checks.iter().map(subject)
    });
    checks.collect()
}

/// Checks these from now on; what is known of those that stay is kept, the others are due at once. Returns whether
/// anything is another.
fn take_over(all: &mut Vec<Checked>, subjects: Vec<Subject>, now: Instant) -> bool {
    if all.iter().map(|checked| &checked.subject).eq(&subjects) {
        return false;
    }
    let mut before = std::mem::take(all);
    for subject in subjects {
        let known = before.iter().position(|checked| checked.subject == subject);
        let new = || Checked { subject, verdict: Verdict::default(), due: now, wrong: String::new() };
        all.push(match known {
            Some(place) => before.swap_remove(place),
            None => new(),
        });
    }
    true
}

/// Up to a tenth earlier or later, so that instances that were started together are not asked together for ever.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::health::Asks;

    fn subject(port: u16, policy: &str) -> Subject {
        let check = HealthCheck {
            policy: policy.to_owned(),
            asks: Asks::Tcp,
            interval: None,
            timeout: None,
            healthy_threshold: None,
            unhealthy_threshold: None,
        };
        Subject { port: Port::new(port).unwrap(), protocol: AppProtocol::Tcp, check }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_stays_keeps_its_verdict_and_its_turn_and_a_new_one_is_due_at_once() {
        let (start, mut all) = (Instant::now(), Vec::new());
        assert!(!take_over(&mut all, vec![], start));
        assert!(take_over(&mut all, vec![subject(80, "shop/a"), subject(81, "shop/a")], start));
        assert!(all.iter().all(|checked| checked.due == start && checked.verdict == Verdict::default()));
        all[1].due = start + INTERVAL;
        all[1].verdict.take(Answer::Bad, Thresholds::default());
        let later = start + Duration::from_secs(5);
        assert!(take_over(&mut all, vec![subject(81, "shop/a"), subject(80, "shop/b")], later));
        let seen: Vec<_> = all.iter().map(|it| (it.due - start, it.verdict.found())).collect();
        assert_eq!(seen, [(INTERVAL, Some(Answer::Bad)), (later - start, None)]);
        assert!(!take_over(&mut all, vec![subject(81, "shop/a"), subject(80, "shop/b")], later));
        assert!(take_over(&mut all, vec![], later) && all.is_empty());
    }

    #[test]
    fn intervals_are_spread_by_a_tenth() {
        let secs = |random| jittered(Duration::from_secs(10), random).as_secs_f64();
        assert!((secs(0.0) - 9.0).abs() < 1e-6 && (secs(1.0) - 11.0).abs() < 1e-6);
    }
}
