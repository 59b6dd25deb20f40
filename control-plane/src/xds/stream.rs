//! The gRPC service of discovery, and the task behind each stream: it carries requests to the session, snapshots to
//! the session, and the session's responses to the client. It decides nothing the session or the registry can decide.
//!
//! At most [`OUTGOING`] responses wait for the network; while they do, the task neither reads requests nor makes
//! responses, so that a client that does not read costs its own memory. Dead connections are found by the server's
//! HTTP/2 keepalive.

use super::allowance::Allowance;
use super::directory::{Directory, Presence};
use super::metrics::{DiscoveryMetrics, OpenStream};
use super::session::Session;
use crate::index::Feed;
use crate::peer::PeerIdentity;
use crate::registry::{Registration, Registry, StoredAt};
use crate::snapshot::Snapshot;
use mesh_names::SpiffeId;
use mesh_process::{DrainSignal, Tasks};
use mesh_protocol::announcement::{AnnouncedState, Announcement};
use mesh_protocol::wire::discovery::aggregated_discovery_service_server::AggregatedDiscoveryService;
use mesh_protocol::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
use mesh_protocol::wire::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Responses that wait for the network.
const OUTGOING: usize = 2;
/// From a refused announcement to the next try: the name may have become free.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(5);
/// Most characters of a client's word on its program that are shown.
const AGENT_MAX: usize = 100;

/// The service.
#[derive(Debug)]
pub struct Discovery {
    feed: Feed,
    registry: Registry,
    directory: Directory,
    metrics: DiscoveryMetrics,
    tasks: Tasks,
    drain: DrainSignal,
}

