//! `proxies.outrigger.dev`: one object per connected sidecar, from what the discovery server knows.

use super::{Made, age, column};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Knows the connected sidecars.
pub trait ProxyDirectory: Send + Sync + 'static {
    /// One object per connected sidecar of any control plane, of a namespace or of all, of a name or of all:
    ///
    /// ```json
    /// {"metadata": {"name": "orders-1", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
    ///  "status": {"identity": "spiffe://mesh.internal/ns/shop/sa/orders", "connected": true,
    ///             "appliedRevision": "41", "pending": 0, "rejected": 0}}
    /// ```
    ///
    /// `creationTimestamp` is when the sidecar connected; `pending` counts resources sent and not yet acknowledged,
    /// `rejected` those it refused. Further fields of `status` are shown as they are. `apiVersion` and `kind` are added.
    fn list<'a>(&'a self, namespace: Option<&'a str>, name: Option<&'a str>) -> BoxFuture<'a, ProxyListing>;
}

/// The connected sidecars that could be found out about.
#[derive(Debug, Default)]
pub struct ProxyListing {
    /// One object each.
    pub proxies: Vec<Value>,
    /// Why some are not among them.
    pub warnings: Vec<String>,
}

/// The objects of the directory.
pub(super) async fn list(
    directory: &dyn ProxyDirectory,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Made {
    let ProxyListing { proxies, warnings } = directory.list(namespace, name).await;
    Made { objects: proxies, warnings }
}

pub(super) fn columns() -> Value {
    json!([
        column("Name", "string", "The sidecar's workload"),
        column("Identity", "string", "The SPIFFE ID it proved"),
        column("Connected", "string", "Whether its discovery stream is open"),
        column("Revision", "string", "The revision of the configuration it has applied"),
        column("Pending", "integer", "Resources sent to it and not yet acknowledged"),
        column("Rejected", "integer", "Resources it refused"),
        column("Age", "string", "How long it has been connected"),
    ])
}

pub(super) fn cells(proxy: &Value, now: Timestamp) -> Vec<Value> {
    let at = |pointer: &str| proxy.pointer(pointer).cloned();
    let connected = match at("/status/connected") {
        Some(Value::Bool(false)) => "False",
        _ => "True",
    };
    vec![
        at("/metadata/name").unwrap_or_default(),
        at("/status/identity").unwrap_or_else(|| "<none>".into()),
        connected.into(),
        at("/status/appliedRevision").unwrap_or_else(|| "<none>".into()),
        at("/status/pending").unwrap_or_else(|| 0.into()),
        at("/status/rejected").unwrap_or_else(|| 0.into()),
        age(proxy, now),
    ]
}
