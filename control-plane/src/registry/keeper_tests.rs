//! The keeper over a real store, with a clock that stands still until it is told.

use super::*;
use crate::registry::leases::{LOST_GRACE, RESTART_GRACE, UNREADY_KEEP};
use crate::registry::{Registration, Trouble};
use crate::store::EmbeddedStore;
use mesh_process::Tasks;
use mesh_protocol::announcement::{AnnouncedState, Announcement};
use serde_json::Value;

struct World {
    registry: Registry,
    store: Arc<dyn Store>,
    tasks: Tasks,
    folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::over(folder)
    }

    fn over(folder: tempfile::TempDir) -> Self {
        let path = folder.path().join("store.redb");
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(&path, &prometheus::Registry::new()).unwrap());
        let tasks = Tasks::new();
        let registry = Registry::spawn(&tasks, Arc::clone(&store));
        Self { registry, store, tasks, folder }
    }

    /// The workload's condition, once it is as asked.
    async fn until(&self, is_it: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
        let mut watch = self.store.watch(None, self.store.revision().await.unwrap()).await.unwrap();
        loop {
            let stored = self.store.get(&key()).await.unwrap();
            let object = stored.map(|stored| stored.object.read());
            if is_it(object.as_ref()) {
                return object;
            }
            watch.next().await.unwrap();
        }
    }

    async fn until_reason(&self, reason: &str) -> Value {
        let is_it =
            |it: Option<&Value>| it.is_some_and(|it| it["status"]["conditions"][0]["reason"] == reason);
        self.until(is_it).await.unwrap()
    }

    async fn register(&self, sequence: u64) -> Registration {
        let mut registration = self.registry.open();
        let peer = "spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap();
        registration.announce(&peer, announcement(sequence)).unwrap();
        assert_eq!(registration.stored().await.sequence, sequence);
        registration
    }
}

fn key() -> Key {
    Key::new(Kind::Workload, "shop", "orders-1")
}

fn announcement(sequence: u64) -> Announcement {
    Announcement {
        sequence,
        name: "orders-1".parse().unwrap(),
        labels: [("app".to_owned(), "orders".to_owned())].into(),
        address: [10, 0, 0, 1].into(),
        inbound_port: 15008.try_into().unwrap(),
        ports: vec![],
        locality: mesh_protocol::Locality { zone: Some("a".into()), ..Default::default() },
        weight: Default::default(),
        state: AnnouncedState::Ready,
        reason: String::new(),
        certificate_expires: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_workload_becomes_unready_and_is_deleted() {
    let world = World::start();
    let registration = world.register(1).await;
    let ready = world.until_reason("Connected").await;
    manifests::Object::from_json(Kind::Workload, ready).unwrap();
    let start = Instant::now();
    drop(registration);
    world.until_reason("Lost").await;
    assert!(start.elapsed() >= LOST_GRACE);
    world.until(|it| it.is_none()).await;
    assert!(start.elapsed() >= LOST_GRACE + UNREADY_KEEP);
}

#[tokio::test(start_paused = true)]
async fn a_refused_configuration_is_said_until_it_is_applied_and_a_workload_that_never_refused_is_left_alone()
{
    let world = World::start();
    let mut registration = world.register(1).await;
    let conditions = |it: &Value| it["status"]["conditions"].as_array().unwrap().clone();
    assert_eq!(conditions(&world.until_reason("Connected").await).len(), 1);
    let why = "its sidecar refused service shop/orders and goes on with what it had: no such policy";
    registration.configured(Some(Trouble::Refused(why.to_owned())));
    let is_said = |status: &'static str| {
        move |it: Option<&Value>| it.is_some_and(|it| it["status"]["conditions"][1]["status"] == status)
    };
    let said = world.until(is_said("False")).await.unwrap();
    let condition = &conditions(&said)[1];
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("ConfigurationApplied"), &json!("Refused"))
    );
    assert_eq!(condition["message"], why);
    manifests::Object::from_json(Kind::Workload, said).unwrap();
    // What else is announced meanwhile does not take it away.
    let peer = "spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap();
    registration
        .announce(&peer, Announcement { state: AnnouncedState::NotReady, ..announcement(2) })
        .unwrap();
    registration.stored().await;
    assert_eq!(conditions(&world.until_reason("NotReady").await)[1]["status"], "False");
    registration.configured(None);
    let applied = world.until(is_said("True")).await.unwrap();
    assert_eq!(conditions(&applied).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_we_end_ourselves_says_nothing_about_its_workload() {
    let world = World::start();
    let mut registration = world.register(1).await;
    registration.end_by_us();
    drop(registration);
    assert_eq!(world.registry.state().leases.next_deadline(), None);
}

#[tokio::test(start_paused = true)]
async fn saying_the_same_again_writes_nothing() {
    let world = World::start();
    let first = world.register(1).await;
    let revision = world.store.revision().await.unwrap();
    let second = world.register(2).await;
    drop(first);
    tokio::time::advance(LOST_GRACE * 2).await;
    let third = world.register(3).await;
    assert_eq!(world.store.revision().await.unwrap(), revision);
    drop((second, third));
}

#[tokio::test(start_paused = true)]
async fn a_workload_deleted_by_mistake_is_back_while_its_sidecar_is() {
    let world = World::start();
    let registration = world.register(1).await;
    let before = world.until_reason("Connected").await;
    // The keeper's watch is up when it has seen the second announcement, and waits again.
    let again = world.register(2).await;
    world.store.delete(key(), Expect::Any).await.unwrap();
    let after = world.until_reason("Connected").await;
    assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
    drop((registration, again));
}

#[tokio::test(start_paused = true)]
async fn what_people_add_to_a_workload_stays() {
    let world = World::start();
    let registration = world.register(1).await;
    let mut object = world.until_reason("Connected").await;
    object["metadata"]["annotations"]["team"] = "payments".into();
    world.store.put(key(), object, Expect::Any).await.unwrap();
    drop(registration);
    let lost = world.until_reason("Lost").await;
    assert_eq!(lost["metadata"]["annotations"]["team"], "payments");
    assert_eq!(lost["metadata"]["generation"], 1);
}

#[tokio::test(start_paused = true)]
async fn workloads_of_an_earlier_process_have_a_grace_to_come_back() {
    let world = World::start();
    let registration = world.register(1).await;
    let World { folder, store, tasks, registry } = world;
    // A crash: nothing is told, the process is just gone.
    std::mem::forget(registration);
    drop((registry, store));
    tasks.join(Duration::ZERO).await;
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("store.redb"), copy.path().join("store.redb")).unwrap();
    let world = World::over(copy);
    let start = Instant::now();
    world.until_reason("Connected").await;
    world.until_reason("Lost").await;
    assert!(start.elapsed() >= RESTART_GRACE);
    let registration = world.register(1).await;
    world.until_reason("Connected").await;
    drop(registration);
}
