//! What the API has: groups, versions and resources, in the two forms Kubernetes clients ask for (one document per
//! group and version, and everything aggregated). Made from the table of kinds; nothing is listed by hand but what is
//! not a stored kind.

use super::path::Groups;
use super::virtual_kind::VirtualKind;
use manifests::Kind;
use serde_json::{Value, json};

const STORED_VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// Questions, which are created and never kept: group, plural, singular, kind.
const REVIEWS: [(&str, &str, &str, &str); 3] = [
    ("authentication.k8s.io", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview"),
    (
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        "SelfSubjectAccessReview",
    ),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview"),
];

/// A resource or subresource as discovery tells it.
struct Resource {
    group: &'static str,
    version: &'static str,
    /// `services`, or `services/status`.
    path: String,
    singular: &'static str,
    kind: &'static str,
    /// The group and version of the object, where they are not the resource's own.
    response: Option<(&'static str, &'static str)>,
    is_namespaced: bool,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    verbs: &'static [&'static str],
}

fn resources() -> Vec<Resource> {
    let mut resources = Vec::new();
    for kind in Kind::ALL {
        let main = Resource {
            group: kind.group(),
            version: kind.version(),
            path: kind.plural().into(),
            singular: kind.singular(),
            kind: kind.name(),
            response: None,
            is_namespaced: kind.is_namespaced(),
            short_names: kind.short_names(),
            categories: kind.categories(),
            verbs: &STORED_VERBS,
        };
        let status = kind.has_status().then(|| Resource {
            path: format!("{}/status", kind.plural()),
            singular: "",
            short_names: &[],
            categories: &[],
            verbs: &STATUS_VERBS,
            ..main_of(&main)
        });
        resources.push(main);
        resources.extend(status);
    }
    let other = |group, version, path: &str, singular, kind, is_namespaced, verbs| Resource {
        group,
        version,
        path: path.into(),
        singular,
        kind,
        response: None,
        is_namespaced,
        short_names: &[],
        categories: &[],
        verbs,
    };
    resources.push(Resource {
        response: Some(("authentication.k8s.io", "v1")),
        ..other("", "v1", "serviceaccounts/token", "", "TokenRequest", true, &["create"])
    });
    for kind in VirtualKind::ALL {
        resources.push(Resource {
            categories: kind.categories(),
            short_names: kind.short_names(),
            ..other(
                kind.group(),
                kind.version(),
                kind.plural(),
                kind.singular(),
                kind.name(),
                true,
                &VirtualKind::VERBS,
            )
        });
    }
    for (group, plural, singular, kind) in REVIEWS {
        resources.push(other(group, "v1", plural, singular, kind, false, &["create"]));
    }
    resources
}

/// Whether there is such a resource.
pub(crate) fn is_known(group: &str, resource: &str) -> bool {
    resources().iter().any(|known| known.group == group && known.path == resource)
}

/// The group and path of every resource, subresources but `status` included, in the order of discovery.
pub(crate) fn names() -> Vec<(&'static str, String)> {
    let all = resources().into_iter().filter(|resource| !resource.path.ends_with("/status"));
    let asked = all.filter(|resource| REVIEWS.iter().all(|(_, plural, ..)| *plural != resource.path));
    asked.map(|resource| (resource.group, resource.path)).collect()
}

fn main_of(main: &Resource) -> Resource {
    Resource { path: String::new(), ..*main }
}

/// Every group with its versions, the core group first, each version once.
pub(crate) fn group_versions() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for Resource { group, version, .. } in resources() {
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, versions)) if versions.contains(&version) => {}
            Some((_, versions)) => versions.push(version),
            None => groups.push((group, vec![version])),
        }
    }
    groups
}

