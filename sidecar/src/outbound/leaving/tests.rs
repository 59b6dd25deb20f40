//! Captured connections to addresses nobody knows, over real sockets; only what the kernel would have said of the
//! destination is made up.

use crate::demand;
use crate::detect::client_hello;
use crate::limit::Permit;
use crate::listen::original_dst::OriginalDst;
use crate::resolve::{SystemDns, resolver};
use crate::snapshot::{AddressState, AddressView, ExternalHosts, Registered, Snapshot};
use crate::telemetry::{DataFamilies, ResolveMetrics};
use crate::worker::{AccessLog, Worker, WorkerConfig, alone};
use mesh_mtls::{Identity, TrustBundle};
use mesh_names::{HostPattern, Port};
use mesh_process::Drain;
use mesh_protocol::external::{
    ExternalHost, ExternalPort, ExternalProtocol, ExternalService, ExternalTrust, Originate, Resolution,
};
use mesh_protocol::mesh::{EgressPolicy, Mesh};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::LocalSet;

struct World {
    worker: Rc<Worker>,
    registry: prometheus::Registry,
    snapshot: Snapshot,
    /// Kept, so that neither ends.
    _ends: (watch::Sender<Arc<Snapshot>>, demand::Demands, Drain),
}

impl World {
    fn new(egress: EgressPolicy) -> Self {
        let (sender, snapshots) = watch::channel(Arc::default());
        let (demand, demands) = demand::channel();
        let registry = prometheus::Registry::new();
        let drain = Drain::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let metrics = ResolveMetrics::register(&registry).unwrap();
        let (names, _) = resolver(SystemDns::new(&[]), metrics, tokio::time::Instant::now());
        let config = WorkerConfig {
            namespace: "shop".parse().unwrap(),
            mesh_domain: Default::default(),
            trust_domain: Default::default(),
            ports: vec![],
            application: [127, 0, 0, 1].into(),
            identity: Identity::new(TrustBundle::from_der([root.der().to_vec()]).unwrap()),
            snapshots,
            demand,
            names,
            drain: drain.signal(),
            outbound_drain: drain.signal(),
            handed_over: drain.signal(),
            families: DataFamilies::register(&registry).unwrap(),
            access_log: AccessLog::Off,
        };
        let snapshot =
            Snapshot { received: true, mesh: Some(Arc::new(Mesh { egress })), ..Snapshot::default() };
        let world =
            Self { worker: Rc::new(alone(config)), registry, snapshot, _ends: (sender, demands, drain) };
        world.worker.current.publish(Arc::new(world.snapshot.clone()));
        world
    }

    /// The control plane says who is called by this pattern.
    fn register(&mut self, pattern: &str, service: ExternalService) {
        let mut hosts = ExternalHosts::default();
        let host: HostPattern = pattern.parse().unwrap();
        for asked in ["db.example.com", "api.example.com", "other.example.org"] {
            HostPattern::candidates(asked).for_each(|pattern| hosts.set(&pattern, None));
        }
        hosts.set(&host, Some(&ExternalHost { host: host.clone(), services: vec![service] }));
        self.snapshot.hosts = Arc::new(hosts);
        self.worker.current.publish(Arc::new(self.snapshot.clone()));
    }

