//! The virtual kind `proxies.outrigger.dev`: one object per connected sidecar, made on demand from what the discovery
//! server knows, never stored and never written by clients.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Knows the connected sidecars.
pub trait ProxyDirectory: Send + Sync + 'static {
    /// One object per connected sidecar of any control plane, of a namespace or of all:
    ///
    /// ```json
    /// {"metadata": {"name": "orders-1", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
    ///  "status": {"identity": "spiffe://mesh.internal/ns/shop/sa/orders", "connected": true,
    ///             "appliedRevision": "41", "pending": 0, "rejected": 0}}
    /// ```
    ///
    /// `creationTimestamp` is when the sidecar connected; `pending` counts resources sent and not yet acknowledged,
    /// `rejected` those it refused. Further fields of `status` are shown as they are. `apiVersion` and `kind` are added.
    fn list<'a>(&'a self, namespace: Option<&'a str>) -> BoxFuture<'a, ProxyListing>;
}

/// The connected sidecars that could be found out about.
#[derive(Debug, Default)]
pub struct ProxyListing {
    /// One object each.
    pub proxies: Vec<Value>,
    /// Why some are not among them.
    pub warnings: Vec<String>,
}

/// The objects of the directory with `apiVersion` and `kind`, in the order of names.
pub(crate) async fn list(directory: &dyn ProxyDirectory, namespace: Option<&str>) -> ProxyListing {
    let mut listing = directory.list(namespace).await;
    for proxy in &mut listing.proxies {
        if let Some(fields) = proxy.as_object_mut() {
            fields.insert("apiVersion".into(), "outrigger.dev/v1alpha1".into());
            fields.insert("kind".into(), "Proxy".into());
        }
    }
    listing.proxies.sort_by(|a, b| place(a).cmp(&place(b)));
    listing
}

fn place(proxy: &Value) -> (Option<&str>, Option<&str>) {
    let text = |pointer: &str| proxy.pointer(pointer).and_then(Value::as_str);
    (text("/metadata/namespace"), text("/metadata/name"))
}

/// The columns `kubectl get proxies` prints.
pub(crate) fn columns() -> Value {
    let column = |name: &str, kind: &str, format: &str, description: &str| json!({"name": name, "type": kind, "format": format, "description": description, "priority": 0});
    json!([
        column("Name", "string", "name", "The sidecar's workload"),
        column("Identity", "string", "", "The SPIFFE ID it proved"),
        column("Connected", "string", "", "Whether its discovery stream is open"),
        column("Revision", "string", "", "The revision of the configuration it has applied"),
        column("Pending", "integer", "", "Resources sent to it and not yet acknowledged"),
        column("Rejected", "integer", "", "Resources it refused"),
        column("Age", "string", "", "How long it has been connected"),
    ])
}

/// The row of one sidecar.
pub(crate) fn cells(proxy: &Value, now: Timestamp) -> Vec<Value> {
    let at = |pointer: &str| proxy.pointer(pointer).cloned();
    // Ages are said as for any stored kind: by the one room that knows how.
    let age = manifests::Kind::Namespace.cells(proxy, now).pop().unwrap_or_default();
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
        age,
    ]
}
