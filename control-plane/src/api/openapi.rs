//! OpenAPI documents: enough for `kubectl explain`, and for `kubectl apply` to leave validation to the server. The
//! schemas are those of `manifests`.

use super::discovery::group_versions;
use super::path::has_status;
use manifests::Kind;
use serde_json::{Map, Value, json};

/// The index of version 3: one document per group and version.
pub(crate) fn index() -> Value {
    let path = |group: &str, version: &str| {
        if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
    };
    let paths: Map<String, Value> = group_versions()
        .into_iter()
        .flat_map(|(group, versions)| versions.into_iter().map(move |version| (group, version)))
        .map(|(group, version)| {
            let path = path(group, version);
            let url = format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"));
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// The document of one group and version.
pub(crate) fn document(group: &str, version: &str) -> Option<Value> {
    let is_known =
        group_versions().iter().any(|(name, versions)| *name == group && versions.contains(&version));
    if !is_known {
        return None;
    }
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in Kind::ALL.into_iter().filter(|kind| kind.group() == group && kind.version() == version) {
        schemas.insert(schema_name(kind), kind.schema().clone());
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let collection = match kind.is_namespaced() {
            true => format!("{root}/namespaces/{{namespace}}/{}", kind.plural()),
            false => format!("{root}/{}", kind.plural()),
        };
        let operation = |action: &str| operation(kind, action);
        paths.insert(collection.clone(), json!({"get": operation("list"), "post": operation("post")}));
        let object = json!({
            "get": operation("get"), "put": operation("put"), "patch": operation("patch"), "delete": operation("delete"),
        });
        if has_status(kind) {
            paths.insert(format!("{collection}/{{name}}/status"), object.clone());
        }
        paths.insert(format!("{collection}/{{name}}"), object);
    }
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "Outrigger", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths, "components": {"schemas": schemas},
    }))
}

/// Names as Kubernetes forms them: the group's domain backwards.
fn schema_name(kind: Kind) -> String {
    let group = if kind.group().is_empty() { "core.api.k8s.io" } else { kind.group() };
    let reversed: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{}.{}", reversed.join("."), kind.version(), kind.name())
}

fn operation(kind: Kind, action: &str) -> Value {
    let parameter =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters: Vec<_> = match action {
        "post" | "put" | "patch" => {
            ["dryRun", "fieldManager", "fieldValidation", "force"].into_iter().map(parameter).collect()
        }
        "list" => ["labelSelector", "fieldSelector", "limit", "continue", "watch"]
            .into_iter()
            .map(parameter)
            .collect(),
        _ => Vec::new(),
    };
    let schema = json!({"$ref": format!("#/components/schemas/{}", schema_name(kind))});
    let ok = json!({"description": "OK", "content": {"application/json": {"schema": schema}}});
    json!({
        "x-kubernetes-action": action, "parameters": parameters, "responses": {"200": ok},
        "x-kubernetes-group-version-kind": {"group": kind.group(), "version": kind.version(), "kind": kind.name()},
    })
}

/// Version 2, without definitions: clients that need it find version 3 first.
pub(crate) fn version_2() -> Value {
    json!({
        "swagger": "2.0", "info": {"title": "Outrigger", "version": env!("CARGO_PKG_VERSION")},
        "paths": {}, "definitions": {},
    })
}

/// [`version_2`] as the protocol buffers message `openapi.v2.Document`, which older Go clients insist on.
pub(crate) fn version_2_protobuf() -> Vec<u8> {
    let mut info = Vec::new();
    string(&mut info, 1, "Outrigger");
    string(&mut info, 2, env!("CARGO_PKG_VERSION"));
    let mut document = Vec::new();
    string(&mut document, 1, "2.0");
    bytes(&mut document, 2, &info);
    bytes(&mut document, 8, &[]);
    bytes(&mut document, 9, &[]);
    document
}

fn string(message: &mut Vec<u8>, field: u8, text: &str) {
    bytes(message, field, text.as_bytes());
}

/// A length-delimited field. The contents written here are below 128 bytes, so one byte holds their length.
fn bytes(message: &mut Vec<u8>, field: u8, content: &[u8]) {
    debug_assert!(content.len() < 128, "the length must fit one byte");
    message.extend([field << 3 | 2, u8::try_from(content.len()).unwrap_or(0)]);
    message.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `kubectl apply` looks for before it leaves validation to the server.
    #[test]
    fn every_kind_says_that_the_server_validates_fields() {
        for kind in Kind::ALL {
            let document = document(kind.group(), kind.version()).unwrap();
            let says_so = document["paths"].as_object().unwrap().values().any(|path| {
                path["patch"]["x-kubernetes-group-version-kind"]["kind"] == kind.name()
                    && path["patch"]["parameters"].to_string().contains("\"fieldValidation\"")
            });
            assert!(says_so, "{kind}");
            let schemas = document["components"]["schemas"].as_object().unwrap();
            assert!(schemas.contains_key(&schema_name(kind)), "{kind}");
        }
        assert!(document("nobody.io", "v1").is_none());
    }
}