impl Discovery {
    pub(super) fn new(
        feed: Feed,
        registry: Registry,
        directory: Directory,
        metrics: DiscoveryMetrics,
        tasks: Tasks,
        drain: DrainSignal,
    ) -> Self {
        Self { feed, registry, directory, metrics, tasks, drain }
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let Some(peer) = request.extensions().get::<PeerIdentity>().and_then(|peer| peer.0.clone()) else {
            return Err(Status::unauthenticated(
                "discovery needs a client certificate of this mesh; get one from the certificate authority with a join token",
            ));
        };
        if self.drain.is_draining() {
            return Err(going_away());
        }
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        let connection = Connection {
            peer: peer.clone(),
            requests: request.into_inner(),
            outgoing,
            feed: self.feed.clone(),
            registration: self.registry.open(),
            presence: self.directory.enter(peer),
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
            stored: None,
            later: None,
            allowance: Allowance::default(),
            _open: self.metrics.opened(),
        };
        self.tasks.spawn("discovery stream", connection.run());
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn going_away() -> Status {
    Status::unavailable(
        "this control plane is shutting down; connect to another one, or to this one in a moment",
    )
}

/// One stream's task.
struct Connection {
    peer: SpiffeId,
    requests: Streaming<DeltaDiscoveryRequest>,
    outgoing: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    feed: Feed,
    registration: Registration,
    presence: Presence,
    metrics: DiscoveryMetrics,
    drain: DrainSignal,
    /// An announcement in the store that the newest snapshot may not reflect yet.
    stored: Option<StoredAt>,
    /// An announcement that was refused or came too soon, and when to try it (again).
    later: Option<(Announcement, Instant)>,
    allowance: Allowance,
    _open: OpenStream,
}

/// What the task waits for.
enum Next {
    Request(Box<DeltaDiscoveryRequest>),
    Snapshot(Arc<Snapshot>),
    Stored(StoredAt),
    Reflected,
    AnnounceAgain,
    /// The end, with what to tell the client.
    End(Option<Status>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Stopping must not leave the store saying that everybody is gone: the next process would pass it on.
        if self.drain.is_draining() {
            self.registration.end_by_us();
        }
    }
}

impl Connection {
    async fn run(mut self) {
        let Some(first) = self.first_snapshot().await else { return };
        let mut session = Session::new(self.peer.clone(), first);
        loop {
            while let Some(response) = session.response() {
                self.metrics.pushed(&response.type_url);
                if !self.send(response).await {
                    return;
                }
            }
            self.presence.note(&session);
            match self.next().await {
                Next::Request(request) => {
                    if let Some(reply) = self.request(&mut session, *request)
                        && !self.send(reply).await
                    {
                        return;
                    }
                }
                Next::Snapshot(snapshot) => session.publish(snapshot),
                Next::Stored(stored) => self.stored = Some(stored),
                Next::Reflected => self.acknowledge(&mut session),
                Next::AnnounceAgain => {
                    if let Some((announcement, _)) = self.later.take() {
                        self.announce(&mut session, announcement);
                    }
                }
                Next::End(status) => {
                    if let Some(status) = status {
                        // Nobody may be listening any more.
                        let _told = self.outgoing.try_send(Err(status));
                    }
                    return;
                }
            }
        }
    }

    /// Waits for all of the store to be read: answers before that would take resources away from clients.
    async fn first_snapshot(&mut self) -> Option<Arc<Snapshot>> {
        tokio::select! {
            first = self.feed.snapshots.wait_for(Option::is_some) => first.ok().and_then(|it| it.clone()),
            () = self.outgoing.closed() => None,
            () = self.drain.draining() => None,
        }
    }

    /// Hands a response to the network. False when there is no one to send to.
    async fn send(&self, response: DeltaDiscoveryResponse) -> bool {
        tokio::select! {
            sent = self.outgoing.send(Ok(response)) => sent.is_ok(),
            () = self.drain.draining() => false,
        }
    }

    async fn next(&mut self) -> Next {
        let awaited = self.stored.map(|stored| stored.revision);
        let again = self.later.as_ref().map(|(_, at)| *at);
        tokio::select! {
            request = self.requests.message() => match request {
                Ok(Some(request)) => Next::Request(Box::new(request)),
                // The client has said all it will, or is gone: either way its lease ends.
                Ok(None) | Err(_) => Next::End(None),
            },
            changed = self.feed.snapshots.changed() => match (changed, self.newest()) {
                (Ok(()), Some(snapshot)) => Next::Snapshot(snapshot),
                (Ok(()) | Err(_), _) => Next::End(Some(going_away())),
            },
            stored = self.registration.stored() => Next::Stored(stored),
            reflected = async {
                match awaited {
                    Some(revision) => self.feed.reflected.wait_for(|it| *it >= revision).await.is_ok(),
                    None => std::future::pending().await,
                }
            } => if reflected { Next::Reflected } else { Next::End(Some(going_away())) },
            () = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => Next::AnnounceAgain,
            () = self.drain.draining() => Next::End(Some(going_away())),
            () = self.outgoing.closed() => Next::End(None),
        }
    }

    fn newest(&mut self) -> Option<Arc<Snapshot>> {
        self.feed.snapshots.borrow_and_update().clone()
    }

    /// Takes a request to the session, and its announcement to the registry first.
    fn request(
        &mut self,
        session: &mut Session,
        mut request: DeltaDiscoveryRequest,
    ) -> Option<DeltaDiscoveryResponse> {
        if let Some(node) = request.node.take() {
            self.presence.note_agent(agent(&node));
        }
        if let Some(announcement) = request.announcement.take() {
            self.read_announcement(session, announcement);
        }
        let requested = session.request(request);
        if let Some(nack) = requested.nack {
            self.metrics.refused(nack.kind);
            tracing::warn!(
                peer = %self.peer, kind = nack.kind.as_str(), resources = ?nack.resources, message = nack.message,
                "a sidecar refused a response"
            );
        }
        requested.reply
    }

    fn read_announcement(&mut self, session: &mut Session, announcement: v1::Announcement) {
        let name = announcement.name.clone();
        match Announcement::of_wire(announcement) {
            Ok(announcement) => self.announce(session, announcement),
            Err(error) => {
                let name: String = name.chars().take(300).collect();
                self.refuse(session, &name, format!("the announcement can't be read: {error}"));
            }
        }
    }

    fn announce(&mut self, session: &mut Session, announcement: Announcement) {
        self.later = None;
        // Leaving never waits: traffic is about to fail.
        if announcement.state != AnnouncedState::Leaving
            && let Err(at) = self.allowance.take(Instant::now())
        {
            self.later = Some((announcement, at));
            return;
        }
        match self.registration.announce(&self.peer, announcement.clone()) {
            Ok(workload) => {
                self.presence.note_refusal(None);
                session.set_workload(workload);
            }
            Err(refusal) => {
                self.refuse(session, announcement.name.as_str(), refusal.to_string());
                self.later = Some((announcement, Instant::now() + ANNOUNCE_AGAIN));
            }
        }
    }

    fn refuse(&self, session: &mut Session, name: &str, reason: String) {
        tracing::warn!(peer = %self.peer, workload = name, reason, "a workload was not registered");
        self.presence.note_refusal(Some(reason.clone()));
        session.refuse_workload(&format!("{}/{name}", self.peer.namespace), reason);
    }

    /// The awaited revision is reflected: the session gets that snapshot, and the client its word.
    fn acknowledge(&mut self, session: &mut Session) {
        if let Some(snapshot) = self.newest() {
            session.publish(snapshot);
        }
        if let Some(stored) = self.stored.take() {
            session.acknowledge_announcement(stored.sequence);
        }
    }
}

fn agent(node: &Node) -> String {
    let text = format!("{} {}", node.user_agent_name, node.user_agent_version);
    text.trim().chars().take(AGENT_MAX).collect()
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
