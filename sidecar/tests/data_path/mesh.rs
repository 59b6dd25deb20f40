//! A mesh without a control plane: a CA, sidecars on port 0, and snapshots published by hand.

use mesh_mtls::{Identity, PrivateKey, Svid, TrustBundle};
use mesh_names::{AppProtocol, Port, ServiceName, SpiffeId};
use mesh_process::Drain;
use mesh_protocol::endpoint::{Endpoint, EndpointHealth, EndpointPort, Transport};
use mesh_protocol::service::{RouteMatch, RouteRule, Service, ServicePort};
use mesh_protocol::workload::WorkloadPort;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use sidecar::demand;
use sidecar::resolve::{Answer, LookUp, resolver};
use sidecar::snapshot::{ServiceState, ServiceView, Snapshot, compile};
use sidecar::telemetry::{DataFamilies, ResolveMetrics};
use sidecar::worker::{AccessLog, Addresses, Mailboxes, Upstream, WorkerConfig, Workers, bind, spawn};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) fn any() -> SocketAddr {
    SocketAddr::new(LOCAL, 0)
}

pub(crate) fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

/// A certificate authority.
pub(crate) struct Ca {
    root: CertificateParams,
    key: KeyPair,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { root, key: KeyPair::generate().unwrap() }
    }

    pub(crate) fn identity(&self, account: &str) -> Identity {
        self.identity_with(account, &[])
    }

    /// The root's certificate in DER.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.root.clone().self_signed(&self.key).unwrap().der().to_vec()
    }

    /// An identity whose certificate is for host names too.
    pub(crate) fn identity_with(&self, account: &str, hosts: &[&str]) -> Identity {
        let identity = Identity::new(TrustBundle::from_der([self.certificate()]).unwrap());
        let key = PrivateKey::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id(account).to_string().try_into().unwrap())];
        params
            .subject_alt_names
            .extend(hosts.iter().map(|host| SanType::DnsName((*host).try_into().unwrap())));
        let pair = KeyPair::from_pem(&key.to_pem()).unwrap();
        let leaf = params.signed_by(&pair, &Issuer::new(self.root.clone(), &self.key)).unwrap();
        identity.set_svid(Svid::new([leaf.der().to_vec()], key).unwrap());
        identity
    }
}

pub(crate) fn id(account: &str) -> SpiffeId {
    format!("spiffe://mesh.internal/ns/shop/sa/{account}").parse().unwrap()
}

/// One sidecar.
pub(crate) struct Sidecar {
    pub(crate) outbound: SocketAddr,
    pub(crate) inbound: SocketAddr,
    pub(crate) upstreams: Vec<SocketAddr>,
    pub(crate) drain: Drain,
    pub(crate) demands: demand::Demands,
    snapshots: watch::Sender<Arc<Snapshot>>,
    registry: prometheus::Registry,
    mailboxes: Mailboxes,
    workers: Option<Workers>,
    account: String,
    _stop: DropGuard,
}

/// How to start one.
pub(crate) struct Plan<'a> {
    pub(crate) account: &'a str,
    pub(crate) ports: Vec<(SocketAddr, AppProtocol)>,
    pub(crate) upstreams: Vec<(&'a str, u16)>,
    pub(crate) workers: usize,
    pub(crate) dns: HashMap<&'static str, Answer>,
}

