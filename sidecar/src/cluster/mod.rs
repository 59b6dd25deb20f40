//! One port of one service as one worker sees it: its endpoints with their load, the choice among them, and the budgets for
//! further attempts. What enters is the snapshot's view, taken over when it changed; what leaves is a [`Picked`] endpoint.
//! State is carried over by the endpoint's place, so that a change touches no request in flight. Who is ejected is
//! `mesh_balance`'s business. A place outside of the mesh is a cluster too: its endpoints are its addresses.

mod attempts;
mod ejections;
mod load;
mod outside;

pub(crate) use load::{Load, Spoken};
pub(crate) use outside::{At, Outside};

use crate::connect::{Place, Security};
use crate::deadline::{self, Deadline};
use crate::detect::Learned;
use crate::limit::{Breaker, OverLimit, Place as Limited};
use crate::pool::Origin;
use crate::refusal::{Reason, Refusal};
use crate::snapshot::{
    Affinity, Faults, LastUsed, Pinned, ServiceState, Standing, TrafficPolicy, kept_in, standing,
};
use crate::telemetry::{Direction, LabelId, Share};
use crate::worker::{Patience, Worker};
use http::request::Parts;
use mesh_balance::{Balancer, HashKey, Health, Member as Listed, Nanos, PickFor, Slot, Weight};
use mesh_names::{Port, ServiceName};
use mesh_protocol::endpoint::{Endpoint, EndpointHealth, Transport};
use mesh_protocol::policy::LocalityMode;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// All clusters of a worker.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    services: RefCell<HashMap<(ServiceName, Port), Rc<Cluster>>>,
    outside: RefCell<HashMap<Rc<Outside>, Rc<Cluster>>>,
    /// Told when a cluster comes to have intervals that end.
    judging: Notify,
}

/// One port of one service, or of a place outside of the mesh.
#[derive(Debug)]
pub(crate) struct Cluster {
    source: Source,
    /// `namespace/name`, for people.
    pub(crate) name: Arc<str>,
    /// The same, for metrics.
    pub(crate) label: LabelId,
    /// Rounds of housekeeping since anybody held it; only of places outside.
    unused: Cell<u32>,
    /// The generation of the snapshot that was taken over last; 0 for none.
    generation: Cell<u64>,
    endpoints: RefCell<Option<Arc<[Arc<Endpoint>]>>>,
    /// The addresses taken over last, of a place outside.
    addresses: RefCell<Option<Arc<[IpAddr]>>>,
    last_used: RefCell<Option<Arc<LastUsed>>>,
    /// What is said of how requests are spread; none: the balancer's defaults are in force.
    policy: RefCell<Option<Arc<TrafficPolicy>>>,
    balancer: RefCell<Balancer<Place>>,
    /// Beside the balancer's slots.
    members: RefCell<Vec<Option<Member>>>,
    attempts: attempts::Attempts,
    /// Endpoints that the caller's place leaves out.
    left_out: Cell<usize>,
    /// When endpoints were compared last.
    judged: Cell<Nanos>,
    /// How many are said to be ejected, once anybody was.
    ejected: OnceCell<Share>,
    /// Whether connections without a declared protocol needed an endpoint.
    pub(crate) learned: Learned,
}

/// Where a cluster's endpoints come from.
#[derive(Debug)]
enum Source {
    /// The control plane.
    Service(ServiceName, Port),
    /// A place outside of the mesh: written down, or DNS.
    Outside(Rc<Outside>),
}

#[derive(Debug, Clone)]
struct Member {
    origin: Rc<Origin>,
    peer: LabelId,
}

/// An endpoint chosen for one attempt.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Where it is.
    pub(crate) origin: Rc<Origin>,
    /// Its SPIFFE ID, for metrics.
    pub(crate) peer: LabelId,
    /// Its place in the cluster, to be left out of the next attempt.
    pub(crate) slot: Slot,
    /// Its load while the attempt lasts.
    pub(crate) load: Load,
}

/// What the snapshot says about a cluster.
enum View {
    Ready,
    Asked,
    Refused(Box<Refusal>),
}

impl Clusters {
    /// The cluster of a service's port, made when it is first needed.
    pub(crate) fn of(&self, worker: &Worker, service: &ServiceName, port: Port) -> Rc<Cluster> {
        let mut clusters = self.services.borrow_mut();
        let cluster = clusters.entry((service.clone(), port)).or_insert_with(|| {
            Cluster::new(worker, Source::Service(service.clone(), port), service.to_string().into())
        });
        cluster.clone()
    }

