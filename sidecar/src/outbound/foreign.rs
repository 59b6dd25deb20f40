//! A host that is perhaps no service's: whose it is. A service of that name wins; else the ExternalService that names the
//! host, or a domain above it; else what the way in says. The control plane is asked for what is not known, first of the
//! service, so that a request to one never asks for more.

use super::bound::BoundPort;
use super::external;
use crate::cluster;
use crate::refusal::{Reason, Refusal};
use crate::snapshot::{LastUsed, Pinned, ServiceState, ServiceView, Snapshot};
use crate::worker::{Patience, Worker};
use mesh_names::{Destination as Meaning, HostPattern, Namespace, ServiceName};
use mesh_protocol::external::ExternalService;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// A host, and what it may stand for.
#[derive(Debug)]
pub(super) struct Foreign {
    /// The service it would be.
    service: Option<ServiceName>,
    /// In lower case, without a dot at its end; none: it can be no host's name.
    host: Option<Arc<str>>,
    /// It lies within the mesh's domain: there is nobody else it could be.
    is_ours: bool,
    address: Option<IpAddr>,
    written: Box<str>,
    otherwise: Otherwise,
}

/// What becomes of a host that nobody knows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Otherwise {
    /// It is refused.
    Unknown,
    /// The connection goes where the application dialled, if egress is allowed.
    Dialled(SocketAddr),
}

/// What a host stands for.
#[derive(Debug)]
pub(super) enum Found {
    /// A service.
    Service(Arc<ServiceView>),
    /// A place outside, and when the answer was last used.
    External(Arc<ExternalService>, Arc<LastUsed>),
    /// Neither; in the control plane's words, if it would be a service.
    Nothing(Option<Arc<str>>),
}

/// What the control plane has not said yet.
#[derive(Debug)]
enum Missing {
    Service,
    /// With what it said of the service.
    Host(Option<Arc<str>>),
}

