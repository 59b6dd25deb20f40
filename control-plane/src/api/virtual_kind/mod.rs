//! Kinds that are not stored: their objects are made when somebody reads them, from what is known then. They are read one
//! by one and in lists; there is nothing to write, and no watch.

pub(crate) mod endpoints;
pub(crate) mod proxies;

use super::Api;
use super::meta::text;
use super::path::{MESH_GROUP, MESH_VERSION};
use crate::store::StoreError;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// A kind that is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VirtualKind {
    /// Connected sidecars.
    Proxies,
    /// Where a Service is, in the form that came before EndpointSlices: what `kubectl describe service` of 1.27 reads.
    Endpoints,
}

/// What never changes about a kind.
struct Facts {
    group: &'static str,
    version: &'static str,
    api_version: &'static str,
    name: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
}

/// Some objects of a kind.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) objects: Vec<Value>,
    /// Why some are not among them.
    pub(crate) warnings: Vec<String>,
}

impl VirtualKind {
    pub(crate) const ALL: [Self; 2] = [Self::Proxies, Self::Endpoints];
    /// What can be done with every one of them.
    pub(crate) const VERBS: [&str; 2] = ["get", "list"];

    const fn facts(self) -> Facts {
        match self {
            Self::Proxies => Facts {
                group: MESH_GROUP,
                version: MESH_VERSION,
                api_version: "outrigger.dev/v1alpha1",
                name: "Proxy",
                plural: "proxies",
                singular: "proxy",
                short_names: &["px"],
                categories: &["outrigger"],
            },
            Self::Endpoints => Facts {
                group: "",
                version: "v1",
                api_version: "v1",
                name: "Endpoints",
                plural: "endpoints",
                singular: "endpoints",
                short_names: &["ep"],
                categories: &[],
            },
        }
    }

    /// The kind at a place in the API.
    pub(crate) fn from_api(group: &str, version: &str, plural: &str) -> Option<Self> {
        let is_it = |kind: &Self| (kind.group(), kind.version(), kind.plural()) == (group, version, plural);
        Self::ALL.into_iter().find(is_it)
    }

    /// Empty for the core group.
    pub(crate) const fn group(self) -> &'static str {
        self.facts().group
    }

    pub(crate) const fn version(self) -> &'static str {
        self.facts().version
    }

    pub(crate) const fn api_version(self) -> &'static str {
        self.facts().api_version
    }

    /// As in `kind:`.
    pub(crate) const fn name(self) -> &'static str {
        self.facts().name
    }

    pub(crate) const fn plural(self) -> &'static str {
        self.facts().plural
    }

    pub(crate) const fn singular(self) -> &'static str {
        self.facts().singular
    }

    pub(crate) const fn short_names(self) -> &'static [&'static str] {
        self.facts().short_names
    }

    pub(crate) const fn categories(self) -> &'static [&'static str] {
        self.facts().categories
    }

    /// The columns `kubectl get` prints.
    pub(crate) fn columns(self) -> Value {
        match self {
            Self::Proxies => proxies::columns(),
            Self::Endpoints => endpoints::columns(),
        }
    }

    /// The row of one object.
    pub(crate) fn cells(self, object: &Value, now: Timestamp) -> Vec<Value> {
        match self {
            Self::Proxies => proxies::cells(object, now),
            Self::Endpoints => endpoints::cells(object, now),
        }
    }

    /// Its OpenAPI schema, version 3.
    pub(crate) fn schema(self) -> &'static Value {
        static PROXY: LazyLock<Value> = LazyLock::new(|| read(include_str!("proxy.json")));
        static ENDPOINTS: LazyLock<Value> = LazyLock::new(|| read(include_str!("endpoints.json")));
        match self {
            Self::Proxies => &PROXY,
            Self::Endpoints => &ENDPOINTS,
        }
    }

    /// Its objects, of a namespace or of all, of a name or of all, in the order of namespaces and names.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn list(
        self,
        api: &Api,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<Made, StoreError> {
        let mut made = match self {
            Self::Proxies => proxies::list(&*api.proxies, namespace, name).await,
            Self::Endpoints => endpoints::list(&*api.store, namespace, name).await?,
        };
        for object in &mut made.objects {
            if let Some(fields) = object.as_object_mut() {
                fields.insert("apiVersion".into(), self.api_version().into());
                fields.insert("kind".into(), self.name().into());
            }
        }
        made.objects.sort_by(|a, b| place(a).cmp(&place(b)));
        Ok(made)
    }
}

fn place(object: &Value) -> (Option<&str>, Option<&str>) {
    (text(object, "namespace"), text(object, "name"))
}

/// A schema that is part of the program; a test reads each.
fn read(schema: &str) -> Value {
    serde_json::from_str(schema).unwrap_or_default()
}

fn column(name: &str, kind: &str, description: &str) -> Value {
    let format = if name == "Name" { "name" } else { "" };
    json!({"name": name, "type": kind, "format": format, "description": description, "priority": 0})
}

/// How old an object is, said as for any stored kind: by the one room that knows how.
fn age(object: &Value, now: Timestamp) -> Value {
    manifests::Kind::Namespace.cells(object, now).pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_that_names_it_and_describes_its_fields() {
        for kind in VirtualKind::ALL {
            let schema = kind.schema();
            let named = &schema["x-kubernetes-group-version-kind"][0];
            assert_eq!(
                named,
                &json!({"group": kind.group(), "version": kind.version(), "kind": kind.name()})
            );
            for (name, field) in schema["properties"].as_object().unwrap() {
                assert!(field["description"].is_string(), "{name}");
            }
            assert!(schema["description"].is_string());
        }
    }

    #[test]
    fn every_row_has_a_cell_for_every_column_even_of_an_empty_object() {
        for kind in VirtualKind::ALL {
            for object in [json!({}), json!(null), json!({"metadata": 7, "subsets": [7], "status": "x"})] {
                let cells = kind.cells(&object, Timestamp::UNIX_EPOCH).len();
                assert_eq!(cells, kind.columns().as_array().unwrap().len(), "{kind:?}");
            }
        }
    }
}
