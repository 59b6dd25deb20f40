//! `meshctl export`: everything that people wrote, as manifests that can be applied again, to this mesh or another.
//!
//! Enters: the objects of the API. Leaves: YAML documents, what others refer to first. Never here: what comes about by
//! itself: Workloads that sidecars registered, derived EndpointSlices, statuses, the server's book-keeping.

use crate::client::{Client, Form};
use crate::failure::Failure;
use crate::paths::Resource;
use clap::Args;
use manifests::Kind;
use serde_json::Value;
use std::io::Write;

/// What `kubectl apply` keeps for itself: with it, an applied export would look like changed by hand.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only this namespace, and what is in it
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
    /// Leave Secrets out: what is printed holds private keys otherwise
    #[arg(long)]
    without_secrets: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let namespace = arguments.namespace.as_deref();
    let mut documents = 0;
    for kind in Kind::ALL {
        let is_elsewhere = namespace.is_some() && !kind.is_namespaced() && kind != Kind::Namespace;
        if is_elsewhere || (kind == Kind::Secret && arguments.without_secrets) {
            continue;
        }
        let list = client.get(&Resource::Stored(kind).collection(namespace), Form::Objects).await?;
        let items = list.get("items").and_then(Value::as_array);
        for object in items.into_iter().flatten() {
            let name = object.pointer("/metadata/name").and_then(Value::as_str);
            let is_other = kind == Kind::Namespace && namespace.is_some() && namespace != name;
            if is_other || kind.comes_by_itself(object) {
                continue;
            }
            if documents > 0 {
                out.write_all(b"---\n")?;
            }
            let text = serde_yaml::to_string(&written(kind, object)).map_err(|error| error.to_string())?;
            out.write_all(text.as_bytes())?;
            documents += 1;
        }
    }
    Ok(())
}

/// The object as a person would write it.
fn written(kind: Kind, object: &Value) -> Value {
    let mut object = super::apply::essence(object.clone());
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), kind.api_version().into());
        fields.insert("kind".to_owned(), kind.name().into());
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        let is_empty = annotations.is_some_and(|it| it.remove(LAST_APPLIED).is_some() && it.is_empty());
        if is_empty {
            metadata.remove("annotations");
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_adds_is_left_out() {
        let stored = json!({
            "metadata": {
                "name": "orders", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}],
                "annotations": { LAST_APPLIED: "{}" },
            },
            "spec": { "clusterIP": "None" }, "status": { "conditions": [] },
        });
        let expected = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "orders", "namespace": "shop" }, "spec": { "clusterIP": "None" },
        });
        assert_eq!(written(Kind::Service, &stored), expected);
        let annotated = json!({ "metadata": { "annotations": { LAST_APPLIED: "{}", "team": "a" } } });
        assert_eq!(written(Kind::Service, &annotated)["metadata"]["annotations"], json!({ "team": "a" }));
    }
}
