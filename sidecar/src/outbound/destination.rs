//! From what a client wrote as host to the port of a service, and from there to everything a request needs: routes,
//! clusters, series. Both steps are remembered, so that a request for a known host costs one look-up and no allocation.

use super::entry::{Entry, Target};
use crate::cluster::{self, Cluster};
use crate::deadline;
use crate::http::authority;
use crate::refusal::{Reason, Refusal};
use crate::snapshot::{CompiledPort, CompiledService, LastUsed, ServiceState, ServiceView};
use crate::telemetry::{Direction, RouteSeries, ServiceSeries};
use crate::worker::Worker;
use http::HeaderValue;
use http::uri::Authority;
use mesh_names::Destination as Meaning;
use mesh_names::{AppProtocol, Port, ServiceName};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// Hosts remembered per entry. An application has dozens; at the limit all are forgotten and remembered anew, which
/// costs each its parsing once.
const HOSTS_MAX: usize = 4096;

/// The port of a host that gives none.
const HTTP_PORT: u16 = 80;

/// Everything remembered.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    ports: RefCell<Ports>,
}

/// What hosts mean at one entry, by the authority's bytes.
pub(super) type Hosts = HashMap<Box<[u8]>, Rc<Destination>>;

/// By the port asked for, if one was.
type Ports = HashMap<(ServiceName, Option<Port>), Rc<BoundPort>>;

/// What a host means.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) service: ServiceName,
    pub(crate) port: Option<Port>,
    /// As HTTP/2 carries it.
    pub(crate) authority: Authority,
    /// As HTTP/1 carries it.
    pub(crate) host: HeaderValue,
    bound: RefCell<Option<(u64, Rc<BoundPort>)>>,
}

/// A service's port with what requests to it need from this worker.
#[derive(Debug)]
pub(crate) struct BoundPort {
    service: Arc<CompiledService>,
    place: usize,
    /// `namespace/name`, for metrics.
    pub(crate) label: Arc<str>,
    last_used: Arc<LastUsed>,
    pub(crate) bytes: Rc<ServiceSeries>,
    /// For requests that fall under no rule.
    pub(crate) itself: Rc<RouteSeries>,
    /// The service's own endpoints.
    pub(crate) cluster: Rc<Cluster>,
    /// Beside the table's rules.
    pub(crate) rules: Vec<BoundRule>,
}

/// A rule with this worker's part of it.
#[derive(Debug)]
pub(crate) struct BoundRule {
    pub(crate) series: Rc<RouteSeries>,
    /// Beside the rule's backends.
    pub(crate) clusters: Vec<Rc<Cluster>>,
}

impl Destinations {
    /// What `authority`, as a client of `entry` wrote it, means; `authority` was checked by `http::normalise`.
    ///
    /// # Errors
    /// `unknown_host` if it can be no service of the mesh, `bad_request` if there is none and one is needed.
    pub(crate) fn of(
        worker: &Worker,
        entry: &Entry,
        authority: Option<&HeaderValue>,
    ) -> Result<Rc<Destination>, Refusal> {
        let bytes = authority.map_or(&b""[..], HeaderValue::as_bytes);
        if let Some(known) = entry.hosts.borrow().get(bytes) {
            return Ok(known.clone());
        }
        let destination = Rc::new(meaning(worker, entry, authority)?);
        let mut hosts = entry.hosts.borrow_mut();
        if hosts.len() >= HOSTS_MAX {
            hosts.clear();
        }
        hosts.insert(bytes.into(), destination.clone());
        Ok(destination)
    }

    /// Forgets what the snapshot no longer has.
    pub(crate) fn sweep(&self, pinned: &crate::snapshot::Pinned) {
        self.ports.borrow_mut().retain(|(service, _), _| pinned.snapshot.service(service).is_some());
    }
}

fn meaning(worker: &Worker, entry: &Entry, authority: Option<&HeaderValue>) -> Result<Destination, Refusal> {
    let shared = &worker.shared;
    let parsed = authority.and_then(|value| authority::parse(value.as_bytes()).ok());
    let (service, port) = match &entry.target {
        Target::Service(service, port) => (service.clone(), Some(*port)),
        Target::Nowhere(refusal) => return Err(refusal.clone()),
        Target::Host => {
            let Some(parts) = parsed else {
                let sentence = "the request has no Host field, so it is unknown where to send it";
                return Err(Refusal::because(Reason::BadRequest, sentence));
            };
            let config = &shared.config;
            match Meaning::of_host(parts.host, &config.namespace, &config.mesh_domain) {
                Meaning::Service(service) => (service, parts.port.and_then(Port::new)),
                Meaning::Address(address) => {
                    let sentence =
                        format!("{address} is an address: call services by name, as in `orders.shop`");
                    return Err(Refusal::because(Reason::UnknownHost, sentence));
                }
                Meaning::Foreign => {
                    let domain = &config.mesh_domain;
                    let host = parts.host;
                    return Err(Refusal::because(
                        Reason::UnknownHost,
                        format!(
                            "`{host}` is no name of this mesh: services are `name.namespace.svc.{domain}`, \
                                 `name.namespace` or `name`"
                        ),
                    ));
                }
            }
        }
    };
    let host = match authority {
        Some(authority) => authority.clone(),
        None => HeaderValue::try_from(format!("{}.{}", service.name, service.namespace))
            .map_err(|error| Refusal::new(Reason::BadRequest).caused_by(error))?,
    };
    let authority = Authority::try_from(host.as_bytes())
        .map_err(|error| Refusal::new(Reason::BadRequest).caused_by(error))?;
    Ok(Destination { service, port, authority, host, bound: RefCell::new(None) })
}

