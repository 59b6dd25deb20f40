//! The task that follows the control plane. It owns the session, what is held, the set of wanted services and the
//! registration; nobody else touches them. Enters: responses, demand from workers, the state the process wants to be in.
//! Leaves: snapshots for the workers, the trust bundle for handshakes, the cache on disk. It never waits for anything
//! but events: traffic's demand is taken in while a connection is being made or waited for.
//!
//! ```text
//! connecting ──reached──> opening ──first response──> following ──lost──> waiting (250 ms … 15 s) ──> connecting
//!     └────────────────── failed ────────────────────────────────────────────^
//! ```

mod parts;

pub(crate) use parts::Parts;

use crate::backoff::{Backoff, random};
use crate::control_plane::{ReachError, Reached};
use crate::demand::Wish;
use crate::health::Unwell;
use crate::register::Standing;
use crate::snapshot::{LastUsed, ServiceState};
use crate::xds::cache::{self, Cached};
use crate::xds::held::{Changed, Held};
use crate::xds::link::{self, LinkError, Requests, Responses};
use crate::xds::session::Session;
use crate::xds::view;
use crate::xds::wanted::{Asked, Wanted};
use mesh_mtls::{Changes, Connector, TrustBundle};
use mesh_names::ServiceName;
use mesh_protocol::wire::discovery as wire;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// The wait after a first lost connection: a restarted control plane is found quickly …
const RECONNECT_FIRST: Duration = Duration::from_millis(250);
/// … and one that stays away is not hammered.
const RECONNECT_MOST: Duration = Duration::from_secs(15);
/// A stream that lived this long was a good one: the next wait is short again.
const STABLE: Duration = Duration::from_secs(60);
/// Ages are shown, and changes written to disk, this often.
const TICK: Duration = Duration::from_secs(1);
/// Idle services are looked for this often, in ticks.
const EXPIRE_TICKS: u64 = 30;
/// The confirmation time on disk is renewed this often, in ticks, though nothing changed.
const CONFIRM_TICKS: u64 = 600;

/// The task's state.
pub(crate) struct Follower {
    parts: Parts,
    session: Session,
    /// A certificate that is new is announced.
    identity: Changes,
    wanted: Wanted,
    requests: Option<Requests>,
    /// Whether the wanted set must be computed anew.
    wants_changed: bool,
    /// Endpoints without a sidecar that are not well, as workers were told or are about to be.
    unwell: Arc<Unwell>,
    /// What workers have not been told.
    untold: Changed,
    /// Whether a response came on the stream that is up.
    confirmed_by_stream: bool,
    confirmed: SystemTime,
    unsaved: bool,
    saving: Option<JoinHandle<std::io::Result<()>>>,
    tick: Interval,
    ticks: u64,
    full_told: Option<Instant>,
}

/// Why the control plane is not followed.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    /// No connection.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// No stream.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// What happens in this process.
enum Local {
    Demand(Wish),
    State,
    Health,
    Settle,
    Tick,
}

impl Follower {
    /// Starts from the configuration on disk, if there is one: workers have it when this returns.
    pub(crate) fn new(parts: Parts) -> Self {
        let (held, confirmed) = match cache::load(&parts.cache, &parts.own.trust_domain) {
            Ok(Some(Cached { held, confirmed })) => (held, Some(confirmed)),
            Ok(None) => (Held::default(), None),
            Err(error) => {
                let path = parts.cache.display();
                tracing::warn!(%path, %error, "the configuration on disk is not used");
                (Held::default(), None)
            }
        };
        let mut wanted = Wanted::new(parts.pinned.iter().cloned());
        let now = Instant::now();
        let mut untold = Changed::default();
        for service in held.services.keys().chain(held.endpoints.keys()) {
            wanted.ask(service, now, &held);
            untold.services.insert(service.clone());
        }
        for address in held.addresses.keys() {
            wanted.ask_address(*address, now);
            untold.addresses.insert(*address);
        }
        // A domain is held for the hosts below it, and those are not known any more: it is asked for with the next of them.
        for host in held.hosts.keys().filter(|host| host.domain().is_none()) {
            wanted.ask_host(&host.as_str().into(), now);
        }
        untold.hosts.extend(held.hosts.keys().cloned());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follower = Self {
            session: Session::new(parts.own.clone(), held),
            identity: parts.identity.changed(),
            parts,
            wanted,
            requests: None,
            wants_changed: true,
            unwell: Arc::default(),
            untold,
            confirmed_by_stream: false,
            confirmed: confirmed.unwrap_or_else(SystemTime::now),
            unsaved: false,
            saving: None,
            tick,
            ticks: 0,
            full_told: None,
        };
        follower.resume(confirmed);
        follower
    }

