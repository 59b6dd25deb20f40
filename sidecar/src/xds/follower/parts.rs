//! What the follower is given.

use crate::control_plane::Reach;
use crate::demand::Demands;
use crate::health::Unwell;
use crate::register::{RegistrarEnds, Registration};
use crate::snapshot::Snapshot;
use crate::telemetry::DiscoveryMetrics;
use crate::xds::session::Own;
use mesh_mtls::Identity;
use mesh_names::ServiceName;
use mesh_process::{Condition, DrainSignal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the follower works with.
pub(crate) struct Parts {
    /// Who this sidecar is to the control plane.
    pub(crate) own: Own,
    /// Where the control plane is.
    pub(crate) reach: Arc<Reach>,
    /// Who this sidecar is to everybody.
    pub(crate) identity: Identity,
    /// Services named by flags.
    pub(crate) pinned: Vec<ServiceName>,
    /// What is announced.
    pub(crate) registration: Registration,
    /// Where the wanted state comes from, and where the one in force goes.
    pub(crate) registrar: RegistrarEnds,
    /// Demand of the workers.
    pub(crate) demands: Demands,
    /// Endpoints without a sidecar that are not well.
    pub(crate) unwell: watch::Receiver<Arc<Unwell>>,
    /// To the workers.
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
    /// The epoch of `LastUsed`.
    pub(crate) started: Instant,
    /// Where the last good configuration is kept.
    pub(crate) cache: PathBuf,
    /// What operators see.
    pub(crate) metrics: DiscoveryMetrics,
    /// Holds once there is a configuration.
    pub(crate) configured: Condition,
    /// When another process keeps the configuration on disk.
    pub(crate) handed_over: DrainSignal,
    /// Ends the task.
    pub(crate) stop: CancellationToken,
}

impl Parts {
    /// When the certificate in force expires.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.identity.svid().map(|svid| svid.not_after())
    }
}
