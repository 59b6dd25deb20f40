//! The task over a real store: what it publishes, and what the controllers write.

use super::*;
use crate::store::{EmbeddedStore, Expect, Key};
use manifests::Kind;
use mesh_protocol::endpoint::{Endpoint, EndpointHealth};
use mesh_protocol::mesh::{EgressPolicy, Mesh};
use mesh_protocol::mtls::MtlsMode;
use mesh_protocol::resource::ResourceType;
use mesh_protocol::service::Service;
use mesh_protocol::workload::Workload;
use serde_json::{Value, json};

struct Plane {
    store: Arc<dyn Store>,
    feed: Feed,
    bundle: watch::Sender<TrustBundle>,
    _folder: tempfile::TempDir,
    _tasks: Tasks,
}

fn bundle(certificate: &'static [u8]) -> TrustBundle {
    TrustBundle { trust_domain: TrustDomain::default(), certificates: vec![certificate.into()] }
}

impl Plane {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = prometheus::Registry::new();
        let store = EmbeddedStore::open(&folder.path().join("store.redb"), &registry).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let tasks = Tasks::new();
        let (sender, receiver) = watch::channel(bundle(b"one"));
        let gauge = IntGauge::new("revision", "revision").unwrap();
        let feed = spawn(&tasks, Arc::clone(&store), TrustDomain::default(), receiver, gauge);
        Self { store, feed, bundle: sender, _folder: folder, _tasks: tasks }
    }

    async fn put(&self, kind: Kind, object: Value) -> Revision {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let key = Key::new(kind, text("/metadata/namespace"), text("/metadata/name"));
        self.store.put(key, object, Expect::Any).await.unwrap().revision
    }

    async fn reflects(&mut self, revision: Revision) -> Arc<Snapshot> {
        self.feed.reflected.wait_for(|reflected| *reflected >= revision).await.unwrap();
        self.feed.snapshots.borrow().clone().unwrap()
    }

    async fn stored(&self, kind: Kind, name: &str, until: impl Fn(&Value) -> bool) -> Value {
        let key = Key::new(kind, "shop", name);
        let mut watch = self.store.watch(Some(kind), Revision(0)).await.unwrap();
        loop {
            if let Some(stored) = self.store.get(&key).await.unwrap()
                && let object = stored.object.read()
                && until(&object)
            {
                return object;
            }
            watch.next().await.unwrap();
        }
    }
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "orders"},
           "spec": {"selector": {"app": "orders"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

fn workload(ready: &str) -> Value {
    json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Workload",
           "metadata": {"namespace": "shop", "name": "orders-1", "labels": {"app": "orders"}},
           "spec": {"address": "10.0.0.1", "inboundPort": 15008, "serviceAccount": "orders", "ports": [{"port": 8080}]},
           "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "Test", "message": "",
                                      "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
}

#[tokio::test]
async fn stored_objects_become_resources_and_derived_objects() {
    let mut plane = Plane::start().await;
    plane.put(Kind::Service, service()).await;
    let revision = plane.put(Kind::Workload, workload("True")).await;
    let snapshot = plane.reflects(revision).await;
    let bytes = &snapshot.get(ResourceType::Service, "shop/orders").unwrap().bytes;
    assert_eq!(Service::decode(bytes).unwrap().ports.len(), 1);
    let bytes = &snapshot.get(ResourceType::Endpoint, "shop/orders/orders-1").unwrap().bytes;
    assert_eq!(Endpoint::decode(bytes).unwrap().health, EndpointHealth::Ready);
    assert!(snapshot.get(ResourceType::Workload, "shop/orders-1").is_some());
    assert!(snapshot.get(ResourceType::TrustBundle, "mesh.internal").is_some());

    let slice = plane
        .stored(Kind::EndpointSlice, "orders-outrigger", |it| {
            it["endpoints"][0]["conditions"]["ready"] == true
        })
        .await;
    assert_eq!(slice["endpoints"][0]["targetRef"]["name"], "orders-1");
    assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));

    let revision = plane.put(Kind::Workload, workload("False")).await;
    let snapshot = plane.reflects(revision).await;
    let bytes = &snapshot.get(ResourceType::Endpoint, "shop/orders/orders-1").unwrap().bytes;
    assert_eq!(Endpoint::decode(bytes).unwrap().health, EndpointHealth::NotReady);
    plane
        .stored(Kind::EndpointSlice, "orders-outrigger", |it| {
            it["endpoints"][0]["conditions"]["ready"] == false
        })
        .await;
}