    /// The cluster of a place outside of the mesh, made when it is first needed.
    pub(crate) fn outside(&self, worker: &Worker, outside: Outside) -> Rc<Cluster> {
        let mut clusters = self.outside.borrow_mut();
        if let Some(cluster) = clusters.get(&outside) {
            return cluster.clone();
        }
        let (name, outside) = (outside.name.clone(), Rc::new(outside));
        let cluster = Cluster::new(worker, Source::Outside(outside.clone()), name);
        clusters.insert(outside, cluster.clone());
        cluster
    }

    fn each(&self, visit: impl Fn(&Rc<Cluster>)) {
        self.services.borrow().values().for_each(&visit);
        self.outside.borrow().values().for_each(visit);
    }

    /// Forgets clusters that no request holds: of services that the snapshot no longer has, and of places outside that
    /// were not used for a while.
    pub(crate) fn sweep(&self, pinned: &Pinned) {
        self.services.borrow_mut().retain(|(service, _), cluster| {
            Rc::strong_count(cluster) > 1 || pinned.snapshot.service(service).is_some()
        });
        self.outside.borrow_mut().retain(|_, cluster| {
            let unused = if Rc::strong_count(cluster) > 1 { 0 } else { cluster.unused.get() + 1 };
            cluster.unused.set(unused);
            unused < outside::UNUSED_ROUNDS
        });
    }
}

impl Cluster {
    fn new(worker: &Worker, source: Source, name: Arc<str>) -> Rc<Self> {
        Rc::new(Self {
            source,
            label: worker.recorder.label(&name),
            name,
            unused: Cell::new(0),
            generation: Cell::new(0),
            endpoints: RefCell::default(),
            addresses: RefCell::default(),
            last_used: RefCell::default(),
            policy: RefCell::default(),
            balancer: RefCell::new(Balancer::new()),
            members: RefCell::default(),
            attempts: attempts::Attempts::default(),
            left_out: Cell::new(0),
            judged: Cell::default(),
            ejected: OnceCell::new(),
            learned: worker.shared.config.families.connections.learned(Direction::Outbound),
        })
    }

