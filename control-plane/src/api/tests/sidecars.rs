//! What Workloads show of their sidecars.

use super::*;

const WORKLOADS: &str = "/apis/outrigger.dev/v1alpha1/namespaces/shop/workloads";

async fn start() -> Mesh {
    let mut mesh = Mesh::start().await;
    let (code, _) = mesh.post("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    assert_eq!(code, StatusCode::CREATED);
    mesh
}

fn workload(name: &str) -> Value {
    json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Workload", "metadata": {"name": name},
           "spec": {"address": "10.0.0.1"}})
}

#[tokio::test]
async fn a_workload_shows_what_its_sidecar_says_now_and_stores_nothing_of_it() {
    let mut mesh = start().await;
    for name in ["orders-1", "orders-2"] {
        let (code, created) = mesh.post(WORKLOADS, workload(name)).await;
        assert_eq!(code, StatusCode::CREATED, "{created}");
    }
    let path = format!("{WORKLOADS}/orders-1");
    let (_, mut shown) = mesh.get(&path).await;
    assert_eq!(shown["status"]["sidecar"], json!({"appliedRevision": "7"}));
    let (_, list) = mesh.get(WORKLOADS).await;
    let said: Vec<_> = list["items"].as_array().unwrap().iter().map(|it| &it["status"]["sidecar"]).collect();
    assert_eq!(said, [&json!({"appliedRevision": "7"}), &Value::Null], "the other has no sidecar");

    // What was read is written back, as editors do, and to the status too.
    let revision = shown["metadata"]["resourceVersion"].clone();
    let (code, replaced) = mesh.put(&path, &shown).await;
    assert_eq!((code, &replaced["metadata"]["resourceVersion"]), (StatusCode::OK, &revision), "no change");
    assert_eq!(replaced["status"], shown["status"], "what is written is answered as it is read");
    let dry = format!("{path}?dryRun=All");
    let (_, tried) = mesh.patch(&dry, "merge-patch+json", json!({"spec": {"zone": "b"}})).await;
    assert_eq!(tried["status"], shown["status"], "`kubectl diff` shows the zone alone");
    shown["status"]["sidecar"]["appliedRevision"] = json!("1");
    let other = format!("{WORKLOADS}/orders-2");
    let status = json!({"status": shown["status"]});
    assert_eq!(mesh.patch(&format!("{other}/status"), "merge-patch+json", status).await.0, StatusCode::OK);
    let (_, shown) = mesh.get(&other).await;
    assert_eq!(shown["status"].get("sidecar"), None, "nobody's word: {shown}");
}

#[tokio::test]
async fn a_workload_is_shown_with_a_warning_where_a_sidecar_may_be_missing() {
    let mut mesh = start().await;
    assert_eq!(mesh.post(WORKLOADS, workload("orders-1")).await.0, StatusCode::CREATED);
    let request = Request::get(WORKLOADS).body(Full::default()).unwrap();
    let response = mesh.send_as(administrator(), request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let warning = response.headers().get("warning").unwrap().to_str().unwrap();
    assert!(warning.contains("one control plane did not answer"), "{warning}");
}
