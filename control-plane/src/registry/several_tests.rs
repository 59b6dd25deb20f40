//! Two control planes over one store, with a clock that stands still until it is told.

use super::leases::{LOST_GRACE, RESTART_GRACE};
use super::*;
use crate::store::{
    EmbeddedStore, Event, Expect, Key, Leadership, List, Replica, Revision, StoreError, Stored, Watch,
};
use futures_util::future::BoxFuture;
use manifests::Kind;
use mesh_protocol::announcement::AnnouncedState;
use serde_json::Value;
use std::cell::Cell;

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
        locality: Default::default(),
        weight: Default::default(),
        state: AnnouncedState::Ready,
        reason: String::new(),
        certificate_expires: None,
    }
}

/// A store as one of several control planes sees it.
struct Named {
    store: Arc<dyn Store>,
    name: &'static str,
    alive: Arc<Mutex<Vec<&'static str>>>,
}

impl Store for Named {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        self.store.get(key)
    }
    fn list<'a>(
        &'a self,
        kind: Option<Kind>,
        namespace: Option<&'a str>,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        self.store.list(kind, namespace)
    }
    fn list_at<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
        at: Revision,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        self.store.list_at(kind, namespace, at)
    }
    fn put(&self, key: Key, object: Value, expect: Expect) -> BoxFuture<'_, Result<Stored, StoreError>> {
        self.store.put(key, object, expect)
    }
    fn delete(&self, key: Key, expect: Expect) -> BoxFuture<'_, Result<Stored, StoreError>> {
        self.store.delete(key, expect)
    }
    fn watch(&self, kind: Option<Kind>, from: Revision) -> BoxFuture<'_, Result<Watch, StoreError>> {
        self.store.watch(kind, from)
    }
    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.store.revision()
    }
    fn replica(&self) -> &str {
        self.name
    }
    fn replicas(&self) -> BoxFuture<'_, Result<Vec<Replica>, StoreError>> {
        let alive = self.alive.lock().unwrap().clone();
        let alive = alive.into_iter().map(|it| Replica { name: it.to_owned(), discovery: String::new() });
        let alive = alive.collect();
        Box::pin(async { Ok(alive) })
    }
    fn lead(&self, office: &'static str) -> BoxFuture<'_, Leadership> {
        self.store.lead(office)
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}

struct World {
    store: Arc<dyn Store>,
    alive: Arc<Mutex<Vec<&'static str>>>,
    /// Up to where the workload was followed.
    seen: Cell<Revision>,
    _folder: tempfile::TempDir,
}

struct ControlPlane {
    registry: Registry,
    tasks: Tasks,
    store: Arc<dyn Store>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&folder.path().join("store"), &prometheus::Registry::new()).unwrap();
        Self { store: Arc::new(store), alive: Arc::default(), seen: Cell::default(), _folder: folder }
    }

    fn start(&self, name: &'static str) -> ControlPlane {
        self.alive.lock().unwrap().push(name);
        let store = Named { store: Arc::clone(&self.store), name, alive: Arc::clone(&self.alive) };
        let (tasks, store): (_, Arc<dyn Store>) = (Tasks::new(), Arc::new(store));
        let registry = Registry::spawn(&tasks, Arc::clone(&store));
        ControlPlane { registry, tasks, store }
    }

    /// Follows the workload until it comes to be at `control_plane` with this reason. By its history: the clock runs ahead
    /// while the store works, so that what it is now may be the next thing already.
    async fn until(&self, control_plane: &str, reason: &str) {
        let mut watch = self.store.watch(Some(Kind::Workload), self.seen.get()).await.unwrap();
        loop {
            if let Event::Put { stored, .. } = watch.next().await.unwrap() {
                self.seen.set(stored.revision);
                if is_at(&stored.object.read(), control_plane, reason) {
                    return;
                }
            }
        }
    }

    /// Whether it is so now.
    async fn is(&self, control_plane: &str, reason: &str) -> bool {
        let stored = self.store.get(&key()).await.unwrap();
        stored.is_some_and(|stored| is_at(&stored.object.read(), control_plane, reason))
    }
}

fn is_at(workload: &Value, control_plane: &str, reason: &str) -> bool {
    let is = |pointer: &str, text: &str| workload.pointer(pointer).is_some_and(|it| it == text);
    is("/status/controlPlane", control_plane) && is("/status/conditions/0/reason", reason)
}

impl ControlPlane {
    async fn register(&self, sequence: u64) -> Registration {
        let mut registration = self.registry.open();
        let peer = "spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap();
        registration.announce(&peer, announcement(sequence)).unwrap();
        assert_eq!(registration.stored().await.sequence, sequence);
        registration
    }

    /// Waits until this one knows that another has the workload.
    async fn knows_it_elsewhere(&self) {
        while self.registry.state().leases.elsewhere().next().is_none() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_goes_to_another_control_plane_is_that_ones() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    let first = a.register(1).await;
    world.until("a", "Connected").await;
    b.knows_it_elsewhere().await;
    let second = b.register(1).await;
    world.until("b", "Connected").await;
    a.knows_it_elsewhere().await;
    drop(first);
    tokio::time::advance(LOST_GRACE * 3).await;
    assert!(world.is("b", "Connected").await);
    drop(second);
    world.until("b", "Lost").await;
}

#[tokio::test(start_paused = true)]
async fn who_is_still_connected_has_the_workload_again_when_the_other_loses_it() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    let first = a.register(1).await;
    let second = b.register(1).await;
    a.knows_it_elsewhere().await;
    // Only noted: the newer stream is the other's.
    let peer = "spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap();
    first.announce(&peer, announcement(2)).unwrap();
    world.until("b", "Connected").await;
    drop(second);
    world.until("a", "Connected").await;
    drop(first);
    world.until("a", "Lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_lives_at_another_control_plane_is_taken() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    let _first = a.register(1).await;
    b.knows_it_elsewhere().await;
    let thief = "spiffe://mesh.internal/ns/shop/sa/thief".parse().unwrap();
    let refused = b.registry.open().announce(&thief, announcement(1)).unwrap_err();
    assert!(refused.to_string().contains("is held by a sidecar of service account `orders`"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn workloads_of_a_control_plane_that_died_are_the_leaders_after_a_while() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    b.tasks.spawn("orphans", orphans::run(b.registry.clone(), Arc::clone(&b.store)));
    let first = a.register(1).await;
    // It dies without a word.
    std::mem::forget(first);
    a.tasks.abort();
    world.alive.lock().unwrap().retain(|name| *name != "a");
    let start = Instant::now();
    world.until("b", "Connected").await;
    world.until("b", "Lost").await;
    assert!(start.elapsed() >= RESTART_GRACE);
    // Its sidecar is back after all, at a third one.
    let c = world.start("c");
    let _third = c.register(1).await;
    world.until("c", "Connected").await;
    tokio::time::advance(leases::UNREADY_KEEP * 2).await;
    assert!(world.is("c", "Connected").await);
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_starts_again_takes_over_its_own_only() {
    let world = World::new();
    let a = world.start("a");
    let first = a.register(1).await;
    std::mem::forget(first);
    a.tasks.abort();
    let b = world.start("b");
    b.knows_it_elsewhere().await;
    assert_eq!(b.registry.state().leases.next_deadline(), None, "it is not b's to lose");
    let _a = world.start("a");
    world.until("a", "Lost").await;
}