    /// Waits until the endpoints are known, at most as long as [`Worker::patience`] says, or
    /// [`deadline::LOOK_UP`] for DNS.
    ///
    /// # Errors
    /// `unknown_host` in the control plane's words, `discovery_timeout`, `not_ready`, or `name_not_resolved`.
    pub(crate) async fn ready(&self, worker: &Worker) -> Result<(), Refusal> {
        let (mut patience, mut look_up) = (Patience::default(), None);
        loop {
            let changed = worker.current.changed();
            let pinned = worker.current.pin();
            match self.take_over(worker, &pinned) {
                View::Ready => return Ok(()),
                View::Refused(refusal) => return Err(*refusal),
                View::Asked => {}
            }
            let until = match &self.source {
                Source::Service(service, _) => {
                    worker.shared.config.demand.ask(service);
                    worker.patience(&mut patience, &pinned)
                }
                Source::Outside(outside) => {
                    outside.ask(worker);
                    *look_up.get_or_insert_with(|| Instant::now() + deadline::LOOK_UP)
                }
            };
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return Err(match &self.source {
                    Source::Service(..) => not_told(&pinned),
                    Source::Outside(_) => Reason::NameNotResolved.into(),
                });
            }
        }
    }

    /// Takes over what the snapshot says, if it says anything new.
    fn take_over(&self, worker: &Worker, pinned: &Pinned) -> View {
        if self.generation.get() == pinned.generation {
            return View::Ready;
        }
        let (service, port) = match &self.source {
            Source::Service(service, port) => (service, *port),
            Source::Outside(outside) => return self.take_over_outside(worker, pinned, outside),
        };
        let view = match pinned.snapshot.service(service) {
            None => return View::Asked,
            Some(ServiceState::Missing(sentence)) => {
                let refusal = Refusal::because(Reason::UnknownHost, sentence.to_string());
                return View::Refused(Box::new(refusal));
            }
            Some(ServiceState::Known(view)) if !view.endpoints_known => return View::Asked,
            Some(ServiceState::Known(view)) => view,
        };
        self.generation.set(pinned.generation);
        let policy = view.service.port(port).and_then(|port| port.policy.clone());
        let is_elsewhere = locality_of(&policy) != locality_of(&self.policy.borrow());
        self.follow(worker, policy);
        let mut endpoints = self.endpoints.borrow_mut();
        if is_elsewhere || endpoints.as_ref().is_none_or(|old| !Arc::ptr_eq(old, &view.endpoints)) {
            let (policy, here) = (self.policy.borrow(), &worker.shared.config.source.locality);
            let mode = locality_of(&policy);
            let (mut all, mut left_out) = (Vec::with_capacity(view.endpoints.len()), 0);
            for endpoint in view.endpoints.iter() {
                let Some(place) = place(endpoint, port) else { continue };
                match standing(mode, here, &endpoint.locality) {
                    Some(standing) => all.push((place.clone(), listed(endpoint, &place, standing))),
                    None => left_out += 1,
                }
            }
            self.left_out.set(left_out);
            self.rebuild(worker, all);
            *endpoints = Some(view.endpoints.clone());
        }
        *self.last_used.borrow_mut() = Some(view.last_used.clone());
        View::Ready
    }

    /// Goes by this policy from now on. What is known of the endpoints stays.
    fn follow(&self, worker: &Worker, policy: Option<Arc<TrafficPolicy>>) {
        let settings = policy.as_ref().map(|policy| policy.settings).unwrap_or_default();
        if settings.detection.needs_intervals() {
            worker.clusters.judging.notify_one();
        }
        self.balancer.borrow_mut().set(settings);
        *self.policy.borrow_mut() = policy;
    }

    /// What decides on the endpoint of a request to this cluster: nothing unless its policy hashes. The cluster must be
    /// [`Cluster::ready`].
    pub(crate) fn affinity(&self, worker: &Worker, head: &Parts, client: IpAddr) -> Affinity {
        // Clients should not foresee each other's cookies, and the worker's own generator can be foreseen.
        let random = || RandomState::new().hash_one(());
        let policy = self.policy.borrow();
        let source = |of| worker.shared.config.source.key(of, client);
        let affinity = policy.as_ref().map(|it| it.affinity(&head.headers, head.uri.query(), source, random));
        affinity.unwrap_or_default()
    }

    /// What decides on the endpoint of opaque bytes from `client`: nothing unless its policy hashes by source.
    pub(crate) fn source_key(&self, worker: &Worker, client: IpAddr) -> Option<HashKey> {
        let of = self.policy.borrow().as_ref()?.of_source()?;
        Some(worker.shared.config.source.key(of, client))
    }

    fn rebuild(&self, worker: &Worker, listed: Vec<(Place, Listed)>) {
        let now = worker.nanos(Instant::now());
        let mut balancer = self.balancer.borrow_mut();
        let mut members = self.members.borrow_mut();
        for slot in balancer.update(listed.iter().cloned(), now) {
            if let Some(member) = members.get_mut(slot.index()) {
                *member = None;
            }
        }
        for (place, _) in &listed {
            let Some(slot) = balancer.slot(place) else { continue };
            if members.len() <= slot.index() {
                members.resize(slot.index() + 1, None);
            }
            if let Some(member @ None) = members.get_mut(slot.index()) {
                let peer = match &place.security {
                    Security::Plaintext | Security::Tls(_) => LabelId::NONE,
                    Security::MutualTls { identity, .. } => worker.recorder.label(&identity.to_string()),
                };
                *member = Some(Member { origin: worker.origins.at(place), peer });
            }
        }
    }

    /// Chooses an endpoint, if possible none of those tried; where the policy hashes, by the request's key. The cluster must be [`Cluster::ready`].
    ///
    /// # Errors
    /// `no_endpoints` or `no_healthy_endpoint`.
    pub(crate) fn pick(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        now: Instant,
        request: PickFor<'_>,
    ) -> Result<Picked, Refusal> {
        let nanos = worker.nanos(now);
        if let Some(last_used) = &*self.last_used.borrow() {
            last_used.touch(nanos.0 / 1_000_000_000);
        }
        let pick = self.balancer.borrow_mut().pick(request, nanos, &mut *worker.rng());
        let member = pick.and_then(|pick| self.members.borrow().get(pick.slot.index()).cloned().flatten());
        let (Some(pick), Some(member)) = (pick, member) else {
            let name = &self.name;
            let (is_empty, service) = (self.balancer.borrow().is_empty(), &self.source);
            let (reason, sentence) = match (is_empty, service) {
                (true, Source::Service(..)) if self.left_out.get() > 0 => {
                    (Reason::NoEndpoints, self.kept(worker, "there is none"))
                }
                (false, Source::Service(..)) if self.left_out.get() > 0 => {
                    (Reason::NoHealthyEndpoint, self.kept(worker, "none takes traffic"))
                }
                (true, Source::Service(_, port)) => {
                    (Reason::NoEndpoints, format!("the service {name} has no endpoints on port {port}"))
                }
                (false, Source::Service(..)) => {
                    (Reason::NoHealthyEndpoint, format!("no endpoint of the service {name} takes traffic"))
                }
                (true, Source::Outside(_)) => {
                    (Reason::NoEndpoints, format!("the ExternalService {name} has no address"))
                }
                (false, Source::Outside(_)) => (
                    Reason::NoHealthyEndpoint,
                    format!("no address of the ExternalService {name} takes traffic"),
                ),
            };
            return Err(Refusal::because(reason, sentence));
        };
        let load = Load::start(worker.clone(), self.clone(), pick.slot, nanos);
        Ok(Picked { origin: member.origin, peer: member.peer, slot: pick.slot, load })
    }

    /// Why there is nobody, though the service has endpoints elsewhere.
    fn kept(&self, worker: &Worker, there: &str) -> String {
        let (name, policy, others) = (&self.name, self.policy.borrow(), self.left_out.get());
        let place = kept_in(locality_of(&policy), &worker.shared.config.source.locality).unwrap_or_default();
        let by = policy.as_ref().map(|policy| &*policy.name).unwrap_or_default();
        format!(
            "of the endpoints of the service {name} in {place}, {there}; its TrafficPolicy {by} keeps requests from the \
             {others} elsewhere"
        )
    }

    /// What its policy limits, if anything.
    fn breaker(&self) -> Option<Arc<Breaker>> {
        self.policy.borrow().as_ref().and_then(|policy| policy.breaker.clone())
    }

    /// The failures that its policy asks for, if any.
    pub(crate) fn faults(&self) -> Option<Arc<Faults>> {
        self.policy.borrow().as_ref().and_then(|policy| policy.faults.clone())
    }

    /// The policy in force, `namespace/name`.
    pub(crate) fn policy_name(&self) -> Option<Arc<str>> {
        self.policy.borrow().as_ref().map(|policy| policy.name.clone())
    }

    /// A place for one more request, at once or after a wait; nothing where requests are not limited.
    ///
    /// # Errors
    /// `request_limit`, `pending_timeout`; `request_timeout` if `deadline` is nearer.
    pub(crate) async fn enter(&self, deadline: Option<Deadline>) -> Result<Option<Limited>, Refusal> {
        let Some(breaker) = self.breaker() else { return Ok(None) };
        // Boxed, as few clusters have limits.
        deadline::within(deadline, Box::pin(breaker.enter(&self.name))).await?
    }

    /// A place for one more session with a connection of its own; nothing where they are not limited.
    ///
    /// # Errors
    /// `connection_limit`.
    pub(crate) fn connect(&self) -> Result<Option<Limited>, Refusal> {
        self.breaker().map_or(Ok(None), |breaker| breaker.connect(&self.name))
    }

    /// A place for one more request that is tried again; nothing where they are not limited.
    ///
    /// # Errors
    /// [`OverLimit`] where there is none.
    pub(crate) fn retry(&self) -> Result<Option<Limited>, OverLimit> {
        self.breaker().map_or(Ok(None), |breaker| breaker.retry())
    }
}

