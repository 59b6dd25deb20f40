//! OpenAPI documents: every kind with the descriptions of its fields, for `kubectl explain` and editors, and what `kubectl
//! apply` looks for before it leaves validation to the server. The schemas are those of `manifests`.

pub(crate) mod v2;

use super::discovery::group_versions;
use super::virtual_kind::VirtualKind;
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
    for kind in described().filter(|kind| kind.group == group && kind.version == version) {
        schemas.insert(kind.schema_name(), kind.schema.clone());
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let everywhere = format!("{root}/{}", kind.plural);
        let collection = match kind.is_namespaced {
            true => format!("{root}/namespaces/{{namespace}}/{}", kind.plural),
            false => everywhere.clone(),
        };
        let operations = |actions: &[(&str, &str)]| {
            let kept = actions.iter().filter(|(method, _)| kind.is_stored || *method == "get");
            kept.map(|(method, action)| ((*method).to_owned(), kind.operation(action))).collect::<Value>()
        };
        // Of all namespaces. Where kubectl 1.27 looks for what `explain` is asked about.
        paths.insert(everywhere, operations(&[("get", "list")]));
        paths.insert(collection.clone(), operations(&[("get", "list"), ("post", "post")]));
        let object = operations(&[("get", "get"), ("put", "put"), ("patch", "patch"), ("delete", "delete")]);
        if kind.has_status {
            paths.insert(format!("{collection}/{{name}}/status"), object.clone());
        }
        paths.insert(format!("{collection}/{{name}}"), object);
    }
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "Outrigger", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths, "components": {"schemas": schemas},
    }))
}

/// A kind as the documents tell of it.
struct Described {
    group: &'static str,
    version: &'static str,
    name: &'static str,
    plural: &'static str,
    is_namespaced: bool,
    /// Whether it can be written.
    is_stored: bool,
    has_status: bool,
    schema: &'static Value,
}

/// Every kind.
fn described() -> impl Iterator<Item = Described> {
    let stored = Kind::ALL.into_iter().map(|kind| Described {
        group: kind.group(),
        version: kind.version(),
        name: kind.name(),
        plural: kind.plural(),
        is_namespaced: kind.is_namespaced(),
        is_stored: true,
        has_status: kind.has_status(),
        schema: kind.schema(),
    });
    let made = VirtualKind::ALL.into_iter().map(|kind| Described {
        group: kind.group(),
        version: kind.version(),
        name: kind.name(),
        plural: kind.plural(),
        is_namespaced: true,
        is_stored: false,
        has_status: false,
        schema: kind.schema(),
    });
    stored.chain(made)
}

impl Described {
    /// As Kubernetes forms it: the group's domain backwards.
    fn schema_name(&self) -> String {
        let group = if self.group.is_empty() { "core.api.k8s.io" } else { self.group };
        let reversed: Vec<&str> = group.split('.').rev().collect();
        format!("{}.{}.{}", reversed.join("."), self.version, self.name)
    }

    fn operation(&self, action: &str) -> Value {
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
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
        let schema = json!({"$ref": format!("#/components/schemas/{}", self.schema_name())});
        let ok = json!({"description": "OK", "content": {"application/json": {"schema": schema}}});
        json!({
            "x-kubernetes-action": action, "parameters": parameters, "responses": {"200": ok},
            "x-kubernetes-group-version-kind": {"group": self.group, "version": self.version, "kind": self.name},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `kubectl apply` looks for before it leaves validation to the server.
    #[test]
    fn every_kind_is_there_and_what_can_be_written_says_that_the_server_validates() {
        for kind in described() {
            let document = document(kind.group, kind.version).unwrap();
            let says_so = document["paths"].as_object().unwrap().values().any(|path| {
                path["patch"]["x-kubernetes-group-version-kind"]["kind"] == kind.name
                    && path["patch"]["parameters"].to_string().contains("\"fieldValidation\"")
            });
            assert_eq!(says_so, kind.is_stored, "{}", kind.name);
            let schemas = document["components"]["schemas"].as_object().unwrap();
            assert!(schemas.contains_key(&kind.schema_name()), "{}", kind.name);
        }
        assert!(document("nobody.io", "v1").is_none());
    }
}
