//! Rules about what every object carries.

use super::value;
use crate::diagnostic::{Code, Report};
use crate::kind::{Kind, Metadata, Scope};
use crate::path::FieldPath;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_names::{Label, Namespace, Subdomain};
use std::collections::BTreeMap;

/// Most bytes of all annotations together, as in Kubernetes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// The namespace of objects that do not name one, as for `kubectl`.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// Reads the metadata. The namespace of a kind that lives in one is always there.
pub(crate) fn read(kind: Kind, given: &ObjectMeta, report: &mut Report) -> Option<Metadata> {
    let path = FieldPath::of("metadata");
    let is_named = check_name(kind, given, &path, report);
    let namespace = check_namespace(kind, given.namespace.as_deref(), &path, report);
    let labels = given.labels.clone().unwrap_or_default();
    check_labels(&labels, &path.field("labels"), report);
    check_annotations(given, &path.field("annotations"), report);
    check_owners(given, &path.field("ownerReferences"), report);
    Some(Metadata {
        namespace: namespace?,
        name: is_named?,
        labels,
        created: given.creation_timestamp.as_ref().map(|time| time.0),
        generation: given.generation.unwrap_or_default(),
    })
}

fn check_name(kind: Kind, given: &ObjectMeta, path: &FieldPath, report: &mut Report) -> Option<String> {
    let text = given.name.as_deref().unwrap_or_default();
    if text.is_empty() {
        let mend = match &given.generate_name {
            Some(_) => "write `name`: the mesh does not make names from `generateName`",
            None => "give the object a name",
        };
        report.error(Code::MissingField, path.field("name"), "the object has no name", mend);
        return None;
    }
    let path = path.field("name");
    match kind {
        // Part of host names and identities, where a dot would mean something else.
        Kind::Namespace | Kind::Service => value::name::<Label>(text, path, report).map(|_| ())?,
        Kind::Secret
        | Kind::ConfigMap
        | Kind::EndpointSlice
        | Kind::Workload
        | Kind::HttpRoute
        | Kind::MeshConfig
        | Kind::PeerAuthentication
        | Kind::ExternalService
        | Kind::TrafficPolicy
        | Kind::RoleBinding
        | Kind::Event
        | Kind::ClusterRoleBinding => {
            value::name::<Subdomain>(text, path, report).map(|_| ())?;
        }
    }
    Some(text.to_owned())
}

/// The outer `Option` is whether it is right, the inner whether the kind has one.
fn check_namespace(
    kind: Kind,
    given: Option<&str>,
    path: &FieldPath,
    report: &mut Report,
) -> Option<Option<Namespace>> {
    let given = given.filter(|text| !text.is_empty());
    match (kind.scope(), given) {
        (Scope::Cluster, None) => Some(None),
        (Scope::Cluster, Some(_)) => {
            let message = format!("a {kind} lives in no namespace");
            report.error(Code::BadValue, path.field("namespace"), message, "take this line away");
            None
        }
        (Scope::Namespaced, given) => {
            value::name(given.unwrap_or(DEFAULT_NAMESPACE), path.field("namespace"), report).map(Some)
        }
    }
}

fn check_annotations(given: &ObjectMeta, path: &FieldPath, report: &mut Report) {
    let annotations = given.annotations.iter().flatten();
    for (key, _) in annotations.clone() {
        check_key(key, &path.field(key), report);
    }
    let bytes: usize = annotations.map(|(key, text)| key.len() + text.len()).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        let message = format!("annotations have {bytes} bytes, more than {ANNOTATIONS_BYTES_MAX}");
        report.error(Code::TooLarge, path.clone(), message, "keep large contents in a ConfigMap");
    }
}