fn joined(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// `/api` and `/apis`.
pub(crate) fn groups(which: Groups) -> Value {
    match which {
        Groups::Legacy => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }),
        Groups::Named => {
            let named = group_versions().into_iter().filter(|(group, _)| !group.is_empty());
            let groups: Vec<_> = named.map(|(group, versions)| group_json(group, &versions)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
    }
}

/// `/apis/GROUP`.
pub(crate) fn group(name: &str) -> Option<Value> {
    let (group, versions) =
        group_versions().into_iter().find(|(group, _)| *group == name && !name.is_empty())?;
    let mut json = group_json(group, &versions);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("kind".into(), "APIGroup".into());
        fields.insert("apiVersion".into(), "v1".into());
    }
    Some(json)
}

fn group_json(group: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({"groupVersion": joined(group, version), "version": version});
    let versions: Vec<_> = versions.iter().map(version).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(crate) fn resource_list(group: &str, version: &str) -> Option<Value> {
    let listed: Vec<_> = resources()
        .into_iter()
        .filter(|resource| resource.group == group && resource.version == version)
        .map(|resource| {
            let mut json = json!({
                "name": resource.path, "singularName": resource.singular, "namespaced": resource.is_namespaced,
                "kind": resource.kind, "verbs": resource.verbs,
            });
            if let Some(fields) = json.as_object_mut() {
                if !resource.short_names.is_empty() {
                    fields.insert("shortNames".into(), resource.short_names.into());
                }
                if !resource.categories.is_empty() {
                    fields.insert("categories".into(), resource.categories.into());
                }
                if let Some((group, version)) = resource.response {
                    fields.insert("group".into(), group.into());
                    fields.insert("version".into(), version.into());
                }
            }
            json
        })
        .collect();
    if listed.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": joined(group, version), "resources": listed,
    }))
}

/// The content type of [`aggregated`].
pub(crate) const AGGREGATED_TYPE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api` and `/apis` with all that is below them, `apidiscovery.k8s.io/v2`.
pub(crate) fn aggregated(which: Groups) -> Value {
    let items: Vec<_> = group_versions()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == (which == Groups::Legacy))
        .map(|(group, versions)| {
            let versions: Vec<_> =
                versions.into_iter().map(|version| aggregated_version(group, version)).collect();
            let metadata = if group.is_empty() {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": group, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    })
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let mut listed: Vec<Value> = Vec::new();
    for resource in resources().iter().filter(|r| r.group == group && r.version == version) {
        let (response_group, response_version) = resource.response.unwrap_or((group, version));
        let response = json!({"group": response_group, "version": response_version, "kind": resource.kind});
        let Some((main, sub)) = resource.path.split_once('/') else {
            let scope = if resource.is_namespaced { "Namespaced" } else { "Cluster" };
            listed.push(json!({
                "resource": resource.path, "responseKind": response, "scope": scope,
                "singularResource": resource.singular, "verbs": resource.verbs,
                "shortNames": resource.short_names, "categories": resource.categories,
            }));
            continue;
        };
        let sub = json!({"subresource": sub, "responseKind": response, "verbs": resource.verbs});
        match listed.iter_mut().find(|there| there.get("resource").and_then(Value::as_str) == Some(main)) {
            Some(there) => {
                if let Some(fields) = there.as_object_mut() {
                    fields.insert("subresources".into(), json!([sub]));
                }
            }
            // A subresource of something that is not a resource itself.
            None => listed.push(json!({
                "resource": main, "scope": "Namespaced", "singularResource": "", "verbs": [], "subresources": [sub],
            })),
        }
    }
    json!({"version": version, "freshness": "Current", "resources": listed})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_discovered_in_both_forms() {
        for kind in Kind::ALL {
            let list = resource_list(kind.group(), kind.version()).unwrap();
            let found = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == kind.plural());
            assert_eq!(found.unwrap()["kind"], kind.name());
            let which = if kind.group().is_empty() { Groups::Legacy } else { Groups::Named };
            assert!(aggregated(which).to_string().contains(&format!("\"resource\":\"{}\"", kind.plural())));
        }
        assert_eq!(resource_list("nobody.io", "v1"), None);
        assert_eq!(group(""), None);
        assert_eq!(group("outrigger.dev").unwrap()["preferredVersion"]["version"], "v1alpha1");
    }
}
