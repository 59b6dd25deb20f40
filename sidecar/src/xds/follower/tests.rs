//! The follower's promises, against a control plane made of the test's own hands: real sockets, real mutual TLS, real
//! gRPC, and answers the test writes.

use super::*;
use crate::bootstrap::{ControlPlanes, State};
use crate::control_plane::Reach;
use crate::demand::{self, Demand};
use crate::dial::Dial;
use crate::register::{Left, Registrar, Registration, registrar};
use crate::snapshot::{AddressState, ServiceView, Snapshot};
use crate::telemetry::DiscoveryMetrics;
use crate::xds::session::Own;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use mesh_mtls::{Acceptor, Alpn, Identity, PrivateKey, Svid, control_plane_id};
use mesh_names::{Port, SpiffeId, TrustDomain};
use mesh_process::{Drain, Readiness, Tasks};
use mesh_protocol::address::Address;
use mesh_protocol::resource::ResourceType;
use mesh_protocol::service::Service;
use mesh_protocol::wire::Any;
use mesh_protocol::wire::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// An authority that both sides trust.
struct Pki {
    params: CertificateParams,
    key: KeyPair,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { params, key: KeyPair::generate().unwrap() }
    }

    fn root(&self) -> Vec<u8> {
        self.params.clone().self_signed(&self.key).unwrap().der().to_vec()
    }

    fn identity(&self, id: &SpiffeId) -> Identity {
        let identity = Identity::new(TrustBundle::from_der([self.root()]).unwrap());
        identity.set_svid(self.svid(id, 2100));
        identity
    }

    fn svid(&self, id: &SpiffeId, expires: i32) -> Svid {
        let key = PrivateKey::generate().unwrap();
        let pair = KeyPair::from_pem(&key.to_pem()).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into().unwrap())];
        params.not_after = rcgen::date_time_ymd(expires, 1, 1);
        let leaf = params.signed_by(&pair, &Issuer::new(self.params.clone(), &self.key)).unwrap();
        Svid::new([leaf.der().to_vec()], key).unwrap()
    }
}

type Answers = mpsc::Sender<Result<wire::DeltaDiscoveryResponse, Status>>;

/// One stream as the control plane sees it.
struct Seen {
    requests: Streaming<wire::DeltaDiscoveryRequest>,
    answers: Answers,
}

struct Discovery(mpsc::Sender<Seen>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<wire::DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<wire::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (answers, stream) = mpsc::channel(16);
        self.0.send(Seen { requests: request.into_inner(), answers }).await.ok();
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A control plane whose streams come to the test.
struct Fake {
    streams: mpsc::Receiver<Seen>,
    address: SocketAddr,
    tasks: Tasks,
    stop: CancellationToken,
}

impl Fake {
    async fn start(identity: Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(4);
        let (tasks, stop) = (Tasks::new(), CancellationToken::new());
        let acceptor = Acceptor::new(identity, &[Alpn::H2]);
        let (spawner, stopped) = (tasks.clone(), stop.clone());
        tasks.spawn("accept", async move {
            while let Some(accepted) = stopped.run_until_cancelled(listener.accept()).await {
                let (acceptor, stopped) = (acceptor.clone(), stopped.clone());
                let service = AggregatedDiscoveryServiceServer::new(Discovery(sender.clone()));
                spawner.spawn("connection", async move {
                    let tls = acceptor.accept(accepted.unwrap().0).await.unwrap();
                    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(tls), TowerToHyperService::new(service));
                    stopped.run_until_cancelled(connection).await;
                });
            }
        });
        Self { streams, address, tasks, stop }
    }

    async fn stream(&mut self) -> Seen {
        in_time(self.streams.recv()).await.unwrap()
    }

    /// The control plane is killed: its listener and connections are gone.
    async fn kill(self) {
        self.stop.cancel();
        assert!(self.tasks.join(Duration::from_secs(5)).await.is_empty());
    }
}

impl Seen {
    async fn request(&mut self) -> wire::DeltaDiscoveryRequest {
        in_time(self.requests.message()).await.unwrap().unwrap()
    }

