//! Limits: how much at once, how often, and how much of it for each client.
//!
//! ```text
//! request ─> RateLimit ─> FairShare ─> AdaptiveLimit ─> on its way
//!                             └─ FairQueue: who is next when one ends
//! ```
//!
//! Each is a law of its own, and they are combined as needed. Enters: requests that begin and end, with the time. Leaves:
//! whether one may begin. Never here: waiting, and the answer for one that may not.

mod adaptive;
mod fair;
mod queue;
mod rate;

pub use adaptive::{AdaptiveLimit, AdaptiveSettings, Concurrency, Sample, Tolerance};
pub use fair::{FairSettings, FairShare, Mark, Places};
pub use queue::{FairQueue, Joined, Ticket};
pub use rate::{Burst, ClientRates, Rate, Requests, TokenBucket, Unit};
