//! The client side of delta discovery as a PURE state machine: what is wanted and what the control plane says enter,
//! requests and changes leave. No clock, no I/O, no async; [`super::follower`] carries the messages.
//!
//! ```text
//!  closed ──open──> subscribing ──receive──> acknowledged ──want──> subscribing …
//!    ^                   │                        │
//!    └──────close────────┴────────close───────────┘        what is held survives every close
//! ```
//!
//! A resource that can't be used is refused by itself: the last good one stays in force, the rest of the response is
//! applied, and the refusal (NACK) names the resource and the field.

use crate::xds::decode::{Checked, Unusable};
use crate::xds::held::{Changed, Held};
use mesh_names::{HostPattern, ServiceName, TrustDomain, WorkloadName};
use mesh_protocol::announcement::Announcement;
use mesh_protocol::resource::{MESH, ResourceType, address_name, collection, collection_of, endpoints_of};
use mesh_protocol::wire::discovery as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Most versions offered for resuming one type on a new stream: about 2 MB of names. What is beyond is fetched anew.
pub(crate) const RESUME_MAX: usize = 20_000;
/// Most resources named in one refusal; the number of the others is told.
const REFUSALS_NAMED: usize = 8;
/// Most bytes of a sentence about a missing service that are kept.
const SENTENCE_MAX: usize = 500;
/// `google.rpc.Code`: the resource can't be used.
const INVALID_ARGUMENT: i32 = 3;
/// `google.rpc.Code`: there is no such resource.
const NOT_FOUND: i32 = 5;

/// Who this sidecar is to the control plane.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// The trust domain whose bundle it follows.
    pub(crate) trust_domain: TrustDomain,
    /// Its own workload.
    pub(crate) workload: WorkloadName,
}

/// What is wanted of the mesh beside the sidecar's own affairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Services, with their endpoints.
    pub(crate) services: BTreeSet<ServiceName>,
    /// What is at these addresses.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// What these hosts and domains are.
    pub(crate) hosts: BTreeSet<HostPattern>,
}

impl Wants {
    /// What is in this and not in `other`.
    fn without(&self, other: &Self) -> Self {
        Self {
            services: self.services.difference(&other.services).cloned().collect(),
            addresses: self.addresses.difference(&other.addresses).copied().collect(),
            hosts: self.hosts.difference(&other.hosts).cloned().collect(),
        }
    }

    /// The names to subscribe to of one type.
    fn names(&self, kind: ResourceType) -> Vec<String> {
        match kind {
            ResourceType::TrustBundle | ResourceType::Mesh | ResourceType::Workload => Vec::new(),
            ResourceType::Service => self.services.iter().map(ToString::to_string).collect(),
            ResourceType::Endpoint => self.services.iter().map(endpoints_of).collect(),
            ResourceType::Address => self.addresses.iter().copied().map(address_name).collect(),
            ResourceType::ExternalHost => self.hosts.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A resource that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// Its type; nothing if that is unknown.
    pub(crate) kind: Option<ResourceType>,
    /// Its name, or the unknown type's URL.
    pub(crate) name: String,
    /// Why, naming the field.
    pub(crate) why: String,
}

/// What came of one response.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// To be sent back: an ACK or a NACK.
    pub(crate) reply: Option<wire::DeltaDiscoveryRequest>,
    /// What changed in what is held.
    pub(crate) changed: Changed,
    /// What was refused.
    pub(crate) rejected: Vec<Rejection>,
    /// The highest announcement that is now in force, when the control plane says so.
    pub(crate) announced: Option<u64>,
}

/// The state machine. It owns what is held.
#[derive(Debug)]
pub(crate) struct Session {
    own: Own,
    held: Held,
    wanted: Wants,
    stream: Option<Stream>,
}

/// What is true of the current stream only.
#[derive(Debug, Default)]
struct Stream {
    /// Types whose first request was sent.
    opened: BTreeSet<ResourceType>,
    /// Collections whose next answer is their first and complete one, though members are held from before.
    complete_next: BTreeSet<ServiceName>,
}

impl Session {
    /// A session that starts from what is already held, for example from disk.
    pub(crate) fn new(own: Own, held: Held) -> Self {
        Self { own, held, wanted: Wants::default(), stream: None }
    }

    /// What is held.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// A new stream is up: the requests that open it. The announcement comes first, with the node.
    pub(crate) fn open(
        &mut self,
        node: wire::Node,
        announcement: &Announcement,
    ) -> Vec<wire::DeltaDiscoveryRequest> {
        let mut stream = Stream::default();
        let mut requests = Vec::new();
        for kind in ResourceType::ALL {
            requests.extend(self.first_request(&mut stream, kind));
        }
        if let Some(first) = requests.first_mut() {
            first.node = Some(node);
            first.announcement = Some(announcement.to_wire());
        }
        self.stream = Some(stream);
        requests
    }

    /// The stream is gone. Everything held stays in force.
    pub(crate) fn close(&mut self) {
        self.stream = None;
    }

