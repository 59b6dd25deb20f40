//! Serves snapshots to sidecars: delta xDS. What enters is requests of sidecars and the newest
//! [`crate::snapshot::Snapshot`]; what leaves is, for each stream, what it subscribed to and does not have yet, and
//! announcements of workloads on their way to the registry. Nothing here knows what a resource means.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`session`] | one stream's state machine, pure |
//! | `subscriptions` | one resource type's part of it |
//! | `allowance` | how often a stream may announce, pure |
//! | `absence` | the sentence for what does not exist |
//! | `progress` | whether a sidecar applies what it is sent, pure |
//! | [`stream`] | the service, and the task that drives a session |
//! | [`directory`] | who is connected, and what they have |
//! | [`metrics`] | streams, pushes, refusals |
//! | `fleet` | the connected sidecars as metrics |

mod absence;
mod allowance;
pub mod directory;
mod fleet;
pub mod metrics;
mod progress;
pub mod session;
pub mod stream;
mod subscriptions;

pub use directory::Directory;
pub use fleet::register_fleet;
pub use metrics::DiscoveryMetrics;
pub use stream::{Admitted, Discovery};
