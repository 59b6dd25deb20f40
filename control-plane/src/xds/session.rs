//! One discovery stream as a state machine: requests and snapshots in, responses out. Pure: no clock, no channel, no
//! task; `stream.rs` drives it. It decides what a client hears, when, and what it may not have.
//!
//! - Each type has at most one response in flight. The next is made, from the newest snapshot, after its ACK: a slow
//!   client skips states, nothing queues.
//! - Types go out in the order of [`ResourceType::ALL`], each as soon as it may.
//! - A version the client refused (NACK) is not sent again on this stream; a different one is.
//! - Subscriptions in a request count even when its nonce is stale, as the xDS protocol asks.

use super::absence::{Code, forbidden_workload, malformed};
use super::subscriptions::{Draft, InFlight, Subscriptions};
use crate::snapshot::{ResourceName, Snapshot};
use crate::store::Revision;
use mesh_names::{SpiffeId, WorkloadName};
use mesh_protocol::resource::ResourceType;
use mesh_protocol::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Status};
use mesh_protocol::wire::{discovery, v1};
use std::sync::Arc;

/// Most names and collections one stream may subscribe to: more than a sidecar asks for when it follows as much as it may
/// (10,000 services by name and by endpoints, 2,000 addresses, 500 hosts with the domains above them). A further one is
/// answered with an error and not kept.
pub const SUBSCRIPTIONS_MAX: usize = 30_000;
/// Most names of an unknown type that are answered one by one.
const UNKNOWN_NAMES_MAX: usize = 100;
/// Most names a NACK is shown with.
const NACK_NAMES_MAX: usize = 10;
/// Most of a client's error message that is kept.
const NACK_MESSAGE_MAX: usize = 2_000;

/// The last response of a type that the client refused, kept until it accepts one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// The type.
    pub kind: ResourceType,
    /// What the response brought; at most ten names.
    pub resources: Vec<String>,
    /// How many resources it brought.
    pub count: usize,
    /// Why, in the client's words.
    pub message: String,
    /// The store revision the response was made from.
    pub revision: Revision,
}

/// What a request asks of others than the session.
#[derive(Debug, Default)]
pub struct Requested {
    /// The workload's announcement, to be read and registered.
    pub announcement: Option<v1::Announcement>,
    /// An answer to send at once; it waits for no ACK.
    pub reply: Option<DeltaDiscoveryResponse>,
    /// The client has just refused a response.
    pub nack: Option<Nack>,
}

/// One stream's state.
#[derive(Debug)]
pub struct Session {
    peer: SpiffeId,
    workload: Option<WorkloadName>,
    /// An announced workload that could not be registered (yet).
    refused: Option<RefusedWorkload>,
    snapshot: Arc<Snapshot>,
    types: [TypeState; ResourceType::ALL.len()],
    nonces: u64,
    /// The announcement to acknowledge with the next response; 0 for none.
    announced: u64,
    applied: Revision,
}

#[derive(Debug)]
struct RefusedWorkload {
    name: String,
    reason: String,
    /// It was subscribed to meanwhile: that counts once it is registered.
    is_wanted: bool,
}

#[derive(Debug)]
struct TypeState {
    kind: ResourceType,
    subscriptions: Subscriptions,
    nack: Option<Nack>,
    /// The revision of the response in flight.
    sent: Revision,
}

impl Session {
    /// A stream of `peer`, which starts from this snapshot.
    pub fn new(peer: SpiffeId, snapshot: Arc<Snapshot>) -> Self {
        let types = ResourceType::ALL.map(|kind| TypeState {
            kind,
            subscriptions: Subscriptions::new(kind),
            nack: None,
            sent: Revision::default(),
        });
        let applied = Revision::default();
        Self { peer, workload: None, refused: None, snapshot, types, nonces: 0, announced: 0, applied }
    }

    /// Whose stream it is.
    pub fn peer(&self) -> &SpiffeId {
        &self.peer
    }

    /// The workload announced on it.
    pub fn workload(&self) -> Option<&WorkloadName> {
        self.workload.as_ref()
    }

    /// Notes that `workload` is announced on this stream: its resource may be had from now on.
    pub fn set_workload(&mut self, workload: WorkloadName) {
        let name = workload.to_string();
        self.workload = Some(workload);
        if self.refused.take().is_some_and(|refused| refused.is_wanted && refused.name == name)
            && let Some(state) = self.types.iter_mut().find(|state| state.kind == ResourceType::Workload)
        {
            state.subscriptions.subscribe(&name);
        }
    }

