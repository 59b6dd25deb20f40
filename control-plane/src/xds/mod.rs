//! Serves snapshots to sidecars: delta xDS over gRPC. What enters is requests of sidecars and the newest
//! [`crate::snapshot::Snapshot`]; what leaves is, for each stream, what it subscribed to and does not have yet, and
//! announcements of workloads on their way to the registry. Nothing here knows what a resource means.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`session`] | one stream's state machine, pure |
//! | `subscriptions` | one resource type's part of it |
//! | `allowance` | how often a stream may announce, pure |
//! | `absence` | the sentence for what does not exist |
//! | [`stream`] | the gRPC service, and the task that drives a session |
//! | [`directory`] | who is connected, and what they have |
//! | [`metrics`] | streams, pushes, refusals |

mod absence;
mod allowance;
pub mod directory;
pub mod metrics;
pub mod session;
pub mod stream;
mod subscriptions;

pub use directory::Directory;
pub use metrics::DiscoveryMetrics;
pub use stream::Discovery;

use crate::index::Feed;
use crate::registry::Registry;
use mesh_process::{DrainSignal, Tasks};
use mesh_protocol::wire::discovery::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;

/// Largest request that is read: a client that resumes names what it holds, about 100 bytes a resource.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// The gRPC service, to be added to the server that sidecars reach. Every connection must put a
/// [`crate::peer::PeerIdentity`] into its requests' extensions. Streams run as tasks of `tasks`, and end when `drain` begins, so that their sidecars look
/// for another replica.
pub fn service(
    feed: Feed,
    registry: Registry,
    directory: Directory,
    metrics: DiscoveryMetrics,
    tasks: Tasks,
    drain: DrainSignal,
) -> AggregatedDiscoveryServiceServer<Discovery> {
    let discovery = Discovery::new(feed, registry, directory, metrics, tasks, drain);
    AggregatedDiscoveryServiceServer::new(discovery).max_decoding_message_size(REQUEST_BYTES_MAX)
}
