//! `kube`, the Rust client, with its watchers, unchanged, against the API.

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event, InitialListStrategy};
use kube::runtime::{WatchStreamExt, reflector, wait};
use kube::{Api, Client, Config};
use serde_json::json;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;
use tests::world::World;
use tokio::runtime::Runtime;

/// An hour of nothing is a failure sooner.
const PATIENCE: Duration = Duration::from_secs(30);

fn run<F: Future>(test: F) -> F::Output {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("it ends in time") })
}

async fn client(world: &World) -> Client {
    let file = kube::config::Kubeconfig::read_from(world.mesh.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"value": value}})).unwrap()
}

#[test]
fn objects_are_made_read_changed_and_deleted() {
    let world = World::new();
    run(async {
        let client = client(&world).await;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "demo");
        let made = maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
        assert!(made.metadata.uid.is_some());
        let again = maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap_err();
        let kube::Error::Api(status) = again else { panic!("{again}") };
        assert_eq!((status.code, status.reason.as_str()), (409, "AlreadyExists"));

        // Optimistic concurrency: of two who read the same, one writes.
        let mut mine = maps.get("a").await.unwrap();
        let theirs = mine.clone();
        mine.data.as_mut().unwrap().insert("value".into(), "2".into());
        maps.replace("a", &PostParams::default(), &mine).await.unwrap();
        let stale = maps.replace("a", &PostParams::default(), &theirs).await.unwrap_err();
        let kube::Error::Api(status) = stale else { panic!("{stale}") };
        assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));

        let merged = json!({"data": {"more": "3"}});
        maps.patch("a", &PatchParams::default(), &Patch::Merge(merged)).await.unwrap();
        let mut applied = config_map("a", "4");
        applied.metadata.namespace = Some("demo".into());
        let force = PatchParams::apply("kube").force();
        let patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"value": "4"}});
        let now = maps.patch("a", &force, &Patch::Apply(patch)).await.unwrap();
        let data = now.data.unwrap();
        assert_eq!((data["value"].as_str(), data["more"].as_str()), ("4", "3"));

        for n in 0..7 {
            maps.create(&PostParams::default(), &config_map(&format!("page-{n}"), "")).await.unwrap();
        }
        let mut names = Vec::new();
        let mut page = ListParams::default().limit(3);
        loop {
            let list = maps.list(&page).await.unwrap();
            names.extend(list.items.into_iter().map(|it| it.metadata.name.unwrap()));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        assert_eq!(names.len(), 8);
        maps.delete("a", &DeleteParams::default()).await.unwrap();
        assert!(maps.get_opt("a").await.unwrap().is_none());
    });
}

#[test]
fn a_kind_of_the_mesh_is_found_and_its_condition_awaited() {
    let world = World::new();
    run(async {
        let client = client(&world).await;
        let kind = GroupVersionKind::gvk("outrigger.dev", "v1alpha1", "TrafficPolicy");
        let (resource, _) = kube::discovery::pinned_kind(&client, &kind).await.unwrap();
        assert_eq!(resource, ApiResource::from_gvk_with_plural(&kind, "trafficpolicies"));
        let policies: Api<DynamicObject> = Api::namespaced_with(client.clone(), "demo", &resource);
        let services: Api<Service> = Api::namespaced(client, "demo");
        let service: Service = serde_json::from_value(
            json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        )
        .unwrap();
        services.create(&PostParams::default(), &service).await.unwrap();
        let policy: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "TrafficPolicy", "metadata": {"name": "web"},
            "spec": {"targetRefs": [{"kind": "Service", "name": "web"}], "timeouts": {"request": "1s"}},
        }))
        .unwrap();
        policies.create(&PostParams::default(), &policy).await.unwrap();
        let is_accepted = |object: Option<&DynamicObject>| {
            object.is_some_and(|it| it.data["status"]["ancestors"][0]["conditions"][0]["status"] == "True")
        };
        wait::await_condition(policies, "web", is_accepted).await.unwrap();
    });
}

/// Follows ConfigMaps while they come, change and go, and must end with what a list says.
fn follows(strategy: InitialListStrategy) {
    let world = World::new();
    run(async {
        let client = client(&world).await;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "demo");
        for n in 0..5 {
            maps.create(&PostParams::default(), &config_map(&format!("m{n}"), "0")).await.unwrap();
        }
        let config = watcher::Config { initial_list_strategy: strategy, ..Default::default() };
        let (store, writer) = reflector::store();
        let mut events = pin!(reflector::reflector(writer, watcher::watcher(maps.clone(), config)));
        // The first list, whole.
        let mut first = BTreeSet::new();
        loop {
            match events.try_next().await.unwrap().unwrap() {
                Event::InitApply(it) => drop(first.insert(it.metadata.name.unwrap())),
                Event::InitDone => break,
                Event::Init => {}
                other @ (Event::Apply(_) | Event::Delete(_)) => panic!("{other:?}"),
            }
        }
        assert_eq!(first.len(), 5, "{first:?}");
        maps.create(&PostParams::default(), &config_map("m5", "0")).await.unwrap();
        let changed = json!({"data": {"value": "1"}});
        maps.patch("m0", &PatchParams::default(), &Patch::Merge(changed)).await.unwrap();
        maps.delete("m1", &DeleteParams::default()).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.push(match events.try_next().await.unwrap().unwrap() {
                Event::Apply(it) => format!("apply {}", it.metadata.name.unwrap()),
                Event::Delete(it) => format!("delete {}", it.metadata.name.unwrap()),
                other @ (Event::Init | Event::InitApply(_) | Event::InitDone) => panic!("{other:?}"),
            });
        }
        assert_eq!(seen, ["apply m5", "apply m0", "delete m1"], "each once, in order");
        let kept: BTreeSet<_> =
            store.state().iter().map(|it| (it.metadata.name.clone(), it.data.clone())).collect();
        let list = maps.list(&ListParams::default()).await.unwrap();
        let listed: BTreeSet<_> = list.items.into_iter().map(|it| (it.metadata.name, it.data)).collect();
        assert_eq!(kept, listed);
    });
}

#[test]
fn a_watcher_that_lists_first_misses_nothing() {
    follows(InitialListStrategy::ListWatch);
}

#[test]
fn a_watcher_that_has_the_list_streamed_misses_nothing() {
    follows(InitialListStrategy::StreamingList);
}

#[test]
fn a_watcher_goes_on_through_a_restart_of_the_control_plane() {
    let mut world = World::new();
    let runtime = Runtime::new().unwrap();
    let client = run(client(&world));
    drop(client);
    let (names, mut seen) = tokio::sync::mpsc::channel(64);
    let kubeconfig = world.mesh.kubeconfig();
    runtime.spawn(async move {
        let file = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        let namespaces: Api<Namespace> = Api::all(Client::try_from(config).unwrap());
        let events = watcher::watcher(namespaces, watcher::Config::default()).default_backoff();
        let mut objects = pin!(events.applied_objects());
        // Errors are the restart's: the watcher begins again.
        while let Some(found) = objects.next().await {
            if let Ok(namespace) = found {
                drop(names.send(namespace.metadata.name.unwrap()).await);
            }
        }
    });
    let mut until = |name: &str| {
        runtime.block_on(async {
            let found = async { while seen.recv().await.unwrap() != name {} };
            tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{name} is seen"));
        });
    };
    until("demo");
    world.mesh.kill_control_plane();
    world.mesh.restart_control_plane().unwrap();
    world.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: later}\n");
    until("later");
}