/// DNS as it is written down; a name that is not is one that does not exist.
#[derive(Clone)]
struct Dns(HashMap<&'static str, Answer>);

impl LookUp for Dns {
    async fn look_up(&self, name: Arc<str>) -> Answer {
        self.0.get(&*name).cloned().unwrap_or(Answer::None(None))
    }
}

impl<'a> Plan<'a> {
    pub(crate) fn new(account: &'a str) -> Self {
        Self { account, ports: vec![], upstreams: vec![], workers: 1, dns: HashMap::new() }
    }

    pub(crate) fn serving(mut self, application: SocketAddr, protocol: AppProtocol) -> Self {
        self.ports.push((application, protocol));
        self
    }

    pub(crate) fn upstream(mut self, service: &'a str, port: u16) -> Self {
        self.upstreams.push((service, port));
        self
    }

    pub(crate) fn knowing(mut self, name: &'static str, answer: Answer) -> Self {
        self.dns.insert(name, answer);
        self
    }

    pub(crate) fn start(self, ca: &Ca) -> Sidecar {
        let upstreams: Vec<Upstream> = self
            .upstreams
            .iter()
            .map(|(s, p)| Upstream { service: s.parse().unwrap(), port: port(*p), address: any() })
            .collect();
        let workers = NonZeroUsize::new(self.workers).unwrap();
        let listeners = bind(&Addresses { upstreams, ..Addresses::default() }, workers).unwrap();
        let (outbound, inbound) = (listeners.outbound, listeners.inbound);
        let upstreams = listeners.upstreams.iter().map(|u| u.address).collect();
        let (snapshots, receiver) =
            watch::channel(Arc::new(Snapshot { received: true, ..Default::default() }));
        let (demand, demands) = demand::channel();
        let registry = prometheus::Registry::new();
        let drain = Drain::new();
        let metrics = ResolveMetrics::register(&registry).unwrap();
        let (names, resolver) = resolver(Dns(self.dns), metrics, tokio::time::Instant::now());
        let stop = CancellationToken::new();
        tokio::spawn(resolver.run(stop.clone()));
        let ports = self.ports.iter().map(|(address, app_protocol)| WorkloadPort {
            port: port(address.port()),
            name: String::new(),
            app_protocol: *app_protocol,
            services: vec![],
            health_checks: vec![],
        });
        let config = WorkerConfig {
            namespace: "shop".parse().unwrap(),
            source: Default::default(),
            mesh_domain: Default::default(),
            trust_domain: Default::default(),
            ports: ports.collect(),
            application: LOCAL,
            identity: ca.identity(self.account),
            snapshots: receiver,
            demand,
            names,
            dial: Default::default(),
            drain: drain.signal(),
            outbound_drain: drain.signal(),
            handed_over: mesh_process::Drain::new().signal(),
            families: DataFamilies::register(&registry).unwrap(),
            access_log: AccessLog::Off,
        };
        let workers = spawn(config, listeners).unwrap();
        Sidecar {
            outbound,
            inbound,
            upstreams,
            drain,
            demands,
            snapshots,
            registry,
            mailboxes: workers.mailboxes(),
            workers: Some(workers),
            account: self.account.to_owned(),
            _stop: stop.drop_guard(),
        }
    }
}

impl Sidecar {
    /// An endpoint of a service that is served by this sidecar's application on `target`.
    pub(crate) fn endpoint(&self, service: &str, service_port: u16, target: SocketAddr) -> Endpoint {
        let transport =
            Transport::MutualTls { inbound_port: port(self.inbound.port()), identity: id(&self.account) };
        endpoint(service, service_port, target, transport)
    }

    pub(crate) fn publish(&self, services: Vec<(Service, Vec<Endpoint>)>) {
        let services = services.into_iter().map(|(service, endpoints)| {
            let name = service.name.clone();
            let view = ServiceView {
                service: Arc::new(compile(&service).unwrap()),
                endpoints: endpoints.into_iter().map(Arc::new).collect(),
                endpoints_known: true,
                last_used: Arc::default(),
            };
            (name, ServiceState::Known(Arc::new(view)))
        });
        self.publish_states(services.collect());
    }

    pub(crate) fn publish_states(&self, services: HashMap<ServiceName, ServiceState>) {
        self.publish_snapshot(Snapshot { services, received: true, ..Snapshot::default() });
    }

    pub(crate) fn publish_snapshot(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// The sum of a family's series whose labels include all of `labels`.
    pub(crate) async fn metric(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.mailboxes.flush().await;
        let families = self.registry.gather();
        let metrics = families.iter().filter(|f| f.name() == family).flat_map(|f| f.get_metric());
        let fitting = metrics.filter(|metric| {
            let has = |(name, value): &(&str, &str)| {
                metric.get_label().iter().any(|l| l.name() == *name && l.value() == *value)
            };
            labels.iter().all(has)
        });
        fitting
            .map(|metric| {
                let (counter, gauge) = (metric.get_counter().get_value(), metric.get_gauge().get_value());
                let count = metric.get_histogram().get_sample_count() as f64;
                counter + gauge + count
            })
            .sum()
    }

    /// Waits for the workers to end; how many panicked.
    pub(crate) async fn join(&mut self) -> usize {
        match self.workers.take() {
            Some(workers) => workers.join().await,
            None => 0,
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.drain.force();
    }
}

pub(crate) fn endpoint(
    service: &str,
    service_port: u16,
    target: SocketAddr,
    transport: Transport,
) -> Endpoint {
    Endpoint {
        service: service.parse().unwrap(),
        name: format!("e{}", target.port()).parse().unwrap(),
        address: LOCAL,
        ports: vec![EndpointPort { service_port: port(service_port), target_port: port(target.port()) }],
        transport,
        locality: Default::default(),
        weight: Default::default(),
        health: EndpointHealth::Ready,
    }
}

pub(crate) fn service(name: &str, number: u16, app_protocol: AppProtocol) -> Service {
    routed(name, number, app_protocol, vec![], vec![])
}

pub(crate) fn routed(
    name: &str,
    number: u16,
    app_protocol: AppProtocol,
    rules: Vec<RouteRule>,
    matches: Vec<RouteMatch>,
) -> Service {
    let port =
        ServicePort { port: port(number), name: String::new(), app_protocol, rules, matches, policy: None };
    Service { name: name.parse().unwrap(), ports: vec![port], virtual_addresses: vec![] }
}

/// A client's sidecar and a server's, with one service `shop/orders` on port 80 between them.
pub(crate) struct Pair {
    pub(crate) client: Sidecar,
    pub(crate) server: Sidecar,
}

impl Pair {
    pub(crate) fn start(application: SocketAddr, protocol: AppProtocol) -> Self {
        let ca = Ca::new();
        let server = Plan::new("orders").serving(application, protocol).start(&ca);
        let client = Plan::new("web").upstream("shop/orders", 80).start(&ca);
        let endpoint = server.endpoint("shop/orders", 80, application);
        client.publish(vec![(service("shop/orders", 80, protocol), vec![endpoint])]);
        Self { client, server }
    }
}
