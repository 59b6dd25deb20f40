//! Owners and what they own, deleted by kubectl in each of its ways.

use super::{clean, kubectl, manifest};
use tests::wait::{eventually, holds};
use tests::world::World;

/// A Service, and a ConfigMap that it owns.
fn make(world: &World) {
    let web = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: demo}\nspec: {ports: [{port: 80}]}\n";
    clean(world, &["apply", "-f", &manifest(world, "web.yaml", web)]);
    let uid = clean(world, &["get", "-n", "demo", "service/web", "-o", "jsonpath={.metadata.uid}"]);
    let page = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: page\n  namespace: demo\n  ownerReferences: [{{apiVersion: v1, kind: Service, name: web, uid: {uid}, blockOwnerDeletion: true}}]\n"
    );
    clean(world, &["apply", "-f", &manifest(world, "page.yaml", &page)]);
}

fn is_there(world: &World, object: &str) -> bool {
    kubectl(world, &["get", "-n", "demo", object]).status.success()
}

#[test]
fn what_is_owned_goes_with_its_owner_or_before_it_or_stays() {
    let world = World::new();
    let delete = |cascade: &str| {
        let deleted = clean(&world, &["delete", "-n", "demo", "service/web", cascade]);
        assert!(deleted.contains("service \"web\" deleted"), "{deleted}");
        assert!(!is_there(&world, "service/web"), "kubectl waits for it");
    };
    make(&world);
    delete("--cascade=background");
    eventually("what nobody owns any more goes", || {
        let page = kubectl(&world, &["get", "-n", "demo", "configmap/page"]);
        holds(!page.status.success(), page)
    });

    make(&world);
    delete("--cascade=foreground");
    assert!(!is_there(&world, "configmap/page"), "it went first");

    make(&world);
    delete("--cascade=orphan");
    assert_eq!(
        clean(&world, &["get", "-n", "demo", "configmap/page", "-o", "jsonpath={.metadata.ownerReferences}"]),
        ""
    );
}
