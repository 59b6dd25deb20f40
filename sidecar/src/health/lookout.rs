//! Instances that no sidecar stands beside, asked by their callers: nobody else can. What the answers mean is said to
//! whoever makes snapshots, where one that is not well is an endpoint that is not ready.

use super::rounds::{Answered, News, Rounds, Subject};
use super::verdict::Answer;
use crate::dial::Dial;
use crate::snapshot::{CompiledService, ServiceState, Snapshot};
use crate::telemetry::EndpointHealthMetrics;
use mesh_names::ServiceName;
use mesh_protocol::endpoint::{Endpoint, Transport};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who is not well, as this sidecar's own questions were answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unwell(HashSet<Subject>);

/// Watches over endpoints without a sidecar, of the services that this sidecar's application calls.
#[derive(Debug)]
pub(crate) struct Lookout {
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(crate) dial: Dial,
    pub(crate) unwell: watch::Sender<Arc<Unwell>>,
    pub(crate) metrics: EndpointHealthMetrics,
}

impl Unwell {
    #[cfg(test)]
    pub(crate) fn of(subjects: impl IntoIterator<Item = Subject>) -> Self {
        Self(subjects.into_iter().collect())
    }

    /// Whether an endpoint of a service is not well: at one of its ports, as readiness is the endpoint's.
    pub(crate) fn has(&self, service: &CompiledService, endpoint: &Endpoint) -> bool {
        !self.0.is_empty() && subjects_of(service, endpoint).any(|subject| self.0.contains(&subject))
    }

    /// Where those are about whom this and another say otherwise.
    pub(crate) fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = SocketAddr> + 'a {
        self.0.symmetric_difference(&other.0).map(|subject| subject.at)
    }
}

impl Lookout {
    /// Asks whenever a check is due, until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (mut rounds, mut asked_for) = (Rounds::new(self.dial), HashMap::new());
        self.snapshots.mark_changed();
        let asking = async {
            loop {
                tokio::select! {
                    changed = self.snapshots.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        asked_for = subjects(&self.snapshots.borrow_and_update());
                        if rounds.set(in_order(&asked_for), Instant::now()) {
                            self.tell(&rounds, &asked_for);
                        }
                    }
                    answered = rounds.next() => {
                        if self.take(&answered, &asked_for) {
                            self.tell(&rounds, &asked_for);
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
    fn take(&self, answered: &Answered<'_>, asked_for: &AskedFor) -> bool {
        let subject = &answered.checked.subject;
        let services = asked_for.get(subject).into_iter().flatten();
        services.clone().for_each(|service| self.metrics.answered(service, answered.is_good));
        let (endpoint, policy) = (subject.at, &subject.check.policy);
        let services = || services.clone().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match answered.news {
            Some(News::First(Answer::Bad) | News::InARow(Answer::Bad, _)) => tracing::warn!(
                %endpoint,
                services = services(),
                policy,
                after = if let Some(News::InARow(_, times)) = answered.news { times } else { 1 },
                "an endpoint without a sidecar is not well, and gets no traffic from here: {}",
                answered.checked.wrong
            ),
            Some(News::InARow(Answer::Good, after)) => {
                tracing::info!(%endpoint, services = services(), policy, after, "an endpoint is well again");
            }
            Some(News::First(Answer::Good)) | None => {}
        }
        answered.news.is_some()
    }

    /// Says who is not well.
    fn tell(&self, rounds: &Rounds, asked_for: &AskedFor) {
        let mut failing: BTreeMap<&ServiceName, usize> = BTreeMap::new();
        for checked in rounds.all() {
            for service in asked_for.get(&checked.subject).into_iter().flatten() {
                *failing.entry(service).or_default() += usize::from(checked.is_unwell());
            }
        }
        self.metrics.failing(failing);
        let unwell = rounds.all().iter().filter(|it| it.is_unwell()).map(|it| it.subject.clone());
        let unwell = Unwell(unwell.collect());
        self.unwell.send_if_modified(|before| {
            let is_new = **before != unwell;
            if is_new {
                *before = Arc::new(unwell);
            }
            is_new
        });
    }
}

/// Who is asked, and for which services: an instance may be behind several.
type AskedFor = HashMap<Subject, BTreeSet<ServiceName>>;

fn subjects(snapshot: &Snapshot) -> AskedFor {
    let mut all = AskedFor::new();
    for (name, state) in &snapshot.services {
        let ServiceState::Known(view) = state else { continue };
        if view.service.ports.iter().all(|port| port.health_check().is_none()) {
            continue;
        }
        for subject in view.endpoints.iter().flat_map(|endpoint| subjects_of(&view.service, endpoint)) {
            all.entry(subject).or_default().insert(name.clone());
        }
    }
    all
}

/// The same order for the same subjects.
fn in_order(all: &AskedFor) -> Vec<Subject> {
    let mut subjects: Vec<_> = all.keys().cloned().collect();
    subjects.sort_by(|one, other| (one.at, &one.check.policy).cmp(&(other.at, &other.check.policy)));
    subjects
}

/// The checks of an endpoint: none where a sidecar stands beside it, since that asks.
fn subjects_of<'a>(
    service: &'a CompiledService,
    endpoint: &'a Endpoint,
) -> impl Iterator<Item = Subject> + 'a {
    let is_alone = endpoint.transport == Transport::Plaintext;
    endpoint.ports.iter().filter(move |_| is_alone).filter_map(|port| {
        let called = service.port(port.service_port)?;
        Some(Subject {
            at: SocketAddr::new(endpoint.address, port.target_port.number()),
            protocol: called.app_protocol,
            check: called.health_check()?.clone(),
        })
    })
}
