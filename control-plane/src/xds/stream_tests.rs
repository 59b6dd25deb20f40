//! Real gRPC over TCP, a real store, real tasks; only the certificate is replaced by an extension.

use crate::controller::stamp;
use crate::grpc::{self, Services};
use crate::index::{self, Feed};
use crate::peer::PeerIdentity;
use crate::registry::Registry;
use crate::store::{EmbeddedStore, Expect, Key, Revision, Store};
use crate::xds::{Directory, Discovery, DiscoveryMetrics, register_fleet};
use manifests::Kind;
use mesh_names::TrustDomain;
use mesh_process::{Drain, DrainSignal, Tasks};
use mesh_protocol::announcement::{AnnouncedState, Announcement};
use mesh_protocol::endpoint::{Endpoint, EndpointHealth};
use mesh_protocol::resource::ResourceType;
use mesh_protocol::trust_bundle::TrustBundle;
use mesh_protocol::wire::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_protocol::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_protocol::workload::WorkloadPort;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Code, Request, Status, Streaming};

struct Plane {
    store: Arc<dyn Store>,
    directory: Directory,
    feed: Feed,
    metrics: prometheus::Registry,
    address: SocketAddr,
    identities: mpsc::Sender<PeerIdentity>,
    drain: Drain,
    tasks: Tasks,
    _bundle: watch::Sender<TrustBundle>,
    _folder: tempfile::TempDir,
}

/// Serves connections on a thread of its own, as a control plane does. The identity of each comes before it, where a
/// listener would read it from the certificate.
async fn serve(
    listener: std::net::TcpListener,
    mut identities: mpsc::Receiver<PeerIdentity>,
    services: Services,
    tasks: Tasks,
    drain: DrainSignal,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Some(peer) = identities.recv().await {
        let (io, _) = listener.accept().await.unwrap();
        let (services, calls, drain) = (services.clone(), tasks.clone(), drain.clone());
        tasks.spawn_local("connection", async move {
            // How it ends is the client's affair.
            let _ended = grpc::serve(io, peer, services, &calls, drain).await;
        });
    }
}

impl Plane {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = prometheus::Registry::new();
        let store = EmbeddedStore::open(&folder.path().join("store.redb"), &registry).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let metrics = DiscoveryMetrics::register(&registry).unwrap();
        let bundle = TrustBundle { trust_domain: TrustDomain::default(), certificates: vec!["ca".into()] };
        let (sender, bundle) = watch::channel(bundle);
        let (tasks, drain) = (Tasks::new(), Drain::new());
        let revision = metrics.snapshot_revision.clone();
        let feed = index::spawn(&tasks, Arc::clone(&store), TrustDomain::default(), bundle, revision);
        let directory = Directory::new(feed.clone());
        register_fleet(&registry, directory.clone()).unwrap();
        let workloads = Registry::spawn(&tasks, Arc::clone(&store));
        let discovery = Discovery::new(feed.clone(), workloads, directory.clone(), metrics, drain.signal());
        let services = Services { discovery: Arc::new(discovery), unary: Routes::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (identities, announced) = mpsc::channel(1);
        let serve = serve(listener.into_std().unwrap(), announced, services, tasks.clone(), drain.signal());
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            runtime.unwrap().block_on(serve)
        });
        let _bundle = sender;
        let metrics = registry;
        Self { store, directory, feed, metrics, address, identities, drain, tasks, _bundle, _folder: folder }
    }

    /// What a scrape shows of a metric: a gauge's value, of how much a histogram tells.
    fn scrape(&self, name: &str) -> f64 {
        let families = self.metrics.gather();
        let Some(family) = families.iter().find(|it| it.name() == name) else { return 0.0 };
        let is_histogram = family.get_field_type() == prometheus::proto::MetricType::HISTOGRAM;
        let of = |metric: &prometheus::proto::Metric| match is_histogram {
            true => f64::from(u32::try_from(metric.get_histogram().get_sample_count()).unwrap()),
            false => metric.get_gauge().get_value(),
        };
        family.get_metric().iter().map(of).sum()
    }

    async fn put(&self, kind: Kind, mut object: Value) {
        stamp::born(&mut object, jiff::Timestamp::now());
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let key = Key::new(kind, text("/metadata/namespace"), text("/metadata/name"));
        self.store.put(key, object, Expect::Any).await.unwrap();
    }

    async fn connect(&self, identity: &str) -> Result<Client, Status> {
        self.connect_taking(identity, None).await
    }

    /// A client that takes so many bytes before it reads.
    async fn connect_taking(&self, identity: &str, bytes: Option<u32>) -> Result<Client, Status> {
        self.identities.send(PeerIdentity(identity.parse().ok())).await.unwrap();
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let endpoint = endpoint.initial_stream_window_size(bytes);
        let mut client = AggregatedDiscoveryServiceClient::new(endpoint.connect().await.unwrap());
        let (requests, receiver) = mpsc::channel(8);
        let request = Request::new(ReceiverStream::new(receiver));
        let responses = client.delta_aggregated_resources(request).await?.into_inner();
        Ok(Client { requests, responses })
    }
}

struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Client {
    async fn ask(&self, kind: ResourceType, names: &[&str], announcement: Option<&Announcement>) {
        let request = DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            announcement: announcement.map(Announcement::to_wire),
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next response, acknowledged.
    async fn hear(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let response = self.responses.message().await?.expect("the stream is open");
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        // The server may end the stream at any time.
        let _sent = self.requests.send(ack).await;
        Ok(response)
    }

    /// Responses until one satisfies the condition.
    async fn hear_until(
        &mut self,
        is_it: impl Fn(&DeltaDiscoveryResponse) -> bool,
    ) -> DeltaDiscoveryResponse {
        loop {
            let response = self.hear().await.unwrap();
            if is_it(&response) {
                return response;
            }
        }
    }

    async fn hear_health(&mut self, endpoint: &str) -> EndpointHealth {
        let response = self.hear_until(|it| it.resources.iter().any(|it| it.name == endpoint)).await;
        let resource = response.resources.iter().find(|it| it.name == endpoint).unwrap();
        Endpoint::decode(&resource.resource.as_ref().unwrap().value).unwrap().health
    }
}

const ORDERS: &str = "spiffe://mesh.internal/ns/shop/sa/orders";
const WEB: &str = "spiffe://mesh.internal/ns/shop/sa/web";

fn announcement(sequence: u64, name: &str, state: AnnouncedState) -> Announcement {
    Announcement {
        sequence,
        name: name.parse().unwrap(),
        labels: [("app".to_owned(), "orders".to_owned())].into(),
        address: [10, 0, 0, 1].into(),
        inbound_port: 15008.try_into().unwrap(),
        ports: vec![WorkloadPort {
            port: 8080.try_into().unwrap(),
            name: String::new(),
            app_protocol: mesh_names::AppProtocol::Http,
            services: vec![],
            health_checks: vec![],
        }],
        locality: Default::default(),
        weight: Default::default(),
        state,
        reason: String::new(),
        certificate_expires: None,
    }
}

fn orders() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "orders"},
           "spec": {"selector": {"app": "orders"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

#[tokio::test]
async fn a_workload_registers_is_found_by_others_and_leaves() {
    let plane = Plane::start().await;
    plane.put(Kind::Service, orders()).await;
    let mut caller = plane.connect(WEB).await.unwrap();
    caller.ask(ResourceType::Endpoint, &["shop/orders/*"], None).await;
    assert_eq!(caller.hear().await.unwrap().removed_resources, ["shop/orders/*"]);

    let mut sidecar = plane.connect(ORDERS).await.unwrap();
    let ready = announcement(1, "orders-1", AnnouncedState::Ready);
    sidecar.ask(ResourceType::TrustBundle, &["mesh.internal"], Some(&ready)).await;
    sidecar.ask(ResourceType::Workload, &["shop/orders-1"], None).await;
    sidecar.hear_until(|it| it.resources.iter().any(|it| it.name == "mesh.internal")).await;
    sidecar
        .hear_until(|it| it.announced == 1 || it.resources.iter().any(|it| it.name == "shop/orders-1"))
        .await;
    assert_eq!(caller.hear_health("shop/orders/orders-1").await, EndpointHealth::Ready);

    let key = Key::new(Kind::Workload, "shop", "orders-1");
    let stored = plane.store.get(&key).await.unwrap().unwrap();
    assert_eq!(stored.object.read()["spec"]["serviceAccount"], "orders");
    assert_eq!(stored.object.read()["status"]["conditions"][0]["reason"], "Connected");
    let namespace = plane.store.get(&Key::new(Kind::Namespace, "", "shop")).await.unwrap();
    assert!(namespace.is_some(), "the identity's namespace is there");

    let leaving = announcement(2, "orders-1", AnnouncedState::Leaving);
    sidecar.ask(ResourceType::Workload, &[], Some(&leaving)).await;
    assert_eq!(caller.hear_health("shop/orders/orders-1").await, EndpointHealth::Draining);
    sidecar.hear_until(|it| it.announced == 2).await;
    drop(sidecar);
    let gone = caller.hear_until(|it| !it.removed_resources.is_empty()).await;
    assert_eq!(gone.removed_resources, ["shop/orders/orders-1", "shop/orders/*"]);
}

#[tokio::test]
async fn an_announcement_in_force_is_acknowledged_after_its_snapshot() {
    let plane = Plane::start().await;
    plane.put(Kind::Service, orders()).await;
    let mut sidecar = plane.connect(ORDERS).await.unwrap();
    for sequence in 1..=5 {
        let state = if sequence % 2 == 1 { AnnouncedState::Ready } else { AnnouncedState::NotReady };
        sidecar.ask(ResourceType::Workload, &[], Some(&announcement(sequence, "orders-1", state))).await;
        sidecar.hear_until(|it| it.announced == sequence).await;
        let snapshot = plane.feed.snapshots.borrow().clone().unwrap();
        let bytes = &snapshot.get(ResourceType::Endpoint, "shop/orders/orders-1").unwrap().bytes;
        let health = Endpoint::decode(bytes).unwrap().health;
        assert_eq!(
            health == EndpointHealth::Ready,
            state == AnnouncedState::Ready,
            "announcement {sequence}"
        );
    }
}

#[tokio::test]
async fn without_a_certificate_there_is_no_discovery() {
    let plane = Plane::start().await;
    let refused = plane.connect("nobody").await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_name_held_by_another_service_account_is_refused_with_a_reason() {
    let plane = Plane::start().await;
    let mut first = plane.connect(ORDERS).await.unwrap();
    let ready = announcement(1, "orders-1", AnnouncedState::Ready);
    first.ask(ResourceType::Workload, &["shop/orders-1"], Some(&ready)).await;
    first.hear().await.unwrap();
    let mut second = plane.connect(WEB).await.unwrap();
    second.ask(ResourceType::Workload, &["shop/orders-1"], Some(&ready)).await;
    let response = second.hear().await.unwrap();
    let reasons: Vec<_> = response
        .resource_errors
        .iter()
        .map(|it| it.error_detail.as_ref().unwrap().message.as_str())
        .collect();
    assert!(
        reasons
            .iter()
            .any(|it| it
                .starts_with("workload `shop/orders-1` is held by a sidecar of service account `orders`")),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn the_directory_shows_who_is_connected_and_what_they_refused() {
    let plane = Plane::start().await;
    plane.put(Kind::Service, orders()).await;
    // Given its addresses it would come once more, and take the refusal's place.
    let service = Key::new(Kind::Service, "shop", "orders");
    let mut watch = plane.store.watch(Some(Kind::Service), Revision::default()).await.unwrap();
    let given = loop {
        watch.next().await.unwrap();
        let stored = plane.store.get(&service).await.unwrap().unwrap();
        if stored.object.read()["spec"]["clusterIP"].is_string() {
            break stored.revision;
        }
    };
    plane.feed.reflected.clone().wait_for(|reflected| *reflected >= given).await.unwrap();
    let mut sidecar = plane.connect(ORDERS).await.unwrap();
    let expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
    let ready =
        Announcement { certificate_expires: expires, ..announcement(1, "orders-1", AnnouncedState::Ready) };
    sidecar.ask(ResourceType::Workload, &["shop/orders-1"], Some(&ready)).await;
    sidecar.hear_until(|it| it.resources.iter().any(|it| it.name == "shop/orders-1")).await;
    sidecar.ask(ResourceType::Service, &["shop/orders"], None).await;
    let response = loop {
        let response = sidecar.responses.message().await.unwrap().unwrap();
        if response.type_url == ResourceType::Service.type_url() {
            break response;
        }
    };
    let nack = DeltaDiscoveryRequest {
        type_url: response.type_url,
        response_nonce: response.nonce,
        error_detail: Some(mesh_protocol::wire::discovery::Status {
            code: 3,
            message: "no".into(),
            details: vec![],
        }),
        ..Default::default()
    };
    sidecar.requests.send(nack).await.unwrap();
    // A later answer on the same stream: the refusal has been read by then.
    sidecar.ask(ResourceType::Service, &["shop/none"], None).await;
    while sidecar.responses.message().await.unwrap().unwrap().resource_errors.is_empty() {}
    let proxies = plane.directory.connected(Some("shop"), None);
    assert_eq!(proxies[0]["metadata"]["name"], "orders-1");
    assert_eq!(proxies[0]["status"]["identity"], ORDERS);
    assert_eq!(proxies[0]["status"]["rejected"], 1);
    assert_eq!(proxies[0]["status"]["rejections"][0]["message"], "no");
    assert_eq!(proxies[0]["status"]["certificateExpires"], "1970-01-02T00:00:00Z");
    assert!(plane.directory.connected(Some("billing"), None).is_empty());
    assert!(plane.directory.connected(Some("shop"), Some("nobody")).is_empty());
    let key = Key::new(Kind::Workload, "shop", "orders-1");
    let mut watch = plane.store.watch(None, plane.store.revision().await.unwrap()).await.unwrap();
    loop {
        let stored = plane.store.get(&key).await.unwrap().unwrap();
        if let Some(condition) = stored.object.read()["status"]["conditions"].get(1) {
            assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Refused")));
            break;
        }
        watch.next().await.unwrap();
    }
}

#[tokio::test]
async fn how_far_the_sidecars_are_is_shown_to_who_scrapes() {
    let plane = Plane::start().await;
    let [proxies, behind, longest, refusing] = ["", "_behind", "_behind_longest_seconds", "_refusing"]
        .map(|it| format!("outrigger_control_proxies{it}"));
    let pushes = "outrigger_control_push_seconds";
    assert_eq!((plane.scrape(&proxies), plane.scrape(&longest), plane.scrape(pushes)), (0.0, 0.0, 0.0));
    let mut sidecar = plane.connect(ORDERS).await.unwrap();
    sidecar.ask(ResourceType::TrustBundle, &["mesh.internal"], None).await;
    let response = sidecar.responses.message().await.unwrap().unwrap();
    while plane.scrape(&behind) < 1.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((plane.scrape(&proxies), plane.scrape(&refusing), plane.scrape(pushes)), (1.0, 0.0, 0.0));
    assert!(plane.scrape(&longest) > 0.0);
    let error = mesh_protocol::wire::discovery::Status { code: 3, message: "no".into(), details: vec![] };
    let nack = DeltaDiscoveryRequest {
        type_url: response.type_url,
        response_nonce: response.nonce,
        error_detail: Some(error),
        ..Default::default()
    };
    sidecar.requests.send(nack).await.unwrap();
    // A later answer on the same stream: the refusal has been read by then.
    sidecar.ask(ResourceType::Service, &["shop/none"], None).await;
    sidecar.hear().await.unwrap();
    assert_eq!((plane.scrape(&refusing), plane.scrape(pushes)), (1.0, 1.0));
    drop(sidecar);
    while plane.scrape(&proxies) > 0.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((plane.scrape(&behind), plane.scrape(&refusing)), (0.0, 0.0));
}

#[tokio::test]
async fn a_sidecar_that_takes_nothing_is_told_of_in_the_status_of_its_workload() {
    let plane = Plane::start().await;
    let key = Key::new(Kind::Workload, "shop", "orders-1");
    let mut changes =
        plane.store.watch(Some(Kind::Workload), plane.store.revision().await.unwrap()).await.unwrap();
    let sidecar = plane.connect_taking(ORDERS, Some(0)).await.unwrap();
    let ready = announcement(1, "orders-1", AnnouncedState::Ready);
    sidecar.ask(ResourceType::TrustBundle, &["mesh.internal"], Some(&ready)).await;
    loop {
        changes.next().await.unwrap();
        let stored = plane.store.get(&key).await.unwrap().unwrap();
        let object = stored.object.read();
        let conditions = object["status"]["conditions"].as_array().unwrap();
        if let Some(applied) = conditions.iter().find(|it| it["type"] == "ConfigurationApplied") {
            assert_eq!((&applied["status"], &applied["reason"]), (&json!("False"), &json!("Unacknowledged")));
            break;
        }
    }
}

#[tokio::test]
async fn a_drain_ends_streams_with_a_word() {
    let plane = Plane::start().await;
    let mut sidecar = plane.connect(WEB).await.unwrap();
    let ready = announcement(1, "web-1", AnnouncedState::Ready);
    sidecar.ask(ResourceType::TrustBundle, &["mesh.internal"], Some(&ready)).await;
    sidecar.hear_until(|it| it.announced == 1).await;
    plane.drain.drain();
    assert_eq!(sidecar.hear().await.unwrap_err().code(), Code::Unavailable);
    let refused = plane.connect(WEB).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(!plane.tasks.running().contains(&"discovery stream"));
    let stored = plane.store.get(&Key::new(Kind::Workload, "shop", "web-1")).await.unwrap().unwrap();
    assert_eq!(
        stored.object.read()["status"]["conditions"][0]["status"],
        "True",
        "the workload is as alive as before"
    );
}