    /// The next request of this type that is more than an acknowledgement.
    async fn subscription(&mut self, kind: ResourceType) -> wire::DeltaDiscoveryRequest {
        loop {
            let request = self.request().await;
            if request.type_url == kind.type_url() && request.response_nonce.is_empty() {
                return request;
            }
        }
    }

    async fn answer(&self, response: wire::DeltaDiscoveryResponse) {
        in_time(self.answers.send(Ok(response))).await.unwrap();
    }

    async fn announced(&self, sequence: u64) {
        self.answer(wire::DeltaDiscoveryResponse { announced: sequence, ..Default::default() }).await;
    }
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("nothing happened for ten seconds")
}

fn at(address: SocketAddr) -> ControlPlanes {
    ControlPlanes::new(vec![format!("https://{address}").parse().unwrap()])
}

fn orders() -> ServiceName {
    "shop/orders".parse().unwrap()
}

fn service_answer() -> wire::DeltaDiscoveryResponse {
    let service = Service { name: orders(), ports: vec![], virtual_addresses: vec![] };
    let url = ResourceType::Service.type_url().to_owned();
    wire::DeltaDiscoveryResponse {
        system_version_info: "9".into(),
        type_url: url.clone(),
        nonce: "n1".into(),
        resources: vec![wire::Resource {
            version: "s1".into(),
            resource: Some(Any { type_url: url, value: service.encode() }),
            name: orders().to_string(),
            aliases: vec![],
        }],
        ..Default::default()
    }
}

/// A follower with everything around it.
struct Sidecar {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    demand: Demand,
    registrar: Registrar,
    metrics: DiscoveryMetrics,
    readiness: Readiness,
    stop: CancellationToken,
    tasks: Tasks,
}

impl Sidecar {
    fn start(control_plane: SocketAddr, identity: Identity, state: &State) -> Self {
        let (snapshots, seen) = watch::channel(Arc::default());
        let (demand, demands) = demand::channel();
        let (registrar, ends) = registrar();
        let metrics = DiscoveryMetrics::register(&prometheus::Registry::new()).unwrap();
        let readiness = Readiness::new();
        let (stop, tasks) = (CancellationToken::new(), Tasks::new());
        let domain = TrustDomain::default();
        let follower = Follower::new(Parts {
            own: Own { trust_domain: domain.clone(), workload: "shop/front-1".parse().unwrap() },
            reach: Arc::new(Reach::new(at(control_plane), &domain, Dial::default())),
            identity,
            pinned: vec![],
            registration: Registration::of_name("front-1".parse().unwrap(), Port::new(15008).unwrap()),
            registrar: ends,
            demands,
            unwell: watch::channel(Arc::default()).1,
            snapshots,
            started: Instant::now(),
            cache: state.path("configuration"),
            metrics: metrics.clone(),
            configured: readiness.condition("configuration"),
            handed_over: Drain::new().signal(),
            stop: stop.clone(),
        });
        tasks.spawn("follower", follower.run());
        Self { snapshots: seen, demand, registrar, metrics, readiness, stop, tasks }
    }

