//! Whether the application beside this sidecar is well, where a TrafficPolicy asks for it. Enters: the checks that the
//! control plane names for the workload's own ports. Leaves: the word that the application is well or not, and why, to the
//! [`Registrar`](crate::register::Registrar), so that callers hear of it as of any other change of readiness. Never here:
//! whether it listens at all yet, which is `application`'s; and other workloads.
//!
//! An instance is asked by its own sidecar alone, N questions per interval for N instances. Were it asked by its callers, M
//! of them would ask N × M, over the network, and each would have its own opinion. What callers see that the own sidecar
//! can't, a network that is cut, is for outlier detection.
//!
//! ```text
//! snapshot: checks of the own ports ──> Ward: due? ──> probe: ask ──> verdict: in a row? ──> Registrar: well / unwell
//! ```

mod probe;
mod verdict;
mod ward;

pub(crate) use ward::Ward;