#[tokio::test]
async fn a_service_is_given_virtual_addresses_and_sidecars_are_told() {
    let mut plane = Plane::start().await;
    plane.put(Kind::Service, service()).await;
    let stored = plane.stored(Kind::Service, "orders", |it| it["spec"]["clusterIP"].is_string()).await;
    let addresses: Vec<std::net::IpAddr> =
        serde_json::from_value(stored["spec"]["clusterIPs"].clone()).unwrap();
    assert_eq!(addresses.len(), 2);
    assert_eq!(stored["spec"]["clusterIP"], addresses[0].to_string());
    let latest = plane.store.revision().await.unwrap();
    let snapshot = plane.reflects(latest).await;
    let bytes = &snapshot.get(ResourceType::Service, "shop/orders").unwrap().bytes;
    assert_eq!(Service::decode(bytes).unwrap().virtual_addresses, addresses);

    // Stored anew without them, as a client might that knows nothing of them.
    plane.put(Kind::Service, service()).await;
    let again = plane.stored(Kind::Service, "orders", |it| it["spec"]["clusterIP"].is_string()).await;
    assert_eq!(again["spec"], stored["spec"]);
}

#[tokio::test]
async fn what_changes_no_resource_is_reflected_and_wakes_no_stream() {
    let mut plane = Plane::start().await;
    let revision = plane.put(Kind::Service, service()).await;
    plane.stored(Kind::EndpointSlice, "orders-outrigger", |_| true).await;
    plane.stored(Kind::Service, "orders", |it| it["spec"]["clusterIP"].is_string()).await;
    plane.reflects(revision).await;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "s"}});
    let latest = plane.store.revision().await.unwrap();
    plane.reflects(latest).await;
    plane.feed.snapshots.borrow_and_update();
    let revision = plane.put(Kind::Secret, secret).await;
    let snapshot = plane.reflects(revision).await;
    assert!(!plane.feed.snapshots.has_changed().unwrap());
    assert_eq!(snapshot.revision(), revision);
}

fn numbered(number: usize) -> Value {
    let mut object = workload("True");
    object["metadata"]["name"] = format!("orders-{number}").into();
    object
}

/// The clock stands still but for what somebody waits out.
#[tokio::test(start_paused = true)]
async fn a_lone_change_waits_for_nothing_the_next_for_10_ms_at_most_and_a_storm_is_one_publication() {
    let mut plane = Plane::start().await;
    let revision = plane.put(Kind::Workload, numbered(0)).await;
    plane.reflects(revision).await;
    tokio::time::advance(PUBLISH_INTERVAL).await;
    let put = Instant::now();
    let revision = plane.put(Kind::Workload, numbered(1)).await;
    plane.reflects(revision).await;
    assert_eq!(put.elapsed(), Duration::ZERO, "a lone change");
    let revision = plane.put(Kind::Workload, numbered(2)).await;
    plane.reflects(revision).await;
    assert!(put.elapsed() <= Duration::from_millis(10), "the next: {:?}", put.elapsed());

    // While another thread writes, this one, and the index with it, does nothing.
    let store = Arc::clone(&plane.store);
    let storm = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let puts = (0..500).map(|number| {
            let name = format!("orders-{number}");
            store.put(Key::new(Kind::Workload, "shop", name), numbered(number), Expect::Any)
        });
        let all = runtime.block_on(futures_util::future::join_all(puts));
        all.into_iter().map(|stored| stored.unwrap().revision).max().unwrap()
    });
    let last = storm.join().unwrap();
    let mut publications = 0;
    while *plane.feed.reflected.borrow_and_update() < last {
        plane.feed.reflected.changed().await.unwrap();
        publications += 1;
    }
    assert_eq!(publications, 1);
}

