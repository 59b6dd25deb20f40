//! By which way requests come in, and what that says of where they go: at the proxy port the host decides, at an
//! upstream's port and for a captured connection it is one port of one service, whatever the host says.

use super::bound::BoundPort;
use super::destination::Hosts;
use crate::listen::Upstream;
use crate::refusal::Refusal;
use mesh_names::{Port, ServiceName};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

/// One way in, and the hosts that were asked for there.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) target: Target,
    pub(super) hosts: RefCell<Hosts>,
}

/// What a way in says of where requests go.
#[derive(Debug)]
pub(super) enum Target {
    /// Nothing: the host decides.
    Host,
    /// There, whatever the host says.
    Service(ServiceName, Port),
    /// Nowhere: whatever is asked is refused like this.
    Nowhere(Refusal),
    /// To this place outside of the mesh, whatever the host says.
    Place(Rc<BoundPort>),
    /// The host decides; if nobody knows it, where the application dialled.
    Dialled(SocketAddr),
}

/// All ways in of a worker.
#[derive(Debug)]
pub(crate) struct Entries {
    proxy: Rc<Entry>,
    upstreams: Vec<Rc<Entry>>,
    /// Ports of services that captured connections were opened to. As many as the sidecar may ask for services.
    captured: RefCell<HashMap<(ServiceName, Port), Rc<Entry>>>,
}

impl Entry {
    fn to(target: Target) -> Rc<Self> {
        Rc::new(Self { target, hosts: RefCell::default() })
    }

    /// Whether this is the proxy port.
    pub(super) fn is_proxy(&self) -> bool {
        matches!(self.target, Target::Host)
    }

    /// The address the application dialled, where nobody knows it.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self.target {
            Target::Dialled(dialled) => Some(dialled),
            Target::Host | Target::Service(..) | Target::Nowhere(_) | Target::Place(_) => None,
        }
    }

    /// For a captured connection to a place outside of the mesh that is known by its address.
    pub(super) fn place(bound: Rc<BoundPort>) -> Rc<Self> {
        Self::to(Target::Place(bound))
    }

    /// For a captured connection to an address that nobody knows.
    pub(super) fn dialled(address: SocketAddr) -> Rc<Self> {
        Self::to(Target::Dialled(address))
    }

    /// For a connection that is refused: if it speaks HTTP, it is told why.
    pub(super) fn nowhere(refusal: Refusal) -> Rc<Self> {
        Self::to(Target::Nowhere(refusal))
    }
}

impl Entries {
    pub(crate) fn new(upstreams: &[Upstream]) -> Self {
        let upstreams = upstreams.iter().map(|upstream| {
            let target = Target::Service(upstream.service.clone(), upstream.port);
            Entry::to(target)
        });
        Self { proxy: Entry::to(Target::Host), upstreams: upstreams.collect(), captured: RefCell::default() }
    }

    /// The proxy port.
    pub(crate) fn proxy(&self) -> Rc<Entry> {
        self.proxy.clone()
    }

    /// The upstreams, in the order of the configuration.
    pub(crate) fn upstreams(&self) -> &[Rc<Entry>] {
        &self.upstreams
    }

    /// Captured connections to a service's port.
    pub(super) fn captured(&self, service: &ServiceName, port: Port) -> Rc<Entry> {
        let mut captured = self.captured.borrow_mut();
        let target = || Entry::to(Target::Service(service.clone(), port));
        captured.entry((service.clone(), port)).or_insert_with(target).clone()
    }

    /// Forgets what no connection uses.
    pub(crate) fn sweep(&self) {
        self.captured.borrow_mut().retain(|_, entry| Rc::strong_count(entry) > 1);
    }
}
