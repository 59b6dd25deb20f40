//! Rules of MeshConfig and PeerAuthentication.

use super::{metadata, value};
use crate::diagnostic::{Code, Report};
use crate::kind::Kind;
use crate::kind::mesh_config::{MESH_CONFIG, MeshConfig, MeshConfigManifest};
use crate::kind::mtls::{Mtls, MtlsSpec};
use crate::kind::peer_authentication::{PeerAuthentication, PeerAuthenticationManifest};
use crate::path::FieldPath;
use std::collections::BTreeMap;

/// As many as a sidecar may announce.
const PORTS_MAX: usize = 64;

/// Reads a MeshConfig.
pub(crate) fn config(given: &MeshConfigManifest, report: &mut Report) -> Option<MeshConfig> {
    let metadata = metadata::read(Kind::MeshConfig, &given.metadata, report);
    if let Some(metadata) = metadata.as_ref().filter(|metadata| metadata.name != MESH_CONFIG) {
        let message = format!("a mesh has one MeshConfig, and it is not named `{}`", metadata.name);
        let mend = format!("name it `{MESH_CONFIG}`");
        report.error(Code::BadName, FieldPath::of("metadata").field("name"), message, mend);
    }
    let mtls = given.spec.mtls.as_ref().map(|given| mtls(given, &FieldPath::parse("spec.mtls"), report));
    let egress = given.spec.egress.as_ref().and_then(|egress| egress.policy);
    Some(MeshConfig {
        metadata: metadata?,
        egress: egress.unwrap_or_default(),
        mtls: mtls.unwrap_or_default(),
    })
}

/// Reads a PeerAuthentication.
pub(crate) fn peer_authentication(
    given: &PeerAuthenticationManifest,
    report: &mut Report,
) -> Option<PeerAuthentication> {
    let metadata = metadata::read(Kind::PeerAuthentication, &given.metadata, report);
    let path = FieldPath::of("spec");
    let selector = given.spec.selector.clone().unwrap_or_default().match_labels;
    metadata::check_labels(&selector, &path.field("selector").field("matchLabels"), report);
    let mtls_path = path.field("mtls");
    let mtls = mtls(&given.spec.mtls, &mtls_path, report);
    if mtls == Mtls::default() && given.spec.mtls.ports.is_empty() {
        let message = "it says nothing: neither `mode` nor `ports` is given";
        report.error(Code::MissingField, mtls_path, message, "add `mode: Strict` or `mode: Permissive`");
    }
    let metadata = metadata?;
    let (namespace, name) = (metadata.namespace.clone()?, metadata.name.parse().ok()?);
    Some(PeerAuthentication { metadata, namespace, name, selector, mtls })
}

fn mtls(given: &MtlsSpec, path: &FieldPath, report: &mut Report) -> Mtls {
    let path = path.field("ports");
    value::at_most(PORTS_MAX, given.ports.len(), &path, report);
    let (mut ports, mut places) = (BTreeMap::new(), BTreeMap::new());
    for (place, given) in given.ports.iter().enumerate() {
        let path = path.index(place).field("port");
        if let Some(earlier) = places.insert(given.port, place) {
            let message = format!("port {} stands at place {earlier} already", given.port);
            report.error(Code::DuplicateEntry, path.clone(), message, "take one of them away");
        }
        if let Some(port) = value::port(given.port, path, report) {
            ports.insert(port, given.mode);
        }
    }
    Mtls { mode: given.mode, ports }
}
