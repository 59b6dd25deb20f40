//! The server that sidecars reach: discovery and certificate signing over gRPC, on one port.
//!
//! Enters: the parts and connections whose handshake is done. Leaves: served calls, and the directory of who is connected.
//! Never here: what is answered; that is `xds`, `ca` and `replicas`.

use super::AppError;
use super::kept::Kept;
use crate::ca::{SigningMetrics, SigningService};
use crate::index::Feed;
use crate::listen::Incoming;
use crate::registry::Registry as Workloads;
use crate::replicas::Replica;
use crate::xds::{self, Directory, DiscoveryMetrics};
use mesh_names::TrustDomain;
use mesh_process::{DrainSignal, Tasks};
use prometheus::Registry;
use std::time::Duration;
use tonic::transport::Server;

/// A sidecar from which nothing is heard is asked after this time …
const PING_EVERY: Duration = Duration::from_secs(10);

/// … and taken to be gone when it does not answer in this. Together they bound how long a machine that vanished keeps its
/// endpoint; the registry's own grace time comes on top.
const PING_ANSWER: Duration = Duration::from_secs(5);

/// Calls one connection may have open: a sidecar needs its stream and now and then a certificate.
const CALLS_PER_CONNECTION: u32 = 16;

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
        connections: Incoming,
        tasks: &Tasks,
    ) -> Result<(), AppError> {
        let Self { feed, workloads, directory, metrics, trust_domain, drain } = self;
        let replica = Replica::service(directory.clone(), &trust_domain);
        let signing = SigningService::new(
            kept.authority.clone(),
            kept.tokens.clone(),
            SigningMetrics::register(families)?,
        );
        let discovery = xds::service(feed, workloads, directory, metrics, tasks.clone(), drain.clone());
        let server = Server::builder()
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_ANSWER))
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .add_service(discovery)
            .add_service(replica)
            .add_service(signing.into_server());
        tasks.spawn("discovery", async move {
            let draining = async move { drain.draining().await };
            if let Err(error) = server.serve_with_incoming_shutdown(connections, draining).await {
                tracing::error!(%error, "discovery stopped");
            }
        });
        Ok(())
    }
}
