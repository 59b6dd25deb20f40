//! What people write about the mesh as a whole and about plain text, and what sidecars are told of it.

use super::fixture::{apply, changes, deletion, index};
use super::*;
use mesh_names::{Port, WorkloadName};
use mesh_protocol::mesh::EgressPolicy;
use mesh_protocol::mtls::{InboundMtls, MtlsMode};

const WORKLOADS: &str = r"
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { namespace: shop, name: orders-1, labels: { app: orders } }
spec: { address: 10.0.0.1, inboundPort: 15008, ports: [{ port: 8080 }, { port: 8081 }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { namespace: shop, name: web-1, labels: { app: web } }
spec: { address: 10.0.0.2, inboundPort: 15008, ports: [{ port: 8080 }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { namespace: shop2, name: other-1, labels: { app: orders } }
spec: { address: 10.0.0.3, inboundPort: 15008, ports: [{ port: 8080 }] }
";

fn mesh_config(spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshConfig\nmetadata: {{ name: default }}\nspec: {spec}\n"
    )
}

fn policy(name: &str, created: u8, spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {{ namespace: shop, name: {name}, \
         creationTimestamp: '2026-01-0{created}T00:00:00Z' }}\nspec: {spec}\n"
    )
}

fn name(text: &str) -> WorkloadName {
    text.parse().unwrap()
}

fn mtls(index: &Index, workload: &str) -> InboundMtls {
    compile_workload(index, &name(workload)).unwrap().mtls
}

/// The mode, and the exceptions as `8081=Permissive`.
fn said(index: &Index, workload: &str) -> String {
    let InboundMtls { mode, exceptions } = mtls(index, workload);
    let exceptions = exceptions.iter().map(|(port, mode)| format!(" {port}={mode:?}"));
    format!("{mode:?}{}", exceptions.collect::<String>())
}

fn workloads(dirty: &std::collections::BTreeSet<Dirty>) -> Vec<String> {
    let names = dirty.iter().filter_map(|dirty| match dirty {
        Dirty::Workload(name) => Some(name.to_string()),
        Dirty::Service(_)
        | Dirty::Endpoints(_)
        | Dirty::Route(_)
        | Dirty::Policy(_)
        | Dirty::Mesh
        | Dirty::PeerAuthentication(_)
        | Dirty::External(_)
        | Dirty::ExternalHost(_)
        | Dirty::Address(_) => None,
    });
    names.collect()
}

#[test]
fn without_a_mesh_config_egress_is_allowed_and_plain_text_is_not() {
    let index = index(WORKLOADS);
    assert_eq!(compile_mesh(&index).egress, EgressPolicy::Allow);
    assert_eq!(mtls(&index, "shop/orders-1"), InboundMtls::default());
    assert_eq!(mtls(&index, "shop/orders-1").mode_of(Port::new(8080).unwrap()), MtlsMode::Strict);
}

#[test]
fn the_egress_policy_follows_the_mesh_config_and_touches_no_workload() {
    let mut index = index(WORKLOADS);
    let written = mesh_config("{ egress: { policy: RegisteredOnly } }");
    let dirty = apply(&mut index, &written);
    assert_eq!(dirty, [Dirty::Mesh].into());
    assert_eq!(compile_mesh(&index).egress, EgressPolicy::RegisteredOnly);
    index.apply(deletion(&changes(&written)[0]));
    assert_eq!(compile_mesh(&index).egress, EgressPolicy::Allow);
}

#[test]
fn the_narrowest_word_on_a_port_counts() {
    let mut index = index(WORKLOADS);
    let dirty = apply(&mut index, &mesh_config("{ mtls: { ports: [{ port: 9000, mode: Permissive }] } }"));
    assert_eq!(workloads(&dirty), ["shop/orders-1", "shop/web-1", "shop2/other-1"]);
    assert_eq!(said(&index, "shop/web-1"), "Strict 9000=Permissive");

    let dirty = apply(&mut index, &policy("all", 2, "{ mtls: { mode: Permissive } }"));
    assert_eq!(workloads(&dirty), ["shop/orders-1", "shop/web-1"]);
    assert_eq!(said(&index, "shop/web-1"), "Permissive");
    assert_eq!(said(&index, "shop2/other-1"), "Strict 9000=Permissive");

    let selected = "{ selector: { matchLabels: { app: orders } }, mtls: { mode: Strict, ports: [{ port: 8081, mode: Permissive }] } }";
    let dirty = apply(&mut index, &policy("orders", 3, selected));
    assert_eq!(workloads(&dirty), ["shop/orders-1"]);
    assert_eq!(said(&index, "shop/orders-1"), "Strict 8081=Permissive");
    assert_eq!(said(&index, "shop/web-1"), "Permissive");
}

#[test]
fn ports_alone_leave_the_mode_to_the_wider_object() {
    let mut index = index(WORKLOADS);
    let probes =
        "{ selector: { matchLabels: { app: orders } }, mtls: { ports: [{ port: 8081, mode: Permissive }] } }";
    apply(&mut index, &policy("probes", 1, probes));
    assert_eq!(said(&index, "shop/orders-1"), "Strict 8081=Permissive");
    apply(&mut index, &mesh_config("{ mtls: { mode: Permissive } }"));
    assert_eq!(said(&index, "shop/orders-1"), "Permissive");
}

#[test]
fn a_policy_that_holds_for_nobody_says_so_and_why() {
    let mut index = index(WORKLOADS);
    let judged = |index: &Index, name: &str| {
        let name = PolicyName { namespace: "shop".parse().unwrap(), name: name.parse().unwrap() };
        judge_peer_authentication(index, &name).map(|it| (it.reason, it.message))
    };
    let permissive = "{ mtls: { mode: Permissive } }";
    let select =
        |app: &str| format!("{{ selector: {{ matchLabels: {{ app: {app} }} }}, mtls: {{ mode: Strict }} }}");
    apply(&mut index, &policy("all", 2, permissive));
    apply(&mut index, &policy("orders", 2, &select("orders")));
    for name in ["all", "orders"] {
        assert_eq!(judged(&index, name).unwrap().0, "Accepted");
    }
    for (name, spec, elder) in [("later", permissive, "all"), ("again", &select("orders"), "orders")] {
        let dirty = apply(&mut index, &policy(name, 3, spec));
        let told = |it: &Dirty| matches!(it, Dirty::PeerAuthentication(it) if it.name.as_str() == name);
        assert!(dirty.iter().any(told), "{dirty:?}");
        let (reason, message) = judged(&index, name).unwrap();
        assert_eq!(reason, "Conflicted");
        assert!(message.starts_with(&format!("shop/{elder} is older")), "{message}");
    }
    apply(&mut index, &policy("nobody", 1, &select("nobody")));
    let (reason, message) = judged(&index, "nobody").unwrap();
    assert_eq!(reason, "TargetNotFound");
    assert!(message.contains("`spec.selector`"), "{message}");
    assert_eq!(judged(&index, "none"), None);
}

#[test]
fn of_two_that_are_equally_narrow_the_older_counts_alone() {
    let mut index = index(WORKLOADS);
    apply(&mut index, &policy("b", 1, "{ mtls: { mode: Permissive } }"));
    apply(&mut index, &policy("a", 2, "{ mtls: { mode: Strict, ports: [{ port: 8080, mode: Strict }] } }"));
    assert_eq!(said(&index, "shop/web-1"), "Permissive");
    index.apply(deletion(&changes(&policy("b", 1, "{ mtls: { mode: Permissive } }"))[0]));
    assert_eq!(said(&index, "shop/web-1"), "Strict");
}
