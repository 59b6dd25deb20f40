//! The service of discovery, and the task behind each stream: it carries requests to the session, snapshots to
//! the session, and the session's responses to the client. It decides nothing the session or the registry can decide.
//!
//! While a client does not take what was sent, the task neither reads requests nor makes responses, so that a client
//! that does not read costs its own memory. Dead connections are found by `grpc`.

use super::allowance::Allowance;
use super::directory::{Directory, Presence};
use super::metrics::{DiscoveryMetrics, OpenStream};
use super::progress::Progress;
use super::session::Session;
use crate::grpc::streaming::{Answers, Messages};
use crate::index::Feed;
use crate::peer::PeerIdentity;
use crate::registry::{Registration, Registry, StoredAt};
use crate::snapshot::Snapshot;
use mesh_names::SpiffeId;
use mesh_process::DrainSignal;
use mesh_protocol::announcement::{AnnouncedState, Announcement};
use mesh_protocol::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
use mesh_protocol::wire::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

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
    drain: DrainSignal,
}

impl Discovery {
    /// Streams end when `drain` begins, so that their sidecars look for another replica.
    pub fn new(
        feed: Feed,
        registry: Registry,
        directory: Directory,
        metrics: DiscoveryMetrics,
        drain: DrainSignal,
    ) -> Self {
        Self { feed, registry, directory, metrics, drain }
    }
}

impl Discovery {
    /// Admits a stream of `peer`.
    ///
    /// # Errors
    /// The status to refuse it with.
    pub fn admit(&self, peer: &PeerIdentity) -> Result<Box<Admitted>, Status> {
        let Some(peer) = &peer.0 else {
            return Err(Status::unauthenticated(
                "discovery needs a client certificate of this mesh; get one from the certificate authority with a join token",
            ));
        };
        if self.drain.is_draining() {
            return Err(going_away());
        }
        Ok(Box::new(Admitted {
            peer: peer.clone(),
            feed: self.feed.clone(),
            registration: self.registry.open(),
            presence: self.directory.enter(peer.clone()),
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
            stored: None,
            later: None,
            allowance: Allowance::default(),
            progress: Progress::default(),
            _open: self.metrics.opened(),
        }))
    }
}

fn going_away() -> Status {
    Status::unavailable(
        "this control plane is shutting down; connect to another one, or to this one in a moment",
    )
}

/// Waits for a moment, or for ever.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What a stream's task sends and receives.
struct Ends {
    requests: Messages<DeltaDiscoveryRequest>,
    answers: Answers,
}

/// A stream that may begin.
#[derive(Debug)]
pub struct Admitted {
    peer: SpiffeId,
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
    progress: Progress,
    _open: OpenStream,
}

/// What the task waits for.
enum Next {
    Request(Box<DeltaDiscoveryRequest>),
    Snapshot(Arc<Snapshot>),
    Stored(StoredAt),
    Reflected,
    /// Something is to be done for which the time has come.
    Due,
    /// The end, with what to tell the client.
    End(Status),
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // Stopping must not leave the store saying that everybody is gone: the next process would pass it on.
        if self.drain.is_draining() {
            self.registration.end_by_us();
        }
    }
}

impl Admitted {
    /// Serves the stream until it ends. Boxed: its future would have room for it twice.
    pub async fn run(mut self: Box<Self>, requests: Messages<DeltaDiscoveryRequest>, answers: Answers) {
        let mut ends = Ends { requests, answers };
        if let Some(status) = self.follow(&mut ends).await {
            ends.answers.end(&status);
        }
    }

    /// Nothing if nobody listens any more, else what to end the stream with.
    async fn follow(&mut self, ends: &mut Ends) -> Option<Status> {
        let first = match self.first_snapshot(ends).await? {
            Ok(first) => first,
            Err(status) => return Some(status),
        };
        let mut session = Session::new(self.peer.clone(), first);
        loop {
            while let Some(response) = session.response() {
                self.metrics.pushed(&response.type_url);
                if let Err(ended) = self.send(ends, &session, &response).await {
                    return ended;
                }
            }
            self.presence.note(&session);
            self.heed(&session);
            match self.next(ends).await {
                Next::Request(request) => {
                    if let Some(reply) = self.request(&mut session, *request)
                        && let Err(ended) = self.send(ends, &session, &reply).await
                    {
                        return ended;
                    }
                }
                Next::Snapshot(snapshot) => session.publish(snapshot),
                Next::Stored(stored) => self.stored = Some(stored),
                Next::Reflected => self.acknowledge(&mut session),
                Next::Due => {
                    if let Some((announcement, _)) = self.later.take_if(|(_, at)| *at <= Instant::now()) {
                        self.announce(&mut session, announcement);
                    }
                }
                Next::End(status) => return Some(status),
            }
        }
    }

    /// Waits for all of the store to be read: answers before that would take resources away from clients.
    async fn first_snapshot(&mut self, ends: &mut Ends) -> Option<Result<Arc<Snapshot>, Status>> {
        tokio::select! {
            first = self.feed.snapshots.wait_for(Option::is_some) => {
                Some(first.ok().and_then(|it| it.clone()).ok_or_else(going_away))
            }
            () = ends.answers.given_up() => None,
            () = self.drain.draining() => Some(Err(going_away())),
        }
    }

    /// Sends a response of the session. Else what to end the stream with, or nothing when nobody listens any more.
    async fn send(
        &mut self,
        ends: &mut Ends,
        session: &Session,
        response: &DeltaDiscoveryResponse,
    ) -> Result<(), Option<Status>> {
        loop {
            self.heed(session);
            let late = self.progress.late_at();
            tokio::select! {
                biased;
                is_sent = ends.answers.send(response) => return if is_sent { Ok(()) } else { Err(None) },
                () = self.drain.draining() => return Err(Some(going_away())),
                // A client that does not take what it is sent does not apply it either.
                () = at(late) => {}
            }
        }
    }

    /// Tells the Workload's status whether its sidecar applies what it is sent.
    fn heed(&mut self, session: &Session) {
        let acknowledged = |took| self.metrics.acknowledged(took);
        if let Some(trouble) = self.progress.note(session, Instant::now(), acknowledged) {
            self.registration.configured(trouble);
        }
    }

    async fn next(&mut self, ends: &mut Ends) -> Next {
        let awaited = self.stored.map(|stored| stored.revision);
        let again = self.later.as_ref().map(|(_, at)| *at);
        let due = again.into_iter().chain(self.progress.late_at()).min();
        tokio::select! {
            request = ends.requests.next() => match request {
                Ok(Some(request)) => Next::Request(Box::new(request)),
                // The client has said all it will: its lease ends.
                Ok(None) => Next::End(Status::ok("")),
                Err(status) => Next::End(status),
            },
            changed = self.feed.snapshots.changed() => match (changed, self.newest()) {
                (Ok(()), Some(snapshot)) => Next::Snapshot(snapshot),
                (Ok(()) | Err(_), _) => Next::End(going_away()),
            },
            stored = self.registration.stored() => Next::Stored(stored),
            reflected = async {
                match awaited {
                    Some(revision) => self.feed.reflected.wait_for(|it| *it >= revision).await.is_ok(),
                    None => std::future::pending().await,
                }
            } => if reflected { Next::Reflected } else { Next::End(going_away()) },
            () = at(due) => Next::Due,
            () = self.drain.draining() => Next::End(going_away()),
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
            self.presence.note_certificate(announcement.certificate_expires);
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
