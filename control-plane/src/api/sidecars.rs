//! What a Workload's sidecar says now, as `status.sidecar` of the Workload: added when it is read, alone or in a list, and
//! to the answers of writes. It is not stored, since it changes with every change of the mesh, and so no watch tells of
//! it; who wants to follow it reads `proxies`.

use super::{ProxyDirectory, ProxyListing};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The fields of a proxy's status that are told, and how they are called here.
const TOLD: [(&str, &str); 3] = [
    ("agent", "version"),
    ("appliedRevision", "appliedRevision"),
    ("certificateExpires", "certificateExpires"),
];

/// Adds to Workloads, of a namespace or of all, of a name or of all, what their sidecars say. Returns why some could not be
/// asked.
pub(crate) async fn tell(
    directory: &dyn ProxyDirectory,
    namespace: Option<&str>,
    name: Option<&str>,
    workloads: &mut [Value],
) -> Vec<String> {
    if workloads.is_empty() {
        return Vec::new();
    }
    let ProxyListing { proxies, warnings } = directory.list(namespace, name).await;
    let said: HashMap<_, _> = proxies.iter().filter_map(|proxy| Some((place(proxy)?, said(proxy)))).collect();
    for workload in workloads {
        let said = place(workload).and_then(|place| said.get(&place));
        let Some(workload) = workload.as_object_mut() else { continue };
        match (said, workload.get_mut("status").and_then(Value::as_object_mut)) {
            (Some(said), Some(status)) => {
                status.insert("sidecar".to_owned(), said.clone());
            }
            (Some(said), None) => {
                workload.insert("status".to_owned(), json!({"sidecar": said}));
            }
            // What someone wrote there is nobody's word.
            (None, Some(status)) => {
                status.remove("sidecar");
            }
            (None, None) => {}
        }
    }
    warnings
}

fn place(object: &Value) -> Option<(String, String)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some((text("/metadata/namespace")?, text("/metadata/name")?))
}

fn said(proxy: &Value) -> Value {
    let status = proxy.get("status");
    let told = TOLD.iter().filter_map(|(from, to)| Some(((*to).to_owned(), status?.get(from)?.clone())));
    Value::Object(told.collect::<Map<_, _>>())
}
