//! A worker whose captured connections are tested, over real sockets; only what the kernel would have said of the
//! destination is made up.

use crate::demand;
use crate::dial::Dial;
use crate::limit::Permit;
use crate::listen::original_dst::OriginalDst;
use crate::resolve::{SystemDns, resolver};
use crate::snapshot::{AddressState, AddressView, ExternalHosts, Snapshot};
use crate::telemetry::{DataFamilies, ResolveMetrics};
use crate::worker::{AccessLog, Worker, WorkerConfig, alone};
use mesh_mtls::{Identity, TrustBundle};
use mesh_names::HostPattern;
use mesh_process::Drain;
use mesh_protocol::external::{ExternalHost, ExternalService};
use mesh_protocol::mesh::{EgressPolicy, Mesh};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct World {
    pub(crate) worker: Rc<Worker>,
    registry: prometheus::Registry,
    pub(crate) snapshot: Snapshot,
    /// Kept, so that neither ends.
    ends: (watch::Sender<Arc<Snapshot>>, demand::Demands, Drain),
}

impl World {
    pub(crate) fn new(egress: EgressPolicy) -> Self {
        let (sender, snapshots) = watch::channel(Arc::default());
        let (demand, demands) = demand::channel();
        let registry = prometheus::Registry::new();
        let drain = Drain::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let metrics = ResolveMetrics::register(&registry).unwrap();
        let (names, _) = resolver(SystemDns::new(&[], Dial::default()), metrics, tokio::time::Instant::now());
        let config = WorkerConfig {
            namespace: "shop".parse().unwrap(),
            source: Default::default(),
            mesh_domain: Default::default(),
            trust_domain: Default::default(),
            ports: vec![],
            application: [127, 0, 0, 1].into(),
            identity: Identity::new(TrustBundle::from_der([root.der().to_vec()]).unwrap()),
            snapshots,
            demand,
            names,
            dial: Dial::default(),
            drain: drain.signal(),
            outbound_drain: drain.signal(),
            handed_over: drain.signal(),
            families: DataFamilies::register(&registry).unwrap(),
            access_log: AccessLog::Off,
        };
        let mesh = Mesh { egress, virtual_networks: vec!["240.240.0.0/16".parse().unwrap()] };
        let snapshot = Snapshot { received: true, mesh: Some(Arc::new(mesh)), ..Snapshot::default() };
        let world =
            Self { worker: Rc::new(alone(config)), registry, snapshot, ends: (sender, demands, drain) };
        world.publish();
        world
    }

    /// What is in `snapshot` is what the control plane has said.
    pub(crate) fn publish(&self) {
        self.worker.current.publish(Arc::new(self.snapshot.clone()));
    }

    /// The control plane says what is at this address.
    pub(crate) fn is_at(&mut self, address: IpAddr, state: AddressState) {
        let view = AddressView { state, last_used: Arc::default() };
        Arc::make_mut(&mut self.snapshot.addresses).insert(address, view);
        self.publish();
    }

    /// Whether it can answer.
    pub(crate) fn control_plane_is_heard(&self, is_heard: bool) {
        self.ends.1.heard(is_heard);
    }

    /// The control plane says who is called by this pattern.
    pub(crate) fn register(&mut self, pattern: &str, service: ExternalService) {
        let mut hosts = ExternalHosts::default();
        let host: HostPattern = pattern.parse().unwrap();
        for asked in ["db.example.com", "api.example.com", "other.example.org"] {
            HostPattern::candidates(asked).for_each(|pattern| hosts.set(&pattern, None));
        }
        hosts.set(&host, Some(&ExternalHost { host: host.clone(), services: vec![service] }));
        self.snapshot.hosts = Arc::new(hosts);
        self.publish();
    }

    /// An application's connection to `dialled`, as it is captured.
    pub(crate) async fn dial(&self, dialled: SocketAddr) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, source) = listener.accept().await.unwrap();
        let permit: Permit = self.worker.outbound.enter().await;
        let connection = super::captured::connection(
            self.worker.clone(),
            OriginalDst::to(dialled),
            accepted,
            source,
            permit,
        );
        tokio::task::spawn_local(connection);
        client
    }

    /// What the other side answers to these bytes and their end.
    pub(crate) async fn answer(&self, dialled: SocketAddr, bytes: &[u8]) -> String {
        self.talk(dialled, bytes, Then::End).await
    }

    pub(crate) async fn talk(&self, dialled: SocketAddr, bytes: &[u8], then: Then) -> String {
        let mut client = self.dial(dialled).await;
        client.write_all(bytes).await.unwrap();
        if then == Then::End {
            client.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn count(&self, family: &str, value: &str) -> f64 {
        self.worker.recorder.flush();
        let families = self.registry.gather();
        let metrics = families.iter().filter(|found| found.name() == family).flat_map(|it| it.get_metric());
        let fitting = metrics.filter(|metric| metric.get_label().iter().any(|label| label.value() == value));
        fitting.map(|metric| metric.get_counter().get_value()).sum()
    }
}

/// What a client does once it has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It ends its side.
    End,
    /// It waits.
    Wait,
}

/// A server that says its word, then what it has heard until the end.
pub(crate) async fn server(word: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.ok();
            stream.write_all(word.as_bytes()).await.ok();
            stream.write_all(&heard).await.ok();
        }
    });
    address
}
