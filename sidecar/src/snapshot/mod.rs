//! What requests read: everything the control plane has said, compiled and immutable. The control thread builds it
//! ([`compile`] turns a service into what a request needs) and publishes it by `tokio::sync::watch`; each worker pins
//! one per request. Nothing inside a published snapshot changes but [`LastUsed`] and what is counted under a TrafficPolicy's
//! limits; connections, counters and budgets live in the workers. All of these are carried over by name.

mod address;
mod build;
mod current;
mod external;
mod faults;
mod locality;
mod policy;

pub use address::{AddressState, AddressView, Registered};
pub use build::{CompileError, PortError, compile};
pub(crate) use current::{Current, Pinned};
pub use external::{ExternalAnswer, ExternalHosts};
pub use faults::{Fault, Faults};
pub(crate) use locality::{Standing, kept_in, standing};
pub use policy::{Affinity, OfSource, PolicyError, TrafficPolicy};

use crate::limit::InboundLimitsByPort;
use crate::route::RouteTable;
use mesh_names::{AppProtocol, Namespace, Port, ServiceName};
use mesh_protocol::endpoint::Endpoint;
use mesh_protocol::health::HealthCheck;
use mesh_protocol::mesh::Mesh;
use mesh_protocol::workload::Workload;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Everything the control plane has said so far, as requests read it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The control plane's revision, for people.
    pub revision: String,
    /// Every service subscribed to, by name.
    pub services: HashMap<ServiceName, ServiceState>,
    /// What is at every address asked for.
    pub addresses: Arc<HashMap<IpAddr, AddressView>>,
    /// Which of the services has a virtual address: whoever has a service's addresses from DNS need not ask what is there.
    pub owners: Arc<HashMap<IpAddr, ServiceName>>,
    /// What every host asked for is.
    pub hosts: Arc<ExternalHosts>,
    /// What holds for every sidecar, the egress policy for one; nothing until the control plane has said it.
    pub mesh: Option<Arc<Mesh>>,
    /// This sidecar's own workload, once the control plane has confirmed it.
    pub workload: Option<Arc<Workload>>,
    /// What is let in at its ports.
    pub limits: Arc<InboundLimitsByPort>,
    /// Whether anything was received yet, from the control plane or from disk.
    pub received: bool,
}

/// What is known about a service that was asked for.
#[derive(Debug, Clone)]
pub enum ServiceState {
    /// It exists.
    Known(Arc<ServiceView>),
    /// It does not, in the control plane's own sentence, which names what is nearest.
    Missing(Arc<str>),
}

/// A service that exists.
#[derive(Debug)]
pub struct ServiceView {
    /// Its ports and routes.
    pub service: Arc<CompiledService>,
    /// Its endpoints, whatever their health; one without a sidecar that was found not well is not ready. The same `Arc` as long as nothing in it changes.
    pub endpoints: Arc<[Arc<Endpoint>]>,
    /// Whether the endpoints were received yet; until then an empty list means "not known".
    pub endpoints_known: bool,
    /// When a worker last used it; carried over from view to view.
    pub last_used: Arc<LastUsed>,
}

/// When something was last used, in seconds since the sidecar started. Written by workers, at most once a second each.
#[derive(Debug, Default)]
pub struct LastUsed(AtomicU64);

impl LastUsed {
    /// Marks it as used at `second`.
    pub fn touch(&self, second: u64) {
        // Read first: a store on every request would make the cache line bounce between the workers.
        if self.0.load(Ordering::Relaxed) < second {
            self.0.store(second, Ordering::Relaxed);
        }
    }

    /// The second it was last used in, 0 if never.
    pub fn second(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A service with its routes compiled.
#[derive(Debug)]
pub struct CompiledService {
    /// Which one.
    pub name: ServiceName,
    /// Its ports, each number once.
    pub ports: Vec<CompiledPort>,
    /// Addresses that stand for it: what DNS answers, and what captured connections are recognised by. None: it is
    /// headless, or has not been given any yet.
    pub virtual_addresses: Vec<IpAddr>,
}

/// A port of a service.
#[derive(Debug)]
pub struct CompiledPort {
    /// The number callers use.
    pub port: Port,
    /// Its name in the manifest; may be empty.
    pub name: String,
    /// What is spoken there.
    pub app_protocol: AppProtocol,
    /// Where requests go.
    pub routes: RouteTable,
    /// How requests are spread over the endpoints; none: by the balancer's defaults.
    pub policy: Option<Arc<TrafficPolicy>>,
}

impl CompiledPort {
    /// How endpoints without a sidecar are asked whether they are well.
    pub fn health_check(&self) -> Option<&HealthCheck> {
        self.policy.as_ref()?.health_check.as_ref()
    }
}

impl CompiledService {
    /// The port with this number.
    pub fn port(&self, port: Port) -> Option<&CompiledPort> {
        self.ports.iter().find(|p| p.port == port)
    }

    /// What is counted under the limits of this service as it was before counts under its limits as they are now. To be
    /// called before anybody else has it.
    pub fn carry_over(&mut self, before: &Self) {
        for port in &mut self.ports {
            let before = before.port(port.port).and_then(|port| port.policy.as_ref());
            if let (Some(policy), Some(before)) = (port.policy.as_mut().and_then(Arc::get_mut), before) {
                policy.carry_over(before);
            }
        }
    }
}

impl Snapshot {
    /// What is known about `service`; nothing if it was never asked for or no answer has come.
    pub fn service(&self, service: &ServiceName) -> Option<&ServiceState> {
        self.services.get(service)
    }

    /// The ExternalService a workload in `namespace` means by `host` (in lower case, without a dot at its end): of the
    /// narrowest pattern that any names, its own namespace's, else the oldest. Nothing if the host was never asked for or
    /// not all answers have come. Whoever acts on the answer touches its `last_used`, or it is let go in time.
    pub fn external(&self, host: &str, namespace: &Namespace) -> Option<ExternalAnswer<'_>> {
        self.hosts.answer(host, namespace)
    }

    /// What is known of `address`; nothing if it was never asked for or no answer has come. An IPv4 address mapped into
    /// IPv6 is the IPv4 address. Whoever acts on the answer touches [`AddressView::last_used`], or it is let go in time.
    pub fn address(&self, address: IpAddr) -> Option<&AddressView> {
        self.addresses.get(&address.to_canonical())
    }

    /// The service, of those asked for, whose virtual address this is. An IPv4 address mapped into IPv6 is the IPv4
    /// address.
    pub fn owner(&self, address: IpAddr) -> Option<&ServiceName> {
        self.owners.get(&address.to_canonical())
    }
}