    /// Tells a changed announcement on the running stream.
    pub(crate) fn announce(&self, announcement: &Announcement) -> Option<wire::DeltaDiscoveryRequest> {
        self.stream.as_ref()?;
        Some(wire::DeltaDiscoveryRequest {
            type_url: ResourceType::Workload.type_url().to_owned(),
            announcement: Some(announcement.to_wire()),
            ..Default::default()
        })
    }

    /// From now on exactly this is wanted. What is not wanted any more is forgotten.
    pub(crate) fn want(&mut self, wants: Wants) -> (Vec<wire::DeltaDiscoveryRequest>, Changed) {
        let mut changed = Changed::default();
        let (added, gone) = (wants.without(&self.wanted), self.wanted.without(&wants));
        self.wanted = wants;
        for service in &gone.services {
            self.held.forget(service, &mut changed);
        }
        for address in &gone.addresses {
            self.held.forget_address(*address, &mut changed);
        }
        for host in &gone.hosts {
            self.held.forget_host(host, &mut changed);
        }
        let Some(mut stream) = self.stream.take() else { return (Vec::new(), changed) };
        let mut requests = Vec::new();
        for kind in ResourceType::ALL {
            let (subscribe, unsubscribe) = (added.names(kind), gone.names(kind));
            if subscribe.is_empty() && unsubscribe.is_empty() {
                continue;
            }
            if !stream.opened.contains(&kind) {
                requests.extend(self.first_request(&mut stream, kind));
                continue;
            }
            if kind == ResourceType::Endpoint {
                // Held from disk, but not offered in this stream's first request: the answer will be complete.
                let held = added.services.iter().filter(|it| self.held.endpoints.contains_key(it));
                stream.complete_next.extend(held.cloned());
            }
            requests.push(wire::DeltaDiscoveryRequest {
                type_url: kind.type_url().to_owned(),
                resource_names_subscribe: subscribe,
                resource_names_unsubscribe: unsubscribe,
                ..Default::default()
            });
        }
        self.stream = Some(stream);
        (requests, changed)
    }

    /// Takes one response in.
    pub(crate) fn receive(&mut self, response: wire::DeltaDiscoveryResponse) -> Received {
        let announced = Some(response.announced).filter(|sequence| *sequence > 0);
        let mut received = Received { announced, ..Received::default() };
        if response.type_url.is_empty() {
            return received;
        }
        if !response.system_version_info.is_empty() {
            self.held.revision.clone_from(&response.system_version_info);
        }
        match ResourceType::of_url(&response.type_url) {
            Some(kind) => self.apply(kind, &response, &mut received),
            None => received.rejected.push(Rejection {
                kind: None,
                name: response.type_url.clone(),
                why: "this sidecar knows no such resource type".to_owned(),
            }),
        }
        received.reply = (!response.nonce.is_empty()).then(|| wire::DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            error_detail: refusal(&received.rejected),
            ..Default::default()
        });
        received
    }

    fn apply(
        &mut self,
        kind: ResourceType,
        response: &wire::DeltaDiscoveryResponse,
        received: &mut Received,
    ) {
        let mut members: BTreeMap<ServiceName, BTreeSet<&str>> = BTreeMap::new();
        for resource in &response.resources {
            if kind == ResourceType::Endpoint
                && let Some((_, member)) = resource.name.rsplit_once('/')
                && let Some(service) = collection_of(&resource.name)
            {
                members.entry(service).or_default().insert(member);
            }
            if !self.is_wanted(kind, &resource.name) {
                continue;
            }
            match checked(kind, resource) {
                Ok(checked) => self.held.put(&resource.version, checked, &mut received.changed),
                Err(error) => received.rejected.push(Rejection {
                    kind: Some(kind),
                    name: resource.name.clone(),
                    why: error.to_string(),
                }),
            }
        }
        let complete = self.stream.as_mut().map(|stream| &mut stream.complete_next);
        if let Some(complete) = complete {
            for (service, named) in &members {
                if complete.remove(service) {
                    self.held.keep_only(service, named, &mut received.changed);
                }
            }
        }
        for name in &response.removed_resources {
            self.remove(kind, name, None, &mut received.changed);
        }
        for error in &response.resource_errors {
            let (Some(name), Some(status)) = (&error.resource_name, &error.error_detail) else { continue };
            if status.code == NOT_FOUND || !self.needs_clear_word(kind, &name.name) {
                self.remove(kind, &name.name, Some(&status.message), &mut received.changed);
            }
        }
    }

