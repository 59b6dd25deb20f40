//! The objects of the simulated mesh: services with endpoints, and `hot`, which every sidecar calls and which is changed.

use anyhow::{Context, Result};
use http::Method;
use mesh_names::ServiceName;
use serde_json::{Value, json};
use tests::api::Api;

/// Where all of it is.
pub(crate) const NAMESPACE: &str = "scale";
/// Bytes of objects in one request; the API takes three times as many.
const BATCH_BYTES: usize = 512 * 1024;
const MERGE: &str = "application/merge-patch+json";

/// The service that every sidecar calls.
pub(crate) fn hot() -> Result<ServiceName> {
    format!("{NAMESPACE}/hot").parse().context("a service's name")
}

/// One of the others.
pub(crate) fn service(number: usize) -> Result<ServiceName> {
    format!("{NAMESPACE}/s-{number}").parse().context("a service's name")
}

/// Writes all of them.
pub(crate) async fn seed(api: &mut Api, services: usize, endpoints: usize) -> Result<()> {
    let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})];
    let names = (0..services).map(|number| format!("s-{number}")).chain(["hot".to_owned()]);
    for (number, name) in names.enumerate() {
        objects.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "name": "http", "targetPort": "main", "appProtocol": "http"}]},
        }));
        for endpoint in 0..endpoints {
            let address = format!("10.{}.{}.{}", number / 250, number % 250, endpoint + 1);
            objects.push(json!({
                "apiVersion": "outrigger.dev/v1alpha1", "kind": "Workload",
                "metadata": {"name": format!("{name}-{endpoint}"), "namespace": NAMESPACE, "labels": {"app": name}},
                "spec": {"address": address, "inboundPort": 15008, "ports": [{"name": "main", "port": 8080, "appProtocol": "http"}]},
            }));
        }
    }
    objects.push(route(1));
    let mut batch = Vec::new();
    let mut bytes = 0;
    for object in objects {
        bytes += object.to_string().len();
        batch.push(object);
        if bytes > BATCH_BYTES {
            restore(api, std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
    }
    restore(api, batch).await
}

async fn restore(api: &mut Api, items: Vec<Value>) -> Result<()> {
    let backup = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Backup", "items": items});
    api.send(Method::POST, "/restore", "application/json", &backup).await.map(|_| ())
}

fn route(seconds: usize) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "hot", "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "hot"}],
            "rules": [{"backendRefs": [{"name": "hot", "port": 80}], "timeouts": {"request": format!("{seconds}s")}}],
        },
    })
}

/// Changes one endpoint of `hot`.
pub(crate) async fn change_endpoint(api: &mut Api, number: usize) -> Result<()> {
    let path = format!("/apis/outrigger.dev/v1alpha1/namespaces/{NAMESPACE}/workloads/hot-0");
    api.send(Method::PATCH, &path, MERGE, &json!({"spec": {"weight": number + 2}})).await.map(|_| ())
}

/// Changes the route of `hot`.
pub(crate) async fn change_route(api: &mut Api, number: usize) -> Result<()> {
    let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes/hot");
    let spec = route(number + 2).get("spec").cloned().unwrap_or_default();
    api.send(Method::PATCH, &path, MERGE, &json!({"spec": spec})).await.map(|_| ())
}
