//! The application's ports: which may be asked for, what they speak, and what is counted for them.

use crate::connect::{Place, Security};
use crate::detect::Learned;
use crate::dial::Caller;
use crate::limit::InboundLimits;
use crate::pool::Origin;
use crate::snapshot::Pinned;
use crate::telemetry::{Direction, RouteSeries, ServiceSeries};
use crate::worker::Worker;
use mesh_names::{AppProtocol, Port};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// The ports of one worker.
#[derive(Debug, Default)]
pub(crate) struct InboundPorts(RefCell<HashMap<Port, Rc<InboundPort>>>);

/// One port of the application.
#[derive(Debug)]
pub(crate) struct InboundPort {
    pub(crate) port: Port,
    pub(crate) app_protocol: AppProtocol,
    pub(crate) origin: Rc<Origin>,
    /// Whether connections without a declared protocol needed the application.
    pub(crate) learned: Rc<Learned>,
    counted: RefCell<Counted>,
}

/// For which service requests to the port are counted, as of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    generation: u64,
    pub(crate) label: Arc<str>,
    pub(crate) series: Rc<RouteSeries>,
    pub(crate) bytes: Rc<ServiceSeries>,
    /// What is let in there; none: everything.
    pub(crate) limits: Option<Arc<InboundLimits>>,
}

impl InboundPorts {
    /// The port, if the workload has announced it.
    pub(crate) fn of(&self, worker: &Worker, port: Port) -> Option<Rc<InboundPort>> {
        if let Some(known) = self.0.borrow().get(&port) {
            return Some(known.clone());
        }
        let config = &worker.shared.config;
        let announced = config.ports.iter().find(|announced| announced.port == port)?;
        let place = application(SocketAddr::new(config.application, port.number()), None);
        let counted = RefCell::new(counted(worker, &worker.current.pin(), port));
        let origin = worker.origins.at(&place);
        let learned = Rc::new(config.families.connections.learned(Direction::Inbound));
        let app_protocol = announced.app_protocol;
        let known = Rc::new(InboundPort { port, app_protocol, origin, learned, counted });
        self.0.borrow_mut().insert(port, known.clone());
        Some(known)
    }
}

/// The application as a place: where it listens, and in whose name it is called.
pub(super) fn application(address: SocketAddr, caller: Option<Caller>) -> Place {
    Place { address, security: Security::Plaintext, direction: Direction::Inbound, caller }
}

impl InboundPort {
    /// The same port, called at `address` in the name of a caller. Its connections are not shared with other callers,
    /// and end with the last connection of this one.
    pub(super) fn called_by(&self, worker: &Worker, caller: Caller, address: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            port: self.port,
            app_protocol: self.app_protocol,
            origin: worker.origins.at(&application(address, Some(caller))),
            learned: self.learned.clone(),
            counted: self.counted.clone(),
        })
    }

    /// For which service a request is counted now.
    pub(crate) fn counted(&self, worker: &Worker) -> Counted {
        let pinned = worker.current.pin();
        let mut current = self.counted.borrow_mut();
        if current.generation != pinned.generation {
            *current = counted(worker, &pinned, self.port);
        }
        current.clone()
    }
}

/// The first of the services that lead to the port, by name; none before any does.
fn counted(worker: &Worker, pinned: &Pinned, port: Port) -> Counted {
    let workload = pinned.snapshot.workload.as_ref();
    let announced = workload.and_then(|workload| workload.ports.iter().find(|p| p.port == port));
    let service = announced.and_then(|port| port.services.iter().min());
    let label: Arc<str> = service.map(ToString::to_string).unwrap_or_default().into();
    Counted {
        generation: pinned.generation,
        series: worker.recorder.route(Direction::Inbound, &label, &"".into()),
        bytes: worker.recorder.service(Direction::Inbound, &label),
        label,
        limits: pinned.snapshot.limits.get(&port).cloned(),
    }
}