impl Foreign {
    /// Reads a host as it was written.
    pub(super) fn of_host(worker: &Worker, written: &str, otherwise: Otherwise) -> Self {
        let config = &worker.shared.config;
        let meaning = Meaning::of_host(written, &config.namespace, &config.mesh_domain);
        let (service, address) = match meaning {
            Meaning::Service(service) => (Some(service), None),
            Meaning::Address(address) => (None, Some(address)),
            Meaning::Foreign => (None, None),
        };
        let host = written.strip_suffix('.').unwrap_or(written).to_ascii_lowercase();
        let is_ours = host.strip_suffix(config.mesh_domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
        let is_host = host.parse::<HostPattern>().is_ok_and(|pattern| pattern.domain().is_none());
        let host = (is_host && !is_ours).then(|| host.into());
        Self { service, host, is_ours, address, written: written.into(), otherwise }
    }

    /// A TLS client's server name, which is never a service's.
    pub(super) fn of_server_name(worker: &Worker, name: &str, dialled: SocketAddr) -> Self {
        Self { service: None, ..Self::of_host(worker, name, Otherwise::Dialled(dialled)) }
    }

    /// The service it stands for, if it can stand for nothing else.
    pub(super) fn surely(&self) -> Option<ServiceName> {
        self.service.clone().filter(|_| self.is_ours)
    }

    /// The host, if it is one.
    pub(super) fn host(&self) -> Option<&Arc<str>> {
        self.host.as_ref()
    }

    /// The address the application dialled, if it did.
    pub(super) fn dialled(&self) -> Option<SocketAddr> {
        match self.otherwise {
            Otherwise::Dialled(dialled) => Some(dialled),
            Otherwise::Unknown => None,
        }
    }

    /// Finds out what it stands for. Waits for the control plane where that was never asked before, bounded, and while
    /// the control plane is away only for what nobody else can say.
    ///
    /// # Errors
    /// `discovery_timeout`, `not_ready`.
    pub(super) async fn find(&self, worker: &Worker) -> Result<(Rc<Pinned>, Found), Refusal> {
        let config = &worker.shared.config;
        let mut patience = Patience::default();
        loop {
            let changed = worker.current.changed();
            let pinned = worker.current.pin();
            let missing = match self.decide(&pinned.snapshot, &config.namespace) {
                Ok(found) => {
                    self.used(worker, &pinned.snapshot, &found);
                    return Ok((pinned, found));
                }
                Err(missing) => missing,
            };
            // While it is away too: it is told as soon as it is back.
            match (&missing, &self.service, &self.host) {
                (Missing::Service, Some(service), _) => config.demand.ask(service),
                (Missing::Host(_), _, Some(host)) => config.demand.ask_host(host),
                _ => true,
            };
            let is_told = pinned.snapshot.received;
            if is_told
                && !config.demand.is_heard()
                && let Some(found) = self.without(&missing, &pinned.snapshot, &config.namespace)
            {
                return Ok((pinned, found));
            }
            let until = worker.patience(&mut patience, &pinned);
            if tokio::time::timeout_at(until, changed).await.is_err() {
                // It is cut off, or has other things to do. Whoever comes next need not find out again, and who dialled
                // an address can do without its answer.
                if is_told {
                    config.demand.is_silent();
                }
                return match (self.otherwise, self.without(&missing, &pinned.snapshot, &config.namespace)) {
                    (Otherwise::Dialled(_), Some(found)) if is_told => Ok((pinned, found)),
                    (Otherwise::Unknown, Some(found @ Found::External(..))) => Ok((pinned, found)),
                    _ => Err(cluster::not_told(&pinned)),
                };
            }
        }
    }

    /// That nobody is called so is an answer too, and kept while it is used; of places and services, whoever calls them
    /// notes it.
    fn used(&self, worker: &Worker, snapshot: &Snapshot, found: &Found) {
        let answer =
            self.host.as_ref().and_then(|host| snapshot.external(host, &worker.shared.config.namespace));
        if let (Found::Nothing(_), Some(answer)) = (found, answer) {
            answer.last_used.touch(worker.nanos(Instant::now()).0 / 1_000_000_000);
        }
    }

    /// What it stands for by what is known.
    fn decide(&self, snapshot: &Snapshot, namespace: &Namespace) -> Result<Found, Missing> {
        let mut sentence = None;
        if let Some(service) = &self.service {
            match snapshot.service(service) {
                Some(ServiceState::Known(view)) => return Ok(Found::Service(view.clone())),
                Some(ServiceState::Missing(words)) => sentence = Some(words.clone()),
                None => return Err(Missing::Service),
            }
        }
        let Some(host) = &self.host else { return Ok(Found::Nothing(sentence)) };
        match snapshot.external(host, namespace).map(|answer| (answer.service, answer.last_used)) {
            None => Err(Missing::Host(sentence)),
            Some((Some(service), last_used)) => Ok(Found::External(service.clone(), last_used.clone())),
            Some((None, _)) => Ok(Found::Nothing(sentence)),
        }
    }

    /// What it is taken for if no answer comes; nothing: without the answer nothing can be done.
    fn without(&self, missing: &Missing, snapshot: &Snapshot, namespace: &Namespace) -> Option<Found> {
        let known = self.host.as_ref().and_then(|host| snapshot.external(host, namespace));
        if let Some((service, last_used)) = known.and_then(|answer| Some((answer.service?, answer.last_used)))
        {
            return Some(Found::External(service.clone(), last_used.clone()));
        }
        match (missing, self.otherwise) {
            (Missing::Host(sentence), _) => Some(Found::Nothing(sentence.clone())),
            (Missing::Service, Otherwise::Dialled(_)) => Some(Found::Nothing(None)),
            (Missing::Service, Otherwise::Unknown) => None,
        }
    }

    /// What becomes of it when nobody knows it.
    ///
    /// # Errors
    /// `unknown_host`, `egress_refused`.
    pub(super) fn otherwise(
        &self,
        worker: &Worker,
        pinned: &Pinned,
        sentence: Option<Arc<str>>,
    ) -> Result<Rc<BoundPort>, Refusal> {
        match self.otherwise {
            Otherwise::Dialled(dialled) => {
                external::may_leave(pinned, self.host.as_deref(), dialled)?;
                external::unregistered(worker, dialled)
            }
            Otherwise::Unknown => Err(self.unknown(worker, sentence)),
        }
    }

    fn unknown(&self, worker: &Worker, sentence: Option<Arc<str>>) -> Refusal {
        let (host, domain) = (&self.written, &worker.shared.config.mesh_domain);
        let sentence = match (sentence, self.address) {
            (Some(sentence), _) => sentence.to_string(),
            (None, Some(address)) => {
                format!("{address} is an address: call services by name, as in `orders.shop`")
            }
            (None, None) => format!(
                "`{host}` is no name of this mesh: services are `name.namespace.svc.{domain}`, `name.namespace` or \
                 `name`, and places outside have an ExternalService"
            ),
        };
        Refusal::because(Reason::UnknownHost, sentence)
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.otherwise {
            Otherwise::Dialled(dialled) if self.written.is_empty() => dialled.fmt(f),
            Otherwise::Dialled(_) | Otherwise::Unknown => f.write_str(&self.written),
        }
    }
}
