//! How plain text is met at a Workload's ports: of its own, its namespace's and the mesh's word the narrowest counts.

use super::index::Index;
use super::seniority::created;
use manifests::kind::mtls::{Mtls, MtlsMode as Written};
use manifests::kind::peer_authentication::PeerAuthentication;
use manifests::kind::workload::Workload;
use mesh_names::Port;
use mesh_protocol::mtls::{InboundMtls, MtlsMode};
use std::collections::BTreeSet;

/// What holds for a Workload. For each port the narrowest object that says anything of it decides; what nobody says is
/// strict. Of objects that are equally narrow only the oldest counts: halves of two would be a third that nobody wrote.
pub(super) fn inbound_mtls(index: &Index, workload: &Workload) -> InboundMtls {
    let selecting = |is_narrow: bool| {
        index
            .peer_authentications_of(&workload.name.namespace)
            .filter(|it| it.selector.is_empty() != is_narrow && it.selects(&workload.metadata.labels))
            .min_by_key(|it: &&PeerAuthentication| (created(&it.metadata), it.name.clone()))
            .map(|it| &it.mtls)
    };
    let mesh = index.mesh_config.as_ref().map(|config| &config.mtls);
    let levels: Vec<&Mtls> = [selecting(true), selecting(false), mesh].into_iter().flatten().collect();
    let said = |port: Option<Port>| {
        let of_level = |level: &&Mtls| port.and_then(|port| level.ports.get(&port)).copied().or(level.mode);
        match levels.iter().find_map(of_level) {
            Some(Written::Permissive) => MtlsMode::Permissive,
            Some(Written::Strict) | None => MtlsMode::Strict,
        }
    };
    let mode = said(None);
    let named: BTreeSet<Port> = levels.iter().flat_map(|level| level.ports.keys().copied()).collect();
    let exceptions = named.into_iter().map(|port| (port, said(Some(port)))).filter(|(_, it)| *it != mode);
    InboundMtls { mode, exceptions: exceptions.collect() }
}
