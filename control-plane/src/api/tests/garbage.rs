//! Owners and what they own, deleted in each of the ways there are.

use super::*;
use crate::api::garbage::collect;
use crate::store::{Event, Revision, Watch};
use manifests::Kind;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A mesh whose garbage is collected, and what happens to its ConfigMaps and Services from now on.
struct World {
    mesh: Mesh,
    changes: Watch,
}

impl World {
    async fn start() -> Self {
        let mut mesh = Mesh::start().await;
        let api = Arc::clone(&mesh.api.0);
        let changes = api.store.watch(None, api.store.revision().await.unwrap()).await.unwrap();
        mesh.connections.spawn(collect(api));
        Self { mesh, changes }
    }

    /// Creates an object, and returns its reference as an owner.
    async fn owner(&mut self, name: &str, owners: &[&Value]) -> Value {
        let mut object = service(name);
        object["metadata"]["ownerReferences"] = json!(owners);
        let (code, made) = self.mesh.post(SERVICES, object).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
        json!({"apiVersion": "v1", "kind": "Service", "name": name, "uid": made["metadata"]["uid"], "blockOwnerDeletion": true})
    }

    async fn owned(&mut self, name: &str, owners: &[&Value], finalizers: &[&str]) {
        let metadata = json!({"name": name, "ownerReferences": owners, "finalizers": finalizers});
        let (code, made) = self.mesh.post(MAPS, json!({"metadata": metadata, "data": {}})).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
    }

    async fn delete(&mut self, name: &str, propagation: &str) -> Value {
        let options = json!({"propagationPolicy": propagation});
        let path = format!("{SERVICES}/{name}");
        let (code, object) = self.mesh.call(Method::DELETE, &path, "application/json", &options).await;
        assert!(code.is_success(), "{object}");
        object
    }

    /// The names of what is deleted, up to this one.
    async fn deleted_until(&mut self, last: &str) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            if let Event::Deleted { stored, .. } = self.changes.next().await.unwrap() {
                names.push(stored.key.name);
                if names.last().is_some_and(|name| name == last) {
                    return names;
                }
            }
        }
    }

    /// Waits until an object is as it should be.
    async fn until(&mut self, kind: Kind, name: &str, is_so: impl Fn(&Value) -> bool) {
        loop {
            if let Event::Put { stored, .. } = self.changes.next().await.unwrap()
                && (stored.key.kind, stored.key.name.as_str()) == (kind, name)
                && is_so(&stored.object.read())
            {
                return;
            }
        }
    }

    async fn is_there(&mut self, path: &str) -> bool {
        self.mesh.get(path).await.0 == StatusCode::OK
    }
}

fn owners(object: &Value) -> Vec<&str> {
    let list = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    list.filter_map(|owner| owner["name"].as_str()).collect()
}

#[tokio::test]
async fn what_nobody_owns_any_more_goes_and_what_has_another_owner_stays() {
    let mut world = World::start().await;
    let (a, b) = (world.owner("a", &[]).await, world.owner("b", &[]).await);
    let between = world.owner("between", &[&a]).await;
    let foreign = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "elsewhere"});
    world.owned("alone", &[&between], &[]).await;
    world.owned("both", &[&a, &b], &[]).await;
    world.owned("foreign", &[&a, &foreign], &[]).await;
    assert_eq!(world.delete("a", "Background").await["status"], "Success");
    for (name, other) in [("both", "b"), ("foreign", "d")] {
        world.until(Kind::ConfigMap, name, |it| owners(it) == [other]).await;
    }
    // What is deleted takes along what it owns.
    let mut again =
        World { changes: world.mesh.api.0.store.watch(None, Revision(0)).await.unwrap(), ..world };
    assert_eq!(again.deleted_until("alone").await, ["a", "between", "alone"]);
    assert!(
        again.is_there(&format!("{MAPS}/both")).await && again.is_there(&format!("{MAPS}/foreign")).await
    );
}

#[tokio::test]
async fn an_owner_deleted_in_the_foreground_waits_for_what_it_owns() {
    let mut world = World::start().await;
    let a = world.owner("a", &[]).await;
    let between = world.owner("between", &[&a]).await;
    world.owned("held", &[&between], &["example.org/hold"]).await;
    let going = world.delete("a", "Foreground").await;
    assert_eq!(going["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    world.until(Kind::ConfigMap, "held", |it| it["metadata"]["deletionTimestamp"].is_string()).await;
    assert!(
        world.is_there(&format!("{SERVICES}/a")).await
            && world.is_there(&format!("{SERVICES}/between")).await
    );
    let path = format!("{MAPS}/held");
    world.mesh.patch(&path, "merge-patch+json", json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(world.deleted_until("a").await, ["held", "between", "a"]);
}

#[tokio::test]
async fn two_that_own_each_other_do_not_wait_for_each_other() {
    let mut world = World::start().await;
    let a = world.owner("a", &[]).await;
    let b = world.owner("b", &[&a]).await;
    let owned = json!({"metadata": {"ownerReferences": [b]}});
    world.mesh.patch(&format!("{SERVICES}/a"), "merge-patch+json", owned).await;
    world.delete("a", "Foreground").await;
    assert_eq!(world.deleted_until("a").await, ["b", "a"]);
}

#[tokio::test]
async fn orphans_stay_without_their_owner() {
    let mut world = World::start().await;
    let a = world.owner("a", &[]).await;
    world.owned("orphan", &[&a], &[]).await;
    world.delete("a", "Orphan").await;
    world.until(Kind::ConfigMap, "orphan", |it| owners(it).is_empty()).await;
    assert_eq!(world.deleted_until("a").await, ["a"]);
    assert!(world.is_there(&format!("{MAPS}/orphan")).await);
}

#[tokio::test]
async fn what_names_an_owner_that_never_comes_goes_in_the_end() {
    let mut world = World::start().await;
    tokio::time::pause();
    let nobody = json!({"apiVersion": "v1", "kind": "Service", "name": "a", "uid": "nobody"});
    world.owned("lost", &[&nobody], &[]).await;
    assert_eq!(world.deleted_until("lost").await, ["lost"]);
}

#[tokio::test]
async fn a_way_to_delete_that_there_is_not_is_refused() {
    let mut world = World::start().await;
    world.owner("a", &[]).await;
    let path = format!("{SERVICES}/a");
    for (options, reason) in [
        (json!({"propagationPolicy": "foreground"}), "must be `Background`, `Foreground` or `Orphan`"),
        (json!({"propagationPolicy": "Orphan", "orphanDependents": true}), "send one"),
    ] {
        let (code, status) = world.mesh.call(Method::DELETE, &path, "application/json", &options).await;
        assert_eq!(code, StatusCode::BAD_REQUEST);
        assert!(status["message"].as_str().unwrap().contains(reason), "{status}");
    }
    let (code, _) = world.mesh.delete(&format!("{path}?propagationPolicy=Orphan")).await;
    assert_eq!(code, StatusCode::ACCEPTED);
    assert_eq!(world.deleted_until("a").await, ["a"]);
}
