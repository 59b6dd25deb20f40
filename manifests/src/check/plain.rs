//! Rules of the kinds that are stored and handed out as they are.

use super::metadata;
use crate::diagnostic::{Code, Report};
use crate::kind::{ConfigMap, Event, Kind, Namespace, Secret};
use crate::path::FieldPath;
use k8s_openapi::api::core::v1 as core;
use std::collections::BTreeMap;

/// Reads a Namespace.
pub(crate) fn namespace(given: core::Namespace, report: &mut Report) -> Option<Namespace> {
    Some(Namespace { metadata: metadata::read(Kind::Namespace, &given.metadata, report)? })
}

/// Reads an Event.
pub(crate) fn event(given: core::Event, report: &mut Report) -> Option<Event> {
    let metadata = metadata::read(Kind::Event, &given.metadata, report);
    if given.involved_object.name.as_deref().unwrap_or_default().is_empty() {
        let path = FieldPath::of("involvedObject").field("name");
        report.error(Code::MissingField, path, "it happened to nothing", "name the object");
    }
    Some(Event { metadata: metadata? })
}

/// Reads a ConfigMap.
pub(crate) fn config_map(given: core::ConfigMap, report: &mut Report) -> Option<ConfigMap> {
    let metadata = metadata::read(Kind::ConfigMap, &given.metadata, report);
    let (data, binary) = (given.data.unwrap_or_default(), given.binary_data.unwrap_or_default());
    check_keys("data", data.keys(), report);
    check_keys("binaryData", binary.keys(), report);
    for key in binary.keys().filter(|key| data.contains_key(*key)) {
        let path = FieldPath::of("binaryData").field(key);
        report.error(Code::DuplicateEntry, path, "`data` has the same key", "rename one of them");
    }
    Some(ConfigMap { metadata: metadata?, data })
}

/// Reads a Secret. `stringData` wins over `data`, as in Kubernetes.
pub(crate) fn secret(given: core::Secret, report: &mut Report) -> Option<Secret> {
    let metadata = metadata::read(Kind::Secret, &given.metadata, report);
    let (data, texts) = (given.data.unwrap_or_default(), given.string_data.unwrap_or_default());
    check_keys("data", data.keys(), report);
    check_keys("stringData", texts.keys(), report);
    let mut all: BTreeMap<String, Vec<u8>> = data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect();
    all.extend(texts.into_iter().map(|(key, text)| (key, text.into_bytes())));
    let kind = given.type_.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "Opaque".to_owned());
    if kind == "kubernetes.io/tls" {
        for key in ["tls.crt", "tls.key"].into_iter().filter(|key| !all.contains_key(*key)) {
            let path = FieldPath::of("data").field(key);
            report.error(Code::MissingField, path, "a Secret of this type needs it", "add it, in base64");
        }
    }
    Some(Secret { metadata: metadata?, kind, data: all })
}

/// Kubernetes: keys become file names.
fn check_keys<'a>(field: &str, keys: impl Iterator<Item = &'a String>, report: &mut Report) {
    for key in keys {
        let allowed = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if key.is_empty() || key.len() > 253 || !allowed || key == "." || key.starts_with("..") {
            let message = format!("`{key}` is not a key");
            let mend = "use at most 253 letters, digits, `-`, `_` and `.`, and not `..` at the start";
            report.error(Code::BadName, FieldPath::of(field).field(key), message, mend);
        }
    }
}
