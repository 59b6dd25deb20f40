//! How plain text is met at a Workload's ports: of its own, its namespace's and the mesh's word the narrowest counts.

use super::index::{Index, PolicyName};
use super::route::Verdict;
use super::seniority::created;
use manifests::kind::mtls::{Mtls, MtlsMode as Written};
use manifests::kind::peer_authentication::PeerAuthentication;
use manifests::kind::workload::Workload;
use mesh_names::{Port, Subdomain};
use mesh_protocol::mtls::{InboundMtls, MtlsMode};
use std::collections::BTreeSet;

/// What holds for a Workload. For each port the narrowest object that says anything of it decides; what nobody says is
/// strict. Of objects that are equally narrow only the oldest counts: halves of two would be a third that nobody wrote.
pub(super) fn inbound_mtls(index: &Index, workload: &Workload) -> InboundMtls {
    let selecting = |is_narrow: bool| {
        index
            .peer_authentications_of(&workload.name.namespace)
            .filter(|it| it.selector.is_empty() != is_narrow && it.selects(&workload.metadata.labels))
            .min_by_key(|it| seniority(it))
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

/// Of those that are equally narrow, the least counts.
fn seniority(policy: &PeerAuthentication) -> (jiff::Timestamp, &Subdomain) {
    (created(&policy.metadata), &policy.name)
}

/// Judges whether there is a Workload that a PeerAuthentication counts for; nothing if there is no such object.
pub fn judge_peer_authentication(index: &Index, name: &PolicyName) -> Option<Verdict> {
    let all = || index.peer_authentications_of(&name.namespace);
    let policy = all().find(|it| it.name == name.name)?;
    let is_equally_narrow = |it: &&PeerAuthentication| it.selector.is_empty() == policy.selector.is_empty();
    let elders: Vec<_> =
        all().filter(is_equally_narrow).filter(|it| seniority(it) < seniority(policy)).collect();
    let mut instead = None;
    for entry in index.workloads_in(&name.namespace) {
        let labels = &entry.workload.metadata.labels;
        if !policy.selects(labels) {
            continue;
        }
        match elders.iter().find(|elder| elder.selects(labels)) {
            Some(elder) => instead = Some(elder.name.clone()),
            None => {
                let message = "there are Workloads that it holds for".to_owned();
                return Some(Verdict { holds: true, reason: "Accepted", message });
            }
        }
    }
    let namespace = &name.namespace;
    let (reason, message) = match instead {
        Some(elder) => (
            "Conflicted",
            format!("{namespace}/{elder} is older and holds for the same Workloads: make one of both"),
        ),
        None if policy.selector.is_empty() => {
            ("TargetNotFound", format!("there is no Workload in namespace {namespace}"))
        }
        None => (
            "TargetNotFound",
            format!("no Workload in namespace {namespace} has the labels of `spec.selector`"),
        ),
    };
    Some(Verdict { holds: false, reason, message })
}