    fn resume(&mut self, confirmed: Option<SystemTime>) {
        self.settle_wants();
        let Some(confirmed) = confirmed else { return };
        // Beside the bundle file, not instead of it: either may be the newer one. The control plane's next word decides.
        if let Some(kept) = self.session.held().trusted() {
            let file = self.parts.identity.trust_bundle();
            let both = file.certificates().chain(kept.certificates()).map(<[u8]>::to_vec);
            if let Ok(both) = TrustBundle::from_der(both.collect::<BTreeSet<_>>()) {
                self.parts.identity.set_trust_bundle(both);
            }
        }
        let age = SystemTime::now().duration_since(confirmed).unwrap_or_default();
        tracing::info!(
            revision = self.session.held().revision,
            age_s = age.as_secs(),
            "serving the configuration kept on disk until the control plane answers"
        );
        self.parts.metrics.age(age);
        // Said even if no service is held, as beside an application that calls nobody: it is a configuration all the same.
        self.untold.workload = true;
        self.tell_workers();
        self.unsaved = false;
    }

    /// Follows the control plane until told to stop. The configuration is on disk when this returns.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MOST);
        loop {
            let began = Instant::now();
            let Some(error) = self.once().await else { break };
            if began.elapsed() >= STABLE {
                backoff.reset();
            }
            let wait = backoff.after_failure(random());
            tracing::warn!(%error, retry_in_ms = wait.as_millis(), "the control plane is not followed");
            if self.meanwhile(tokio::time::sleep(wait)).await.is_none() {
                break;
            }
        }
        self.finish().await;
    }

    /// One connection, from its first packet to its end. None: told to stop.
    async fn once(&mut self) -> Option<FollowError> {
        let connector = Connector::new(self.parts.identity.clone());
        let reach = Arc::clone(&self.parts.reach);
        let reached = match self.meanwhile(async move { reach.connect(&connector).await }).await? {
            Ok(reached) => reached,
            Err(error) => {
                // It was so before; that it is certain now is the news.
                self.parts.registrar.standing.send_replace(Standing::Away);
                return Some(error.into());
            }
        };
        let ended = self.follow(reached).await;
        self.requests = None;
        self.session.close();
        self.confirmed_by_stream = false;
        self.parts.metrics.connected(false);
        self.parts.demands.heard(false);
        self.parts.registrar.standing.send_replace(Standing::Away);
        self.unsaved = true;
        ended.map(Into::into)
    }

    async fn follow(&mut self, reached: Reached) -> Option<LinkError> {
        let Reached { channel, local, peer } = reached;
        let (requests, queued) = link::queue();
        let wanted = self.parts.registrar.wanted.borrow_and_update().clone();
        let node = self.node();
        let announcement = self.parts.registration.on_stream(local, &wanted, self.parts.expires());
        let opening = self.session.open(node, announcement);
        self.requests = Some(requests);
        self.parts.registrar.standing.send_replace(Standing::Told);
        self.send(opening);
        let mut responses = match self.meanwhile(link::open(channel, queued)).await? {
            Ok(responses) => responses,
            Err(error) => return Some(error),
        };
        tracing::info!(%peer, "following the control plane");
        self.parts.metrics.connected(true);
        self.parts.demands.heard(true);
        let ended = self.receive_all(&mut responses).await;
        if ended.is_none() {
            tracing::debug!("the discovery stream is closed");
        }
        ended
    }

    async fn receive_all(&mut self, responses: &mut Responses) -> Option<LinkError> {
        loop {
            let stop = self.parts.stop.clone();
            // Biased: what has arrived is taken in before workers are told, so that they are told once.
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                response = responses.next() => match response {
                    Ok(response) => {
                        self.parts.demands.heard(true);
                        self.on_response(response);
                    }
                    Err(error) => return Some(error),
                },
                local = self.local() => self.on_local(local),
            }
            if self.requests.is_none() {
                return Some(LinkError::Stuck);
            }
        }
    }

    /// Runs `future` while local events are handled. None: told to stop.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Option<F::Output> {
        tokio::pin!(future);
        loop {
            let stop = self.parts.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                output = &mut future => return Some(output),
                local = self.local() => self.on_local(local),
            }
        }
    }

    /// The next thing that happens in this process. Cancel safe: each arm is.
    async fn local(&mut self) -> Local {
        let unsettled = self.wants_changed || !self.untold.is_empty();
        tokio::select! {
            biased;
            Some(wish) = self.parts.demands.next() => Local::Demand(wish),
            Ok(()) = self.parts.registrar.wanted.changed() => Local::State,
            () = self.identity.changed() => Local::State,
            Ok(()) = self.parts.unwell.changed() => Local::Health,
            () = std::future::ready(()), if unsettled => Local::Settle,
            _ = self.tick.tick() => Local::Tick,
        }
    }

    fn on_local(&mut self, event: Local) {
        match event {
            Local::Demand(Wish::Service(service)) => self.on_demand(&service),
            Local::Demand(Wish::Address(address)) => {
                self.wants_changed |= self.wanted.ask_address(address, Instant::now());
            }
            Local::State => self.on_state(),
            Local::Health => self.on_health(),
            Local::Settle => {
                self.settle_wants();
                self.tell_workers();
            }
            Local::Demand(Wish::Host(host)) => {
                self.wants_changed |= self.wanted.ask_host(&host, Instant::now());
            }
            Local::Tick => self.on_tick(),
        }
    }

    fn on_demand(&mut self, service: &ServiceName) {
        match self.wanted.ask(service, Instant::now(), self.session.held()) {
            Asked::Already => {}
            Asked::New => self.wants_changed = true,
            Asked::Full => {
                let told = self.full_told.is_some_and(|told| told.elapsed() < STABLE);
                if !told {
                    self.full_told = Some(Instant::now());
                    tracing::warn!(%service, "not subscribed: this sidecar follows as many services as it may");
                }
            }
        }
    }

    fn on_state(&mut self) {
        let wanted = self.parts.registrar.wanted.borrow_and_update().clone();
        let expires = self.parts.expires();
        let Some(announcement) = self.parts.registration.change(&wanted, expires) else { return };
        let request = self.session.announce(announcement);
        if request.is_some() {
            self.parts.registrar.standing.send_replace(Standing::Told);
        }
        self.send(request);
    }

    /// Other endpoints without a sidecar are well, or not, than were.
    fn on_health(&mut self) {
        let unwell = self.parts.unwell.borrow_and_update().clone();
        let turned: BTreeSet<IpAddr> = self.unwell.difference(&unwell).map(|at| at.ip()).collect();
        self.unwell = unwell;
        let snapshot = self.parts.snapshots.borrow();
        for (name, state) in &snapshot.services {
            let ServiceState::Known(view) = state else { continue };
            if view.endpoints.iter().any(|endpoint| turned.contains(&endpoint.address)) {
                self.untold.services.insert(name.clone());
            }
        }
    }

    fn on_response(&mut self, response: wire::DeltaDiscoveryResponse) {
        let received = self.session.receive(response);
        self.send(received.reply);
        for rejection in &received.rejected {
            self.parts.metrics.rejected(rejection);
            let kind = rejection.kind.map_or("unknown", mesh_protocol::resource::ResourceType::as_str);
            tracing::warn!(kind, name = rejection.name, why = rejection.why, "refused a resource");
        }
        if let Some(announced) = received.announced {
            let standing = self.parts.registration.standing(announced);
            self.parts.registrar.standing.send_replace(standing);
        }
        if received.changed.trust_bundle
            && let Some(bundle) = self.session.held().trusted()
        {
            self.parts.identity.set_trust_bundle(bundle);
        }
        // Routes name backends and virtual addresses services, so any change to either may change what is wanted.
        self.wants_changed |=
            !(received.changed.services.is_empty() && received.changed.addresses.is_empty());
        self.untold.merge(received.changed);
        if !self.confirmed_by_stream {
            self.confirmed_by_stream = true;
            self.confirmed = SystemTime::now();
            // The first word of a control plane that has nothing to change: workers learn that it was received.
            if !self.parts.snapshots.borrow().received {
                self.untold.workload = true;
            }
        }
    }

    fn settle_wants(&mut self) {
        if !std::mem::take(&mut self.wants_changed) {
            return;
        }
        let wants = self.wanted.wants(self.session.held());
        let (requests, changed) = self.session.want(wants);
        self.send(requests);
        self.untold.merge(changed);
    }

    fn tell_workers(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut self.untold);
        let held = self.session.held();
        let next = view::next(&self.parts.snapshots.borrow(), held, &self.unwell, &changed);
        tracing::debug!(revision = held.revision, services = changed.services.len(), "configuration changed");
        self.parts.metrics.revision(&held.revision);
        self.parts.snapshots.send_replace(Arc::new(next));
        self.parts.configured.set(true);
        self.unsaved = true;
    }

    fn on_tick(&mut self) {
        self.ticks += 1;
        let now = SystemTime::now();
        if self.confirmed_by_stream {
            self.confirmed = now;
            self.unsaved |= self.ticks.is_multiple_of(CONFIRM_TICKS);
        }
        self.parts.metrics.age(now.duration_since(self.confirmed).unwrap_or_default());
        if self.ticks.is_multiple_of(EXPIRE_TICKS) {
            self.expire();
        }
        if self.saving.as_ref().is_some_and(JoinHandle::is_finished) {
            self.saving = None;
        }
        if self.unsaved && self.saving.is_none() && self.parts.snapshots.borrow().received {
            self.save();
        }
    }

    fn expire(&mut self) {
        let started = self.parts.started;
        let used = |it: &LastUsed| started.checked_add(Duration::from_secs(it.second())).unwrap_or(started);
        let snapshot = self.parts.snapshots.borrow().clone();
        for (name, state) in &snapshot.services {
            if let ServiceState::Known(view) = state {
                self.wanted.used(name, used(&view.last_used));
            }
        }
        for (address, view) in snapshot.addresses.iter() {
            self.wanted.used_address(*address, used(&view.last_used));
        }
        for (host, last_used) in snapshot.hosts.asked() {
            self.wanted.used_host(host, used(last_used));
        }
        self.wants_changed |= self.wanted.expire(Instant::now(), self.session.held());
    }

    /// Writes what is held to disk, on a thread of its own, unless that is another process's by now.
    fn save(&mut self) {
        self.unsaved = false;
        if self.parts.handed_over.is_draining() {
            return;
        }
        let (held, confirmed) = (self.session.held().clone(), self.confirmed);
        let (path, domain) = (self.parts.cache.clone(), self.parts.own.trust_domain.clone());
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let written = cache::store(&path, &cache::encode(&held, &domain, confirmed));
            if let Err(error) = &written {
                tracing::error!(%error, "the configuration cannot be kept in the state directory");
            }
            written
        }));
    }

    async fn finish(mut self) {
        if let Some(saving) = self.saving.take() {
            // It has logged its own failure.
            drop(saving.await);
        }
        if self.parts.snapshots.borrow().received {
            self.save();
            if let Some(saving) = self.saving.take() {
                drop(saving.await);
            }
        }
    }

    fn send(&mut self, requests: impl IntoIterator<Item = wire::DeltaDiscoveryRequest>) {
        let Some(link) = &self.requests else { return };
        if requests.into_iter().try_for_each(|request| link.send(request)).is_err() {
            // The stream is given up; everything is said again on the next one.
            self.requests = None;
        }
    }

    fn node(&self) -> wire::Node {
        wire::Node {
            id: self.parts.own.workload.to_string(),
            cluster: self.parts.own.workload.namespace.to_string(),
            user_agent_name: "outrigger-sidecar".to_owned(),
            user_agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
