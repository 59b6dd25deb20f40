//! Serves snapshots to sidecars: delta xDS over gRPC. What enters is requests of sidecars and the newest
//! [`crate::snapshot::Snapshot`]; what leaves is, for each stream, what it subscribed to and does not have yet, and
//! announcements of workloads on their way to the registry. Nothing here knows what a resource means.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`session`] | one stream's state machine, pure |
//! | `subscriptions` | one resource type's part of it |
//! | `absence` | the sentence for what does not exist |

mod absence;
pub mod session;
mod subscriptions;
