//! The port of a service, or of a place outside of the mesh, with what requests to it need from this worker: routes,
//! clusters, series. Made when it is first needed and after each change of its service; requests only read it.

use crate::cluster::{Cluster, Outside};
use crate::snapshot::{CompiledPort, CompiledService, LastUsed, ServiceView};
use crate::telemetry::{Direction, RouteSeries, ServiceSeries};
use crate::worker::Worker;
use mesh_names::{AppProtocol, Port};
use mesh_protocol::external::ExternalService;
use std::rc::Rc;
use std::sync::Arc;

/// A port with what requests to it need from this worker.
#[derive(Debug)]
pub(crate) struct BoundPort {
    what: What,
    /// `namespace/name`, for metrics.
    pub(crate) label: Arc<str>,
    last_used: Arc<LastUsed>,
    pub(crate) bytes: Rc<ServiceSeries>,
    /// For requests no rule is for.
    pub(crate) itself: Rc<RouteSeries>,
    /// For services without routes, and for opaque connections.
    pub(crate) cluster: Rc<Cluster>,
    /// Beside the table's rules.
    pub(crate) rules: Vec<BoundRule>,
}

/// What a port belongs to.
#[derive(Debug)]
enum What {
    Service { service: Arc<CompiledService>, place: usize },
    Outside(Box<Beyond>),
}

/// A port of a place outside of the mesh.
#[derive(Debug)]
pub(super) struct Beyond {
    /// The ExternalService; none: the place is not registered, and egress is allowed.
    pub(super) service: Option<Arc<ExternalService>>,
    /// What is spoken there.
    pub(super) protocol: AppProtocol,
    /// The host for requests that name none.
    pub(super) host: String,
    /// When it was last used, as the control thread wants to know.
    pub(super) last_used: Arc<LastUsed>,
}

/// A rule with this worker's part of it.
#[derive(Debug)]
pub(crate) struct BoundRule {
    pub(crate) series: Rc<RouteSeries>,
    /// Beside the rule's backends.
    pub(crate) clusters: Vec<Rc<Cluster>>,
}

impl BoundPort {
    /// A service's port.
    pub(super) fn of_service(worker: &Worker, view: &ServiceView, place: usize, port: Port) -> Self {
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
            what: What::Service { service, place },
        }
    }

    /// A port of a place outside of the mesh.
    pub(super) fn outside(worker: &Worker, outside: Outside, beyond: Beyond) -> Self {
        let label = outside.name.clone();
        let recorder = &worker.recorder;
        Self {
            bytes: recorder.service(Direction::Outbound, &label),
            itself: recorder.route(Direction::Outbound, &label, &"".into()),
            cluster: worker.clusters.outside(worker, outside),
            last_used: beyond.last_used.clone(),
            label,
            rules: Vec::new(),
            what: What::Outside(Box::new(beyond)),
        }
    }

    /// The port, if it is a service's.
    pub(crate) fn port(&self) -> Option<&CompiledPort> {
        match &self.what {
            What::Service { service, place } => service.ports.get(*place),
            What::Outside(_) => None,
        }
    }

    /// What is spoken there.
    pub(crate) fn app_protocol(&self) -> AppProtocol {
        match &self.what {
            What::Service { .. } => self.port().map(|port| port.app_protocol).unwrap_or_default(),
            What::Outside(beyond) => beyond.protocol,
        }
    }

    /// The host for requests that name none.
    pub(super) fn host(&self) -> &str {
        match &self.what {
            What::Service { service, .. } => service.name.name.as_str(),
            What::Outside(beyond) => &beyond.host,
        }
    }

    /// Whether it is a port of this service, as it is now.
    pub(super) fn is_service(&self, other: &Arc<CompiledService>) -> bool {
        matches!(&self.what, What::Service { service, .. } if Arc::ptr_eq(service, other))
    }

    /// Whether it is a port of this ExternalService, as it is now.
    pub(super) fn is_of(&self, other: &Arc<ExternalService>) -> bool {
        match &self.what {
            What::Service { .. } => false,
            What::Outside(beyond) => beyond.service.as_ref().is_some_and(|known| Arc::ptr_eq(known, other)),
        }
    }

    /// Notes that it is used.
    pub(crate) fn touch(&self, second: u64) {
        self.last_used.touch(second);
    }
}