    /// Notes that the announcement with this number is in force; the client hears of it with the next response.
    pub fn acknowledge_announcement(&mut self, sequence: u64) {
        self.announced = self.announced.max(sequence);
    }

    /// Tells the client that its workload could not be registered, and why. `name` is what it is called in the
    /// answer; it may be none that a workload can have.
    pub fn refuse_workload(&mut self, name: &str, reason: String) {
        let Some(state) = self.types.iter_mut().find(|state| state.kind == ResourceType::Workload) else {
            return;
        };
        let earlier = self.refused.take().filter(|earlier| earlier.name == name);
        let is_wanted = earlier.as_ref().is_some_and(|earlier| earlier.is_wanted);
        if earlier.is_none_or(|earlier| earlier.reason != reason) {
            state.subscriptions.refuse(name, Code::FailedPrecondition, reason.clone());
        }
        self.refused = Some(RefusedWorkload { name: name.to_owned(), reason, is_wanted });
    }

    /// Whether nothing is left to say and all that was said is acknowledged.
    pub fn is_settled(&self) -> bool {
        self.types.iter().all(|state| state.subscriptions.is_settled())
    }

    /// The latest store revision of which the client is known to have all it subscribes to.
    pub fn applied(&self) -> Revision {
        self.applied
    }

    /// The refusals that stand: at most one a type.
    pub fn nacks(&self) -> impl Iterator<Item = &Nack> {
        self.types.iter().filter_map(|state| state.nack.as_ref())
    }

    /// How many resources were sent and not acknowledged yet.
    pub fn unacknowledged(&self) -> usize {
        self.types
            .iter()
            .filter_map(|state| state.subscriptions.in_flight.as_ref())
            .map(|it| it.names.len())
            .sum()
    }

    /// The responses that wait for their acknowledgements, by their numbers.
    pub fn awaited(&self) -> impl Iterator<Item = u64> {
        self.types.iter().filter_map(|state| state.subscriptions.in_flight.as_ref()).map(|it| it.nonce)
    }

    /// How many names and collections are subscribed to.
    pub fn subscriptions(&self) -> usize {
        self.types.iter().map(|state| state.subscriptions.len()).sum()
    }

    /// Takes a newer snapshot.
    pub fn publish(&mut self, snapshot: Arc<Snapshot>) {
        for (kind, name) in snapshot.changed_since(&self.snapshot) {
            if let Some(state) = self.types.iter_mut().find(|state| state.kind == kind) {
                state.subscriptions.changed(name);
            }
        }
        self.snapshot = snapshot;
        self.settle();
    }

    /// Takes a request. Its announcement is returned, not acted on: call [`Session::set_workload`] first when the
    /// request carries one, since it may subscribe to that workload in the same breath.
    pub fn request(&mut self, request: DeltaDiscoveryRequest) -> Requested {
        let mut requested = Requested { announcement: request.announcement.clone(), ..Requested::default() };
        let Some(kind) = ResourceType::of_url(&request.type_url) else {
            requested.reply = self.refuse_type(&request);
            return requested;
        };
        let others = self.subscriptions();
        let Some(state) = self.types.iter_mut().find(|state| state.kind == kind) else { return requested };
        requested.nack = state.acknowledge(&request);

        let mut room = SUBSCRIPTIONS_MAX.saturating_sub(others);
        for name in &request.resource_names_unsubscribe {
            let before = state.subscriptions.len();
            state.subscriptions.unsubscribe(name);
            room += before - state.subscriptions.len();
        }
        for name in &request.resource_names_subscribe {
            if let Some(refused) =
                self.refused.as_mut().filter(|it| kind == ResourceType::Workload && it.name == *name)
            {
                refused.is_wanted = true;
                state.subscriptions.refuse(name, Code::FailedPrecondition, refused.reason.clone());
            } else if let Some((code, reason)) = refusal(kind, name, &self.peer, self.workload.as_ref()) {
                state.subscriptions.refuse(name, code, reason);
            } else if state.subscriptions.is_subscribed(name) {
                state.subscriptions.subscribe(name);
            } else if room == 0 {
                let reason = format!("a stream may subscribe to at most {SUBSCRIPTIONS_MAX} names");
                state.subscriptions.refuse(name, Code::ResourceExhausted, reason);
            } else {
                room -= 1;
                state.subscriptions.subscribe(name);
            }
        }
        if !std::mem::replace(&mut state.subscriptions.started, true) {
            state.subscriptions.resume(request.initial_resource_versions, &self.snapshot);
        }
        self.settle();
        requested
    }

