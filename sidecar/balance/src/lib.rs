//! Load balancing as pure functions of endpoints, load, time and randomness.
//!
//! ```text
//! control plane ──update──> Balancer ──pick──> Slot ──started/ended──> estimate, ejection
//!                                     retry? ──RetryBudget, Backoff
//! ```
//!
//! Enters: which endpoints there are, what happened to each request, the time, and random numbers. Leaves: a [`Slot`] to
//! send the next request to, whether a retry may be made, and how long to wait first. Never here: a clock, a socket, a
//! task, a lock. Each worker owns its balancers; nothing is shared between cores.

mod backoff;
mod balancer;
mod budget;
mod ejection;
mod estimate;
mod hash;
mod limit;
mod numbers;
mod rng;
mod time;

pub use backoff::Backoff;
pub use balancer::{Balancer, Health, Outcome, Pick, Slot, Tier};
pub use budget::RetryBudget;
pub use ejection::{Ejection, FAILURES_TO_EJECT, LONGEST_EJECTION, SHORTEST_EJECTION, most_ejected};
pub use estimate::{DECAY, FIRST_ESTIMATE, PeakEwma};
pub use hash::HashKey;
pub use limit::{
    AdaptiveLimit, AdaptiveSettings, Burst, ClientRates, Concurrency, FairSettings, FairShare, Mark, Places,
    Rate, Sample, TokenBucket, Tolerance,
};
pub use numbers::OutOfRange;
pub use rng::{Rng, SmallRng};
pub use time::Nanos;