    async fn known(&mut self) -> Arc<ServiceView> {
        let seen = in_time(self.snapshots.wait_for(|s| s.service(&orders()).is_some())).await.unwrap();
        match seen.service(&orders()) {
            Some(ServiceState::Known(view)) => view.clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn end(self) {
        self.stop.cancel();
        assert!(self.tasks.join(Duration::from_secs(5)).await.is_empty());
    }
}

struct Scene {
    pki: Pki,
    state: State,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(&directory.path().join("state")).unwrap();
        Self { pki: Pki::new(), state, _directory: directory }
    }

    async fn control_plane(&self) -> Fake {
        Fake::start(self.pki.identity(&control_plane_id(&TrustDomain::default()))).await
    }

    fn sidecar(&self, control_plane: SocketAddr) -> Sidecar {
        let id = "spiffe://mesh.internal/ns/shop/sa/front".parse().unwrap();
        Sidecar::start(control_plane, self.pki.identity(&id), &self.state)
    }
}

#[tokio::test]
async fn demand_becomes_a_subscription_and_the_answer_a_snapshot() {
    let scene = Scene::new();
    let mut control_plane = scene.control_plane().await;
    let mut sidecar = scene.sidecar(control_plane.address);
    let mut stream = control_plane.stream().await;
    let first = stream.request().await;
    let announcement = first.announcement.expect("the announcement comes first");
    assert_eq!((announcement.sequence, announcement.address.as_str()), (1, "127.0.0.1"));
    assert_eq!(first.node.unwrap().id, "shop/front-1");
    assert!(sidecar.demand.ask(&orders()));
    let subscribed = stream.subscription(ResourceType::Service).await;
    assert_eq!(subscribed.resource_names_subscribe, ["shop/orders"]);
    stream.answer(service_answer()).await;
    let view = sidecar.known().await;
    assert!(!view.endpoints_known);
    assert_eq!(sidecar.snapshots.borrow().revision, "9");
    assert!(sidecar.readiness.is_ready());
    assert!(sidecar.metrics.is_connected());
    let acknowledged = loop {
        let request = stream.request().await;
        if !request.response_nonce.is_empty() {
            break request;
        }
    };
    assert_eq!((acknowledged.response_nonce.as_str(), acknowledged.error_detail), ("n1", None));
    sidecar.end().await;
    control_plane.kill().await;
}

#[tokio::test]
async fn an_address_that_is_a_services_brings_the_service_with_it() {
    let scene = Scene::new();
    let mut control_plane = scene.control_plane().await;
    let mut sidecar = scene.sidecar(control_plane.address);
    let mut stream = control_plane.stream().await;
    let address: std::net::IpAddr = "240.240.0.9".parse().unwrap();
    assert!(sidecar.demand.ask_address(address));
    let subscribed = stream.subscription(ResourceType::Address).await;
    assert_eq!(subscribed.resource_names_subscribe, ["240.240.0.9"]);
    let known = Address { address, service: Some(orders()), endpoints: vec![], external_services: vec![] };
    let url = ResourceType::Address.type_url().to_owned();
    stream
        .answer(wire::DeltaDiscoveryResponse {
            type_url: url.clone(),
            nonce: "n1".into(),
            resources: vec![wire::Resource {
                version: "a1".into(),
                resource: Some(Any { type_url: url, value: known.encode() }),
                name: "240.240.0.9".into(),
                aliases: vec![],
            }],
            ..Default::default()
        })
        .await;
    let subscribed = stream.subscription(ResourceType::Service).await;
    assert_eq!(subscribed.resource_names_subscribe, ["shop/orders"]);
    let seen = in_time(sidecar.snapshots.wait_for(|s| s.address(address).is_some())).await.unwrap().clone();
    let state = &seen.address(address).unwrap().state;
    assert!(matches!(state, AddressState::Service(service) if *service == orders()), "{state:?}");
    sidecar.end().await;
    control_plane.kill().await;
}

#[tokio::test]
async fn the_end_of_the_certificate_is_announced_and_that_of_the_next_one() {
    let scene = Scene::new();
    let mut control_plane = scene.control_plane().await;
    let id = "spiffe://mesh.internal/ns/shop/sa/front".parse().unwrap();
    let identity = scene.pki.identity(&id);
    let sidecar = Sidecar::start(control_plane.address, identity.clone(), &scene.state);
    let seconds = |svid: &Svid| svid.not_after().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut stream = control_plane.stream().await;
    let first = stream.request().await.announcement.unwrap();
    assert_eq!(first.certificate_expires, seconds(&identity.svid().unwrap()));
    identity.set_svid(scene.pki.svid(&id, 2101));
    let next = loop {
        if let Some(announcement) = stream.request().await.announcement {
            break announcement;
        }
    };
    assert_eq!((next.sequence, next.certificate_expires), (2, seconds(&identity.svid().unwrap())));
    assert_ne!(first.certificate_expires, next.certificate_expires);
    sidecar.end().await;
    control_plane.kill().await;
}

#[tokio::test]
async fn leaving_is_told_and_its_acknowledgement_awaited() {
    let scene = Scene::new();
    let mut control_plane = scene.control_plane().await;
    let sidecar = scene.sidecar(control_plane.address);
    let mut stream = control_plane.stream().await;
    stream.announced(1).await;
    in_time(sidecar.registrar.registered()).await;
    let registrar = sidecar.registrar.clone();
    let leave = async move { registrar.leave().await };
    let control_plane_side = async {
        let leaving = loop {
            let request = stream.request().await;
            if let Some(announcement) = request.announcement.filter(|a| a.sequence > 1) {
                break announcement;
            }
        };
        assert_eq!(leaving.state(), mesh_protocol::wire::v1::AnnouncedState::Leaving);
        stream.announced(leaving.sequence).await;
    };
    let (left, ()) = tokio::join!(leave, control_plane_side);
    assert_eq!(left, Left::InForce);
    sidecar.end().await;
    control_plane.kill().await;
}

#[tokio::test]
async fn a_lost_stream_is_resumed_with_the_versions_held() {
    let scene = Scene::new();
    let mut control_plane = scene.control_plane().await;
    let mut sidecar = scene.sidecar(control_plane.address);
    let mut stream = control_plane.stream().await;
    sidecar.demand.ask(&orders());
    stream.subscription(ResourceType::Service).await;
    stream.answer(service_answer()).await;
    sidecar.known().await;
    drop(stream);
    let mut again = control_plane.stream().await;
    let resumed = again.subscription(ResourceType::Service).await;
    assert_eq!(resumed.initial_resource_versions.get("shop/orders").map(String::as_str), Some("s1"));
    assert!(sidecar.snapshots.borrow().service(&orders()).is_some(), "served all the while");
    sidecar.end().await;
    control_plane.kill().await;
}

#[tokio::test]
async fn a_restart_without_a_control_plane_serves_what_is_on_disk() {
    let scene = Scene::new();
    let mut control_plane = scene.control_plane().await;
    let address = control_plane.address;
    let mut sidecar = scene.sidecar(address);
    let mut stream = control_plane.stream().await;
    sidecar.demand.ask(&orders());
    stream.subscription(ResourceType::Service).await;
    stream.answer(service_answer()).await;
    sidecar.known().await;
    sidecar.end().await;
    control_plane.kill().await;

    let restarted = scene.sidecar(address);
    assert!(restarted.snapshots.borrow().service(&orders()).is_some(), "at once");
    assert!(restarted.snapshots.borrow().received && restarted.readiness.is_ready());
    assert!(!restarted.metrics.is_connected());
    assert_eq!(in_time(restarted.registrar.leave()).await, Left::Alone);
    restarted.end().await;
}

#[tokio::test]
async fn whoever_is_not_the_control_plane_is_told_nothing() {
    let scene = Scene::new();
    let imposter = "spiffe://mesh.internal/ns/shop/sa/imposter".parse().unwrap();
    let identity = scene.pki.identity(&"spiffe://mesh.internal/ns/shop/sa/front".parse().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = Acceptor::new(scene.pki.identity(&imposter), &[Alpn::H2]);
    let serve = async { acceptor.accept(listener.accept().await.unwrap().0).await.is_ok() };
    let reach = Reach::new(at(address), &TrustDomain::default(), Dial::default());
    let connector = Connector::new(identity);
    let (reached, accepted) = in_time(async { tokio::join!(reach.connect(&connector), serve) }).await;
    assert!(!accepted);
    let error = reached.unwrap_err().to_string();
    assert!(error.contains("the peer is spiffe://mesh.internal/ns/shop/sa/imposter, not "), "{error}");
    assert!(
        error.starts_with(&format!("the control plane https://{address} cannot be reached: ")),
        "{error}"
    );
}
