//! The port that sidecars reach: discovery and certificate signing.
//!
//! Enters: the parts and a bound listener. Leaves: served calls. Never here: what is answered; that is `xds`, `ca` and
//! `replicas`.

use super::AppError;
use super::kept::Kept;
use crate::ca::{SigningMetrics, SigningService};
use crate::grpc::{Services, workers};
use crate::index::Feed;
use crate::listen::HandshakeMetrics;
use crate::registry::Registry as Workloads;
use crate::replicas::Replica;
use crate::xds::{self, Directory, DiscoveryMetrics};
use mesh_mtls::ApiAcceptor;
use mesh_names::TrustDomain;
use mesh_process::{DrainSignal, Tasks};
use prometheus::Registry;
use std::sync::Arc;
use tokio::net::TcpListener;
use tonic::service::Routes;

/// What sidecars are served from.
pub(crate) struct Discovery {
    pub(crate) feed: Feed,
    pub(crate) workloads: Workloads,
    pub(crate) directory: Directory,
    pub(crate) metrics: DiscoveryMetrics,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) drain: DrainSignal,
}

impl Discovery {
    /// Starts to serve. Ends when the drain begins and the calls under way are done.
    pub(crate) fn spawn(
        self,
        kept: &Kept,
        families: &Registry,
        (listener, acceptor, handshakes): (TcpListener, ApiAcceptor, HandshakeMetrics),
        tasks: &Tasks,
    ) -> Result<(), AppError> {
        let Self { feed, workloads, directory, metrics, trust_domain, drain } = self;
        let replica = Replica::service(directory.clone(), &trust_domain);
        let signing = SigningService::new(
            kept.authority.clone(),
            kept.tokens.clone(),
            SigningMetrics::register(families)?,
        );
        let unary = Routes::new(replica).add_service(signing.into_server());
        let discovery = xds::Discovery::new(feed, workloads, directory, metrics, drain.clone());
        let services = Services { discovery: Arc::new(discovery), unary };
        let parts = workers::Parts { services, acceptor, handshakes, tasks: tasks.clone(), drain };
        workers::spawn(&parts, listener).map_err(AppError::Threads)
    }
}
