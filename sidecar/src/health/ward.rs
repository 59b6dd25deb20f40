//! The application beside this sidecar: asked, and what the answers mean said to whoever registers it.

use super::rounds::{Answered, News, Rounds, Subject};
use super::verdict::Answer;
use crate::dial::Dial;
use crate::register::Registrar;
use crate::snapshot::Snapshot;
use crate::telemetry::ApplicationMetrics;
use mesh_names::Port;
use mesh_protocol::health::HealthCheck;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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

impl Ward {
    /// Asks whenever a check is due, until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut rounds = Rounds::new(self.dial);
        self.snapshots.mark_changed();
        let asking = async {
            loop {
                tokio::select! {
                    changed = self.snapshots.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let subjects = subjects(&self.snapshots.borrow_and_update(), self.application);
                        if rounds.set(subjects, Instant::now()) {
                            self.tell(&rounds);
                        }
                    }
                    answered = rounds.next() => {
                        if self.take(&answered) {
                            self.tell(&rounds);
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = asking => {}
            () = stop.cancelled() => {}
        }
    }

    /// Counts an answer, and says so if it changes the verdict. Returns whether it does.
    fn take(&self, answered: &Answered<'_>) -> bool {
        let Subject { at, check, .. } = &answered.checked.subject;
        if let Some(port) = Port::new(at.port()) {
            self.metrics.answered(port, answered.is_good);
        }
        let (port, policy) = (at.port(), &check.policy);
        match answered.news {
            Some(News::First(Answer::Bad) | News::InARow(Answer::Bad, _)) => tracing::warn!(
                port,
                policy,
                after = if let Some(News::InARow(_, times)) = answered.news { times } else { 1 },
                "the application is not well, and gets no traffic: {}",
                answered.checked.wrong
            ),
            Some(News::InARow(Answer::Good, after)) => {
                tracing::info!(port, policy, after, "the application is well again");
            }
            Some(News::First(Answer::Good)) | None => {}
        }
        answered.news.is_some()
    }

    /// Says what all checks together mean.
    fn tell(&self, rounds: &Rounds) {
        let all = rounds.all().iter();
        self.metrics.checked(all.filter_map(|it| Some((Port::new(it.subject.at.port())?, !it.is_unwell()))));
        let wrong = rounds.all().iter().filter(|it| it.is_unwell()).map(|it| it.wrong.as_str());
        let wrong: Vec<_> = wrong.collect();
        self.registrar.well(if wrong.is_empty() { None } else { Some(wrong.join("; ")) });
    }
}

/// The checks of the own ports, as the control plane says.
fn subjects(snapshot: &Snapshot, application: IpAddr) -> Vec<Subject> {
    let ports = snapshot.workload.iter().flat_map(|workload| &workload.ports);
    let checks = ports.flat_map(|port| {
        let at = SocketAddr::new(application, port.port.number());
        let subject =
            move |check: &HealthCheck| Subject { at, protocol: port.app_protocol, check: check.clone() };
        port.health_checks.iter().map(subject)
    });
    checks.collect()
}
