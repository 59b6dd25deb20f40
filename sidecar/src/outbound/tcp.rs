//! An opaque connection: a tunnel to one endpoint, and bytes both ways. Opening is tried on other endpoints as long as
//! nothing was sent; after that the connection lives and dies with its endpoint.

use super::Downstream;
use super::bound::BoundPort;
use crate::cluster::{Load, Picked};
use crate::connect::{self, Link, Prefixed, relay};
use crate::deadline;
use crate::detect::{Early, Speaks};
use crate::limit::Place;
use crate::refusal::{Again, Refusal};
use crate::retry::FURTHER_ATTEMPTS;
use crate::telemetry::{ConnectionProtocol, Direction, LabelId, OpenConnection, Side};
use crate::worker::Worker;
use mesh_balance::PickFor;
use mesh_mtls::Alpn;
use std::net::IpAddr;
use std::rc::Rc;
use tokio::time::Instant;

/// A connection to an endpoint's application.
pub(super) struct Tunnel {
    early: Early,
    pub(super) peer: LabelId,
    load: Load,
    open: OpenConnection,
    place: Option<Place>,
}

/// An opaque connection with its way.
pub(super) struct Session {
    bound: Rc<BoundPort>,
    client: Prefixed<Link>,
    tunnel: Result<Tunnel, Refusal>,
}

impl Session {
    pub(super) fn new(bound: Rc<BoundPort>, client: Prefixed<Link>, tunnel: Result<Tunnel, Refusal>) -> Self {
        Self { bound, client, tunnel }
    }
}

impl Speaks for Tunnel {
    async fn spoke(&mut self) -> bool {
        self.early.spoke().await
    }
}

impl Tunnel {
    /// The stream, what must live as long as it, and who is at its end.
    pub(super) fn into_parts(self) -> (Prefixed<Link>, (Load, OpenConnection, Option<Place>)) {
        (self.early.into_stream(), (self.load, self.open, self.place))
    }
}

/// Opens a tunnel for `client` to one of the service's endpoints.
///
/// # Errors
/// `connection_limit`, or the refusal of the last endpoint tried.
pub(super) async fn open(worker: &Rc<Worker>, bound: &BoundPort, client: IpAddr) -> Result<Tunnel, Refusal> {
    let cluster = &bound.cluster;
    cluster.ready(worker).await?;
    let place = cluster.connect()?;
    let key = cluster.source_key(worker, client);
    let mut tried = Vec::new();
    loop {
        let mut picked = cluster.pick(worker, Instant::now(), PickFor { key, tried: &tried })?;
        let opening = connect::open(worker, &picked.origin.place, Alpn::Tcp);
        match deadline::connecting(cluster.connect_timeout(), opening).await {
            Ok(link) => {
                picked.load.answered();
                let connections = &worker.shared.config.families.connections;
                let open = connections.open(Direction::Outbound, Side::Upstream, ConnectionProtocol::Tcp);
                let Picked { peer, load, .. } = picked;
                return Ok(Tunnel { early: Early::new(link), peer, load, open, place });
            }
            Err(refusal) => {
                picked.load.failed();
                tried.push(picked.slot);
                let again = refusal.reason.row().again == Again::Unprocessed;
                let made = u32::try_from(tried.len()).unwrap_or(u32::MAX);
                if !again || made > FURTHER_ATTEMPTS {
                    return Err(refusal);
                }
            }
        }
    }
}

/// Relays until both sides have ended.
pub(super) async fn carry(downstream: &Rc<Downstream>, session: Box<Session>) {
    let worker = &downstream.worker;
    let Session { bound, mut client, tunnel } = *session;
    let tunnel = match tunnel {
        Ok(tunnel) => tunnel,
        Err(refusal) => {
            worker.recorder.refused(Direction::Outbound, refusal.reason);
            worker.complaints.say(refusal.reason, || {
                tracing::info!(
                    service = &*bound.label,
                    reason = refusal.reason.word(),
                    source = refusal.source.as_deref().map(|e| e as &dyn std::error::Error),
                    "connection refused: {}",
                    refusal.sentence
                );
            });
            return;
        }
    };
    let connections = &worker.shared.config.families.connections;
    let _open = connections.open(Direction::Outbound, Side::Downstream, ConnectionProtocol::Tcp);
    let series = worker.recorder.tcp_opened(Direction::Outbound, &bound.label, tunnel.peer);
    let (mut upstream, _kept) = tunnel.into_parts();
    relay::relay(&mut client, &mut upstream, &worker.buffers, &series).await;
}
