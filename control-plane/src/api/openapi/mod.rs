//! OpenAPI documents: every kind with the descriptions of its fields, for `kubectl explain` and editors, and what `kubectl
//! apply` looks for before it leaves validation to the server. The schemas are those of `manifests`.

pub(crate) mod v2;

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
        if kind.is_namespaced() {
            // Of all namespaces. Where kubectl 1.27 looks for what `explain` is asked about.
            paths.insert(format!("{root}/{}", kind.plural()), json!({"get": operation("list")}));
        }
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