/// Why nothing is known, after waiting for it.
pub(crate) fn not_told(pinned: &Pinned) -> Refusal {
    if pinned.snapshot.received { Reason::DiscoveryTimeout.into() } else { Reason::NotReady.into() }
}

/// Where requests to `endpoint` for the service's `port` go; nothing if it does not serve that port.
pub(crate) fn place(endpoint: &Endpoint, port: Port) -> Option<Place> {
    let target = endpoint.target_port(port)?;
    let (number, security) = match &endpoint.transport {
        Transport::Plaintext => (target, Security::Plaintext),
        Transport::MutualTls { inbound_port, identity } => {
            (*inbound_port, Security::MutualTls { identity: identity.clone(), port: target })
        }
    };
    let address = SocketAddr::new(endpoint.address, number.number());
    Some(Place { address, security, direction: Direction::Outbound, caller: None })
}

fn locality_of(policy: &Option<Arc<TrafficPolicy>>) -> Option<&LocalityMode> {
    policy.as_ref()?.locality.as_ref()
}

/// An endpoint as the balancer sees it.
fn listed(endpoint: &Endpoint, place: &Place, standing: Standing) -> Listed {
    Listed {
        // The two types have one range.
        weight: Weight::new(endpoint.weight.number().into()).unwrap_or_default(),
        priority: standing.priority,
        distance: standing.distance,
        ..Listed::new(health(endpoint.health), HashKey::of_address(place.address))
    }
}

fn health(health: EndpointHealth) -> Health {
    match health {
        EndpointHealth::Ready => Health::Ready,
        EndpointHealth::NotReady => Health::NotReady,
        EndpointHealth::Draining => Health::Draining,
    }
}