#[tokio::test]
async fn the_mesh_resource_is_there_from_the_start_and_follows_the_mesh_config() {
    let mut plane = Plane::start().await;
    let mesh = |snapshot: &Snapshot| {
        Mesh::decode(&snapshot.get(ResourceType::Mesh, "default").unwrap().bytes).unwrap().egress
    };
    let seen = plane.feed.snapshots.wait_for(Option::is_some).await.unwrap().clone();
    assert_eq!(mesh(&seen.unwrap()), EgressPolicy::Allow);
    let config = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "MeshConfig", "metadata": {"name": "default"},
                        "spec": {"egress": {"policy": "RegisteredOnly"}, "mtls": {"mode": "Permissive"}}});
    plane.put(Kind::Workload, workload("True")).await;
    let key = Key::new(Kind::MeshConfig, "", "default");
    let revision = plane.store.put(key, config, Expect::Any).await.unwrap().revision;
    let snapshot = plane.reflects(revision).await;
    assert_eq!(mesh(&snapshot), EgressPolicy::RegisteredOnly);
    let bytes = &snapshot.get(ResourceType::Workload, "shop/orders-1").unwrap().bytes;
    assert_eq!(Workload::decode(bytes).unwrap().mtls.mode, MtlsMode::Permissive);
}

#[tokio::test]
async fn a_new_trust_bundle_is_published() {
    let mut plane = Plane::start().await;
    plane.feed.snapshots.wait_for(Option::is_some).await.unwrap();
    plane.feed.snapshots.borrow_and_update();
    plane.bundle.send_replace(bundle(b"two"));
    plane.feed.snapshots.changed().await.unwrap();
    let second = plane.feed.snapshots.borrow().clone().unwrap();
    let bytes = &second.get(ResourceType::TrustBundle, "mesh.internal").unwrap().bytes;
    assert_eq!(TrustBundle::decode(bytes).unwrap(), bundle(b"two"));
}

#[tokio::test]
async fn a_route_hears_whether_it_works() {
    let plane = Plane::start().await;
    plane.put(Kind::Service, service()).await;
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": "shop", "name": "orders", "generation": 3},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "orders"}],
                 "rules": [{"backendRefs": [{"name": "ordrs", "port": 80}]}]}});
    plane.put(Kind::HttpRoute, route).await;
    let route = plane.stored(Kind::HttpRoute, "orders", |it| it.get("status").is_some()).await;
    let parent = &route["status"]["parents"][0];
    assert_eq!(parent["controllerName"], "outrigger.dev/mesh");
    let said = |n: usize| {
        let it = &parent["conditions"][n];
        format!("{}={} {}", it["type"], it["status"], it["reason"]).replace('"', "")
    };
    assert_eq!(said(0), "Accepted=True Accepted");
    assert_eq!(said(1), "ResolvedRefs=False BackendNotFound");
    assert_eq!(parent["conditions"][1]["observedGeneration"], 3);
}

#[tokio::test]
async fn a_service_hears_of_workloads_without_its_port_until_it_is_mended() {
    let plane = Plane::start().await;
    plane.put(Kind::Workload, workload("True")).await;
    let mut other = service();
    other["spec"]["ports"][0]["targetPort"] = json!(9999);
    plane.put(Kind::Service, other).await;
    let said =
        plane.stored(Kind::Service, "orders", |it| it["status"]["conditions"][0]["status"] == "False").await;
    assert_eq!(said["status"]["conditions"][0]["reason"], "PortNotFound");
    let mut mended = said.clone();
    mended["spec"]["ports"][0]["targetPort"] = json!(8080);
    plane.put(Kind::Service, mended).await;
    plane.stored(Kind::Service, "orders", |it| it["status"]["conditions"][0]["status"] == "True").await;
}

#[tokio::test]
async fn a_policy_on_plain_text_says_whether_it_holds_for_anyone() {
    let plane = Plane::start().await;
    // It says so only once it stays so.
    tokio::time::pause();
    let policy = json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "PeerAuthentication",
        "metadata": {"name": "probes", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "orders"}}, "mtls": {"mode": "Permissive"}},
    });
    plane.put(Kind::PeerAuthentication, policy).await;
    let is = |status: &'static str| move |it: &Value| it["status"]["conditions"][0]["status"] == status;
    let said = plane.stored(Kind::PeerAuthentication, "probes", is("False")).await;
    assert_eq!(said["status"]["conditions"][0]["type"], "Accepted");
    assert_eq!(said["status"]["conditions"][0]["reason"], "TargetNotFound");
    plane.put(Kind::Workload, workload("True")).await;
    plane.stored(Kind::PeerAuthentication, "probes", is("True")).await;
}