impl Destination {
    /// The service's port as it is now. Waits for the control plane where the service was never used before.
    ///
    /// # Errors
    /// `unknown_host`, `unknown_port`, `discovery_timeout`, `not_ready`.
    pub(crate) async fn bind(&self, worker: &Rc<Worker>) -> Result<Rc<BoundPort>, Refusal> {
        if let Some((generation, bound)) = &*self.bound.borrow()
            && *generation == worker.current.pin().generation
        {
            return Ok(bound.clone());
        }
        let (generation, view) = self.view(worker).await?;
        let (place, port) = choose_port(&view.service, self.port)?;
        let mut ports = worker.destinations.ports.borrow_mut();
        let known = ports.get(&(self.service.clone(), self.port));
        let bound = match known.filter(|bound| Arc::ptr_eq(&bound.service, &view.service)) {
            Some(bound) => bound.clone(),
            None => {
                let bound = Rc::new(BoundPort::new(worker, &view, place, port));
                ports.insert((self.service.clone(), self.port), bound.clone());
                bound
            }
        };
        *self.bound.borrow_mut() = Some((generation, bound.clone()));
        Ok(bound)
    }

    async fn view(&self, worker: &Worker) -> Result<(u64, Arc<ServiceView>), Refusal> {
        let mut patience = None;
        loop {
            let changed = worker.current.changed();
            let pinned = worker.current.pin();
            match pinned.snapshot.service(&self.service) {
                Some(ServiceState::Known(view)) => return Ok((pinned.generation, view.clone())),
                Some(ServiceState::Missing(sentence)) => {
                    return Err(Refusal::because(Reason::UnknownHost, sentence.to_string()));
                }
                None => {}
            }
            worker.shared.config.demand.ask(&self.service);
            let until = *patience.get_or_insert_with(|| Instant::now() + deadline::DISCOVERY);
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return Err(cluster::not_told(&pinned));
            }
        }
    }
}

/// The port asked for; without one 80, or the only one there is.
fn choose_port(service: &CompiledService, port: Option<Port>) -> Result<(usize, Port), Refusal> {
    let wanted = port.or_else(|| Port::new(HTTP_PORT));
    let found = service.ports.iter().position(|p| Some(p.port) == wanted);
    let place = found.or((port.is_none() && service.ports.len() == 1).then_some(0));
    if let Some((place, chosen)) = place.and_then(|place| Some((place, service.ports.get(place)?))) {
        return Ok((place, chosen.port));
    }
    let ports: Vec<String> = service.ports.iter().map(|p| p.port.to_string()).collect();
    let ports = ports.join(", ");
    let name = &service.name;
    let sentence = match port {
        Some(port) => format!("the service {name} has no port {port}; it has {ports}"),
        None => format!("the service {name} has no port 80: give one of its ports, {ports}"),
    };
    Err(Refusal::because(Reason::UnknownPort, sentence))
}

impl BoundPort {
    fn new(worker: &Worker, view: &ServiceView, place: usize, port: Port) -> Self {
        let service = view.service.clone();
        let label: Arc<str> = service.name.to_string().into();
        let recorder = &worker.recorder;
        let rules = service.ports.get(place).map(|p| p.routes.rules()).unwrap_or_default();
        let rules = rules.iter().map(|rule| BoundRule {
            series: recorder.route(Direction::Outbound, &label, &rule.route),
            clusters: rule.backends.iter().map(|b| worker.clusters.of(worker, &b.service, b.port)).collect(),
        });
        let rules = rules.collect();
        Self {
            bytes: recorder.service(Direction::Outbound, &label),
            itself: recorder.route(Direction::Outbound, &label, &"".into()),
            cluster: worker.clusters.of(worker, &service.name, port),
            last_used: view.last_used.clone(),
            label,
            rules,
            place,
            service,
        }
    }

    /// The port.
    pub(crate) fn port(&self) -> Option<&CompiledPort> {
        self.service.ports.get(self.place)
    }

    /// What is spoken there.
    pub(crate) fn app_protocol(&self) -> AppProtocol {
        self.port().map(|port| port.app_protocol).unwrap_or_default()
    }

    /// Notes that it is used.
    pub(crate) fn touch(&self, second: u64) {
        self.last_used.touch(second);
    }
}