    /// An application's connection to `dialled`, as it is captured.
    async fn dial(&self, dialled: SocketAddr) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, source) = listener.accept().await.unwrap();
        let permit: Permit = self.worker.outbound.enter().await;
        let connection = super::super::captured::connection(
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
    async fn answer(&self, dialled: SocketAddr, bytes: &[u8]) -> String {
        self.talk(dialled, bytes, Then::End).await
    }

    async fn talk(&self, dialled: SocketAddr, bytes: &[u8], then: Then) -> String {
        let mut client = self.dial(dialled).await;
        client.write_all(bytes).await.unwrap();
        if then == Then::End {
            client.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn count(&self, family: &str, value: &str) -> f64 {
        self.worker.recorder.flush();
        let families = self.registry.gather();
        let metrics = families.iter().filter(|found| found.name() == family).flat_map(|it| it.get_metric());
        let fitting = metrics.filter(|metric| metric.get_label().iter().any(|label| label.value() == value));
        fitting.map(|metric| metric.get_counter().get_value()).sum()
    }
}

/// What a client does once it has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It ends its side.
    End,
    /// It waits.
    Wait,
}

/// A server that says its word, then what it has heard until the end.
async fn server(word: &'static str) -> SocketAddr {
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

/// An ExternalService at `target`, called by the port of `dialled`.
fn external(dialled: SocketAddr, protocol: ExternalProtocol, target: SocketAddr) -> ExternalService {
    let port = ExternalPort {
        port: Port::new(dialled.port()).unwrap(),
        protocol,
        target_port: Port::new(target.port()).unwrap(),
        originate: None,
        invalid: None,
    };
    let resolution = Resolution::Addresses(vec![target.ip()]);
    ExternalService { name: "shop/db".parse().unwrap(), ports: vec![port], resolution }
}

const POLICIES: [EgressPolicy; 2] = [EgressPolicy::Allow, EgressPolicy::RegisteredOnly];

#[tokio::test]
async fn tls_goes_where_its_server_name_is_registered_untouched() {
    let promise = async {
        for (policy, pattern) in POLICIES.into_iter().zip(["db.example.com", "*.example.com"]) {
            let (dialled, place) = (server("dialled ").await, server("place ").await);
            let mut world = World::new(policy);
            world.register(pattern, external(dialled, ExternalProtocol::Tls, place));
            let hello = client_hello(Some("DB.example.com"), 40);
            let answer = world.answer(dialled, &hello).await;
            assert_eq!(answer, format!("place {}", String::from_utf8_lossy(&hello)));
            assert_eq!(world.count("outrigger_tcp_connections_total", "shop/db"), 1.0);
        }
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn tls_of_other_names_follows_the_egress_policy() {
    let promise = async {
        for name in [Some("other.example.org"), None] {
            let dialled = server("dialled ").await;
            let hello = client_hello(name, 4096);
            let world = World::new(EgressPolicy::Allow);
            assert!(world.answer(dialled, &hello).await.starts_with("dialled \u{16}"), "{name:?}");
            let mut world = World::new(EgressPolicy::RegisteredOnly);
            world.register("db.example.com", external(dialled, ExternalProtocol::Tls, dialled));
            assert_eq!(world.answer(dialled, &hello).await, "", "{name:?}");
            assert_eq!(world.count("outrigger_refusals_total", "egress_refused"), 1.0, "{name:?}");
        }
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn tls_that_would_be_added_twice_is_refused() {
    let promise = async {
        let (dialled, place) = (server("dialled ").await, server("place ").await);
        let mut world = World::new(EgressPolicy::Allow);
        let mut service = external(dialled, ExternalProtocol::Http, place);
        service.ports[0].originate = Some(Originate { sni: None, trust: ExternalTrust::System });
        world.register("db.example.com", service);
        assert_eq!(world.answer(dialled, &client_hello(Some("db.example.com"), 4096)).await, "");
        assert_eq!(world.count("outrigger_refusals_total", "invalid_backend"), 1.0);
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_at_once_where_egress_is_allowed() {
    let promise = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 welcome").await.unwrap();
        });
        let world = World::new(EgressPolicy::Allow);
        let mut client = world.dial(dialled).await;
        let mut greeting = [0; 11];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 welcome");
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn http_goes_where_its_host_is_registered_and_other_hosts_follow_the_egress_policy() {
    let promise = async {
        let dialled = server("dialled ").await;
        let request =
            |host| format!("GET /x HTTP/1.1\r\nX-ODD:  y\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        for policy in POLICIES {
            let mut world = World::new(policy);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let origin = listener.local_addr().unwrap();
            world.register("*.example.com", external(dialled, ExternalProtocol::Http, origin));
            tokio::task::spawn_local(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut heard = Vec::new();
                while !heard.ends_with(b"\r\n\r\n") {
                    heard.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplace").await.unwrap();
                assert!(String::from_utf8(heard).unwrap().contains("api.example.com"));
                std::future::pending::<()>().await;
            });
            let answer = world.talk(dialled, request("api.example.com").as_bytes(), Then::Wait).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("place"), "{answer}");
            assert_eq!(world.count("outrigger_requests_total", "shop/db"), 1.0);
            let other = request("other.example.org");
            let then = if policy == EgressPolicy::Allow { Then::End } else { Then::Wait };
            let answer = world.talk(dialled, other.as_bytes(), then).await;
            match policy {
                EgressPolicy::Allow => {
                    assert_eq!(answer, format!("dialled {other}"), "left alone, to the byte")
                }
                EgressPolicy::RegisteredOnly => {
                    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
                    assert!(answer.contains("outrigger-reason: egress_refused"), "{answer}");
                    assert!(
                        answer.contains(&format!("`other.example.org` at {dialled} is no place")),
                        "{answer}"
                    );
                    assert_eq!(world.count("outrigger_requests_total", "egress_refused"), 1.0);
                }
            }
        }
    };
    LocalSet::new().run_until(promise).await;
}

#[tokio::test]
async fn a_place_known_by_its_address_is_called_as_its_port_says() {
    let promise = async {
        let place = server("place ").await;
        let dialled: SocketAddr = ([127, 0, 0, 1], 1).into();
        let mut world = World::new(EgressPolicy::RegisteredOnly);
        let service = external(dialled, ExternalProtocol::Tcp, place);
        let registered = Registered { endpoints: vec![], external_services: vec![Arc::new(service)] };
        let state = AddressState::Registered(Arc::new(registered));
        let view = AddressView { state, last_used: Arc::default() };
        world.snapshot.addresses = Arc::new(HashMap::from([(dialled.ip(), view)]));
        world.worker.current.publish(Arc::new(world.snapshot.clone()));
        assert_eq!(world.answer(dialled, b"hello").await, "place hello");
        assert_eq!(world.count("outrigger_tcp_connections_total", "shop/db"), 1.0);
        let other: SocketAddr = ([127, 0, 0, 1], 2).into();
        assert_eq!(world.answer(other, b"hello").await, "", "another port of it is another place");
    };
    LocalSet::new().run_until(promise).await;
}
