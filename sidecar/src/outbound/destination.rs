//! From what a client wrote as host to the port of a service, or of a place outside of the mesh, and from there to
//! everything a request needs: routes, clusters, series. Both steps are remembered, so that a request for a known host
//! costs one look-up and no allocation.

use super::bound::BoundPort;
use super::entry::{Entry, Target};
use super::external;
use super::foreign::{Foreign, Found, Otherwise};
use crate::cluster;
use crate::http::authority;
use crate::refusal::{Reason, Refusal};
use crate::snapshot::{CompiledService, ServiceState, ServiceView};
use crate::worker::{Patience, Worker};
use http::HeaderValue;
use http::uri::Authority;
use mesh_names::{Port, ServiceName};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

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
    means: Means,
    port: Option<Port>,
    /// As HTTP/2 carries it.
    pub(crate) authority: Authority,
    /// As HTTP/1 carries it.
    pub(crate) host: HeaderValue,
    bound: RefCell<Option<(u64, Rc<BoundPort>)>>,
}

/// What it stands for.
#[derive(Debug)]
enum Means {
    /// This service and nothing else.
    Service(ServiceName),
    /// A service if there is one of this name, else a place outside if there is one.
    Host(Foreign),
    /// This one place, whatever the host says.
    Place(Rc<BoundPort>),
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
    let parsed = authority.and_then(|value| authority::parse(value.as_bytes()).ok());
    let (means, port) = match &entry.target {
        Target::Service(service, port) => (Means::Service(service.clone()), Some(*port)),
        Target::Nowhere(refusal) => return Err(refusal.clone()),
        Target::Place(bound) => (Means::Place(bound.clone()), None),
        Target::Dialled(dialled) => {
            let host = parsed.map(|parts| parts.host).unwrap_or_default();
            let foreign = Foreign::of_host(worker, host, Otherwise::Dialled(*dialled));
            (Means::Host(foreign), Port::new(dialled.port()))
        }
        Target::Host => {
            let Some(parts) = parsed else {
                let sentence = "the request has no Host field, so it is unknown where to send it";
                return Err(Refusal::because(Reason::BadRequest, sentence));
            };
            let foreign = Foreign::of_host(worker, parts.host, Otherwise::Unknown);
            (foreign.surely().map_or(Means::Host(foreign), Means::Service), parts.port.and_then(Port::new))
        }
    };
    let host = match (authority, &means) {
        (Some(authority), _) => authority.clone(),
        (None, Means::Service(service)) => header(format!("{}.{}", service.name, service.namespace))?,
        (None, Means::Place(bound)) => header(bound.host().to_owned())?,
        (None, Means::Host(foreign)) => header(foreign.to_string())?,
    };
    let authority = Authority::try_from(host.as_bytes())
        .map_err(|error| Refusal::new(Reason::BadRequest).caused_by(error))?;
    Ok(Destination { means, port, authority, host, bound: RefCell::new(None) })
}

fn header(text: String) -> Result<HeaderValue, Refusal> {
    HeaderValue::try_from(text).map_err(|error| Refusal::new(Reason::BadRequest).caused_by(error))
}

impl Destination {
    /// The port as it is now. Waits for the control plane where the host was never used before.
    ///
    /// # Errors
    /// `unknown_host`, `unknown_port`, `invalid_backend`, `egress_refused`, `discovery_timeout`, `not_ready`.
    pub(crate) async fn bind(&self, worker: &Rc<Worker>) -> Result<Rc<BoundPort>, Refusal> {
        if let Some((generation, bound)) = &*self.bound.borrow()
            && *generation == worker.current.pin().generation
        {
            return Ok(bound.clone());
        }
        // Boxed, as it happens once after each change of the configuration.
        let (generation, bound) = Box::pin(self.bind_anew(worker)).await?;
        *self.bound.borrow_mut() = Some((generation, bound.clone()));
        Ok(bound)
    }

    async fn bind_anew(&self, worker: &Rc<Worker>) -> Result<(u64, Rc<BoundPort>), Refusal> {
        let foreign = match &self.means {
            Means::Place(bound) => return Ok((worker.current.pin().generation, bound.clone())),
            Means::Service(service) => {
                let (generation, view) = view(worker, service).await?;
                return Ok((generation, self.of_service(worker, &view)?));
            }
            Means::Host(foreign) => foreign,
        };
        let (pinned, found) = foreign.find(worker).await?;
        let bound = match found {
            Found::Service(view) => self.of_service(worker, &view)?,
            Found::External(service, last_used) => {
                let known = self.bound.borrow();
                match known.as_ref().filter(|(_, bound)| bound.is_of(&service)) {
                    Some((_, bound)) => bound.clone(),
                    None => external::of_host(worker, &pinned, foreign, self.port, &service, &last_used)?,
                }
            }
            Found::Nothing(sentence) => foreign.otherwise(worker, &pinned, sentence)?,
        };
        Ok((pinned.generation, bound))
    }

    fn of_service(&self, worker: &Worker, view: &ServiceView) -> Result<Rc<BoundPort>, Refusal> {
        let (place, port) = choose_port(&view.service, self.port)?;
        let mut ports = worker.destinations.ports.borrow_mut();
        let key = (view.service.name.clone(), self.port);
        let known = ports.get(&key);
        if let Some(bound) = known.filter(|bound| bound.is_service(&view.service)) {
            return Ok(bound.clone());
        }
        let bound = Rc::new(BoundPort::of_service(worker, view, place, port));
        ports.insert(key, bound.clone());
        Ok(bound)
    }
}

/// The service as it is now. Waits for the control plane where it was never used before.
async fn view(worker: &Worker, service: &ServiceName) -> Result<(u64, Arc<ServiceView>), Refusal> {
    let mut patience = Patience::default();
    loop {
        let changed = worker.current.changed();
        let pinned = worker.current.pin();
        match pinned.snapshot.service(service) {
            Some(ServiceState::Known(view)) => return Ok((pinned.generation, view.clone())),
            Some(ServiceState::Missing(sentence)) => {
                return Err(Refusal::because(Reason::UnknownHost, sentence.to_string()));
            }
            None => {}
        }
        worker.shared.config.demand.ask(service);
        let until = worker.patience(&mut patience, &pinned);
        if tokio::time::timeout_at(until, changed).await.is_err() {
            return Err(cluster::not_told(&pinned));
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