    /// The next response to send, if there is one now. Call until there is none.
    pub fn response(&mut self) -> Option<DeltaDiscoveryResponse> {
        let revision = self.snapshot.revision();
        let next = self.types.iter_mut().find_map(|state| {
            let draft = state.subscriptions.draft(&self.snapshot)?;
            Some((state, draft))
        });
        let Some((state, draft)) = next else {
            self.settle();
            return self.bare_announcement();
        };
        self.nonces += 1;
        let nonce = self.nonces;
        state.sent = revision;
        let names = draft.resources.iter().map(|resource| ResourceName::from(resource.name.as_str()));
        state.subscriptions.in_flight = Some(InFlight { nonce, names: names.collect() });
        let announced = std::mem::take(&mut self.announced);
        Some(respond(state.kind.type_url(), nonce, revision, announced, draft))
    }

    /// Announcements are acknowledged at once, if need be with an empty response, which waits for no ACK itself.
    fn bare_announcement(&mut self) -> Option<DeltaDiscoveryResponse> {
        let announced = std::mem::take(&mut self.announced);
        (announced > 0).then(|| {
            self.nonces += 1;
            let url = ResourceType::Workload.type_url();
            respond(url, self.nonces, self.snapshot.revision(), announced, Draft::default())
        })
    }

    /// An answer for a type that is not served: an error for each name, and the stream lives on.
    fn refuse_type(&mut self, request: &DeltaDiscoveryRequest) -> Option<DeltaDiscoveryResponse> {
        let names = &request.resource_names_subscribe;
        let is_announcement = request.type_url.is_empty() && names.is_empty();
        if !request.response_nonce.is_empty() || is_announcement {
            return None;
        }
        let served: Vec<_> = ResourceType::ALL.map(ResourceType::type_url).to_vec();
        let url: String = request.type_url.chars().take(300).collect();
        let reason = format!("`{url}` is not served here; these are: {}", served.join(", "));
        let error = |name: &str| super::absence::resource_error(name, Code::Unimplemented, reason.clone());
        let mut errors: Vec<_> = names.iter().take(UNKNOWN_NAMES_MAX).map(|name| error(name)).collect();
        if errors.is_empty() {
            errors.push(error("*"));
        }
        self.nonces += 1;
        let draft = Draft { errors, ..Draft::default() };
        Some(respond(&request.type_url, self.nonces, self.snapshot.revision(), 0, draft))
    }

    fn settle(&mut self) {
        if self.is_settled() && self.nacks().next().is_none() {
            self.applied = self.snapshot.revision();
        }
    }
}

impl TypeState {
    /// Matches an ACK or NACK to the response in flight; a stale nonce means nothing.
    fn acknowledge(&mut self, request: &DeltaDiscoveryRequest) -> Option<Nack> {
        let nonce = request.response_nonce.parse::<u64>().ok()?;
        let in_flight = self.subscriptions.in_flight.take_if(|sent| sent.nonce == nonce)?;
        self.nack = request.error_detail.as_ref().map(|error: &Status| Nack {
            kind: self.kind,
            count: in_flight.names.len(),
            resources: in_flight.names.iter().take(NACK_NAMES_MAX).map(ToString::to_string).collect(),
            message: error.message.chars().take(NACK_MESSAGE_MAX).collect(),
            revision: self.sent,
        });
        self.nack.clone()
    }
}

fn refusal(
    kind: ResourceType,
    name: &str,
    peer: &SpiffeId,
    workload: Option<&WorkloadName>,
) -> Option<(Code, String)> {
    if let Some(reason) = malformed(kind, name) {
        return Some((Code::InvalidArgument, reason));
    }
    match kind {
        ResourceType::Workload => {
            forbidden_workload(peer, workload, name).map(|reason| (Code::PermissionDenied, reason))
        }
        ResourceType::TrustBundle
        | ResourceType::Mesh
        | ResourceType::Service
        | ResourceType::Endpoint
        | ResourceType::Address
        | ResourceType::ExternalHost => None,
    }
}

fn respond(
    type_url: &str,
    nonce: u64,
    revision: Revision,
    announced: u64,
    draft: Draft,
) -> discovery::DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        system_version_info: revision.to_string(),
        resources: draft.resources,
        type_url: type_url.to_owned(),
        nonce: nonce.to_string(),
        removed_resources: draft.removed,
        resource_errors: draft.errors,
        announced,
    }
}

#[cfg(test)]
#[path = "session_property_tests.rs"]
mod property_tests;
#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