    /// A name has no resource (any more).
    fn remove(&mut self, kind: ResourceType, name: &str, sentence: Option<&str>, changed: &mut Changed) {
        if !self.is_wanted(kind, name) {
            return;
        }
        match kind {
            // Whom to trust, what this very process serves, what holds everywhere: without them all traffic would stop.
            // The last good one stays until another takes its place.
            ResourceType::TrustBundle | ResourceType::Mesh | ResourceType::Workload => {}
            ResourceType::Service => {
                let Ok(service) = name.parse::<ServiceName>() else { return };
                let sentence = match sentence.filter(|sentence| !sentence.is_empty()) {
                    Some(sentence) => cut(sentence).into(),
                    // A sentence already told is better than ours.
                    None if self.held.missing.contains_key(&service) => return,
                    None => {
                        format!("no service `{}` in namespace `{}`", service.name, service.namespace).into()
                    }
                };
                self.held.service_is_missing(&service, sentence, changed);
            }
            ResourceType::Endpoint => match collection(name) {
                Some(service) => {
                    if let Some(stream) = &mut self.stream {
                        stream.complete_next.remove(&service);
                    }
                    self.held.collection_is_empty(&service, changed);
                }
                None => self.held.endpoint_is_gone(name, changed),
            },
            ResourceType::Address => {
                if let Ok(address) = name.parse() {
                    self.held.address_is_unknown(address, changed);
                }
            }
            ResourceType::ExternalHost => {
                if let Ok(host) = name.parse() {
                    self.held.host_is_unknown(host, changed);
                }
            }
        }
    }

    /// Whether only the control plane's clear word makes a name one that nothing has. A service that was never held may
    /// as well be refused with whatever trouble there is; traffic to an address or a host nobody knows may leave the mesh
    /// in the clear, so that trouble leaves the question open.
    fn needs_clear_word(&self, kind: ResourceType, name: &str) -> bool {
        match kind {
            ResourceType::TrustBundle
            | ResourceType::Mesh
            | ResourceType::Workload
            | ResourceType::Endpoint => false,
            ResourceType::Service => name.parse().is_ok_and(|name| self.held.services.contains_key(&name)),
            ResourceType::Address | ResourceType::ExternalHost => true,
        }
    }

    fn is_wanted(&self, kind: ResourceType, name: &str) -> bool {
        match kind {
            ResourceType::TrustBundle => name == self.own.trust_domain.as_str(),
            ResourceType::Mesh => name == MESH,
            ResourceType::Workload => name.parse().is_ok_and(|name: WorkloadName| name == self.own.workload),
            ResourceType::Service => name.parse().is_ok_and(|name| self.wanted.services.contains(&name)),
            ResourceType::Endpoint => {
                let service = collection(name).or_else(|| collection_of(name));
                service.is_some_and(|service| self.wanted.services.contains(&service))
            }
            ResourceType::Address => {
                name.parse().is_ok_and(|address| self.wanted.addresses.contains(&address))
            }
            ResourceType::ExternalHost => self.wanted.hosts.contains(name),
        }
    }

    /// The request that opens a type on a stream: everything wanted, and the versions held of it. None for a type of
    /// which nothing is wanted: no names at all would mean "all there is" in xDS.
    fn first_request(&self, stream: &mut Stream, kind: ResourceType) -> Option<wire::DeltaDiscoveryRequest> {
        let names: Vec<String> = match kind {
            ResourceType::TrustBundle => vec![self.own.trust_domain.to_string()],
            ResourceType::Mesh => vec![MESH.to_owned()],
            ResourceType::Workload => vec![self.own.workload.to_string()],
            ResourceType::Service
            | ResourceType::Endpoint
            | ResourceType::Address
            | ResourceType::ExternalHost => self.wanted.names(kind),
        };
        if names.is_empty() {
            return None;
        }
        stream.opened.insert(kind);
        let mut versions = self.held.versions(kind, RESUME_MAX, &mut stream.complete_next);
        versions.retain(|name, _| self.is_wanted(kind, name));
        Some(wire::DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: names,
            initial_resource_versions: versions,
            ..Default::default()
        })
    }
}

fn checked(kind: ResourceType, resource: &wire::Resource) -> Result<Checked, Unusable> {
    let any = resource.resource.as_ref().filter(|any| any.type_url == kind.type_url());
    Checked::decode(kind, &resource.name, &any.ok_or(Unusable::OtherType)?.value)
}

/// One sentence for all refusals of a response, or none if there are none.
fn refusal(rejected: &[Rejection]) -> Option<wire::Status> {
    if rejected.is_empty() {
        return None;
    }
    let named = rejected.iter().take(REFUSALS_NAMED).map(|rejection| {
        let kind = rejection.kind.map_or("type", ResourceType::as_str);
        format!("{kind} `{}`: {}", rejection.name, rejection.why)
    });
    let mut message = named.collect::<Vec<_>>().join("; ");
    if rejected.len() > REFUSALS_NAMED {
        message.push_str(&format!("; and {} more", rejected.len() - REFUSALS_NAMED));
    }
    Some(wire::Status { code: INVALID_ARGUMENT, message, details: Vec::new() })
}

fn cut(sentence: &str) -> &str {
    let mut end = sentence.len().min(SENTENCE_MAX);
    while !sentence.is_char_boundary(end) {
        end -= 1;
    }
    sentence.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