fn check_owners(given: &ObjectMeta, path: &FieldPath, report: &mut Report) {
    let owners = given.owner_references.iter().flatten();
    for (place, owner) in owners.clone().enumerate() {
        let fields = [
            ("apiVersion", &owner.api_version),
            ("kind", &owner.kind),
            ("name", &owner.name),
            ("uid", &owner.uid),
        ];
        for (field, _) in fields.into_iter().filter(|(_, text)| text.is_empty()) {
            let path = path.index(place).field(field);
            let mend = "write the owner as it is: its `uid` is in its metadata";
            report.error(Code::MissingField, path, "an owner is named by all four", mend);
        }
    }
    if owners.filter(|owner| owner.controller == Some(true)).count() > 1 {
        let message = "more than one owner is the controller";
        report.error(Code::BadValue, path.clone(), message, "say `controller: true` of one");
    }
}

/// Rules of label keys and values, which selectors share.
pub(crate) fn check_labels(labels: &BTreeMap<String, String>, path: &FieldPath, report: &mut Report) {
    for (key, text) in labels {
        let path = path.field(key);
        check_key(key, &path, report);
        if !text.is_empty() && !is_qualified(text) {
            let message = format!("`{text}` is not the value of a label");
            let mend =
                "use at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";
            report.error(Code::BadLabel, path, message, mend);
        }
    }
}

fn check_key(key: &str, path: &FieldPath, report: &mut Report) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let broken = if prefix.is_some_and(|prefix| prefix.parse::<Subdomain>().is_err()) {
        "before `/` there must be a DNS name"
    } else if !is_qualified(name) {
        "use at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, \
         perhaps after a DNS name and `/`"
    } else {
        return;
    };
    report.error(
        Code::BadLabel,
        path.clone(),
        format!("`{key}` is not the key of a label or annotation"),
        broken,
    );
}

/// Kubernetes' "qualified name" without its prefix.
fn is_qualified(text: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(key: &str, text: &str) -> Vec<Code> {
        let mut report = Report::default();
        let labels = BTreeMap::from([(key.to_owned(), text.to_owned())]);
        check_labels(&labels, &FieldPath::default(), &mut report);
        report.found().iter().map(|diagnostic| diagnostic.code).collect()
    }

    #[test]
    fn an_owner_is_named_wholly_and_one_may_be_the_controller() {
        let codes = |owners: serde_json::Value| {
            let mut report = Report::default();
            let given = ObjectMeta {
                owner_references: Some(serde_json::from_value(owners).unwrap()),
                ..ObjectMeta::default()
            };
            check_owners(&given, &FieldPath::of("metadata"), &mut report);
            report.found().iter().map(|it| (it.code, it.path.to_string())).collect::<Vec<_>>()
        };
        let owner = |name: &str| serde_json::json!({"apiVersion": "v1", "kind": "Service", "name": name, "uid": "u", "controller": true});
        assert_eq!(codes(serde_json::json!([owner("a")])), []);
        let nameless = (Code::MissingField, "metadata[0].name".to_owned());
        assert_eq!(codes(serde_json::json!([owner("")])), [nameless]);
        let two = (Code::BadValue, "metadata".to_owned());
        assert_eq!(codes(serde_json::json!([owner("a"), owner("b")])), [two]);
    }

    #[test]
    fn labels_follow_kubernetes_grammar() {
        for (key, text) in [
            ("app", "front"),
            ("app", ""),
            ("app.kubernetes.io/name", "Front_1.0"),
            (&"a".repeat(63), &"b".repeat(63)),
        ] {
            assert_eq!(codes(key, text), [], "{key}={text}");
        }
        for (key, text) in [
            ("", "x"),
            ("-a", "x"),
            ("/a", "x"),
            ("A.b/c", "x"),
            ("a/b/c", "x"),
            ("a", "-x"),
            ("a", "x y"),
            ("a", "é"),
            (&"a".repeat(64), "x"),
            ("a", &"b".repeat(64)),
        ] {
            assert_eq!(codes(key, text), [Code::BadLabel], "{key}={text}");
        }
    }
}
