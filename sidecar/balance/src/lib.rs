//! Load balancing as pure functions of endpoints, load, time and randomness.
//!
//! ```text
//!                Settings                                  limits: TokenBucket, ClientRates, FairShare, FairQueue, AdaptiveLimit
//!                    │
//! control plane ──update──> Balancer ──pick──> Slot ──started/ended──> estimate, record
//!                              ^                                           │
//!                              └──────── Ejected <── evaluate ─────────────┘
//!                                     retry, hedge? ──AttemptBudget, Backoff; TypicalLatency
//! ```
//!
//! Enters: which endpoints there are, what happened to each request, the time, and random numbers. Leaves: a [`Slot`] to
//! send the next request to, whether a request or a retry may be made, and how long to wait first. Never here: a clock, a socket, a
//! task, a lock. Each worker owns its balancers; nothing is shared between cores.

mod backoff;
mod balancer;
mod budget;
mod ejection;
mod estimate;
mod hash;
mod limit;
mod member;
mod numbers;
mod rng;
mod settings;
mod slow_start;
mod time;
mod typical;

pub use backoff::Backoff;
pub use balancer::{Balancer, Ejected, Outcome, Pick, PickFor, Slot, Tier};
pub use budget::{Allowance, AttemptBudget};
pub use ejection::{
    ByFailureShare, ByLatency, BySuccessRate, Cause, Detection, Deviations, EjectedShare, FailureShare,
    FailuresInARow, Fault, Growth, LeastPeers, LeastRequests, Sentence, Slowness,
};
pub use estimate::{DECAY, FIRST_ESTIMATE, PeakEwma};
pub use hash::HashKey;
pub use limit::{
    AdaptiveLimit, AdaptiveSettings, Burst, ClientRates, Concurrency, FairQueue, FairSettings, FairShare,
    Joined, Mark, Places, Rate, Requests, Sample, Ticket, TokenBucket, Tolerance, Unit,
};
pub use member::{Distance, Health, Locality, Member, Priority, Weight};
pub use numbers::OutOfRange;
pub use rng::{Rng, SmallRng};
pub use settings::{
    BadTableSize, Choices, LoadBound, LocalityPreference, Overprovisioning, PanicThreshold, Points, Policy,
    RingSize, Settings, TableSize, TransferCost,
};
pub use slow_start::{Aggression, LeastWarmth, SlowStart};
pub use time::Nanos;
pub use typical::TypicalLatency;
