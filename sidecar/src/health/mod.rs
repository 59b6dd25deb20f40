//! Whether applications are well, where a TrafficPolicy asks for it. Enters: checks, as the control plane tells them. Leaves:
//! of the application beside this sidecar, the word that it is well or not, and why, to the
//! [`Registrar`](crate::register::Registrar), so that callers hear of it as of any other change of readiness; of endpoints
//! without a sidecar, who is not well, to whoever makes snapshots. Never here: whether the own application listens at all
//! yet, which is `application`'s; and endpoints that have a sidecar.
//!
//! An instance is asked by its own sidecar alone, N questions per interval for N instances. Were it asked by its callers, M
//! of them would ask N × M, over the network, and each would have its own opinion. What callers see that the own sidecar
//! can't, a network that is cut, is for outlier detection. Where there is no sidecar, callers are all there is.
//!
//! ```text
//! snapshot: checks of the own ports ──────> Ward ───┐                              ┌─> Registrar: well / unwell
//!           checks of ports it calls ─────> Lookout ┴> Rounds: due? ─> probe: ask ─> verdict: in a row?
//!           and endpoints without a sidecar                                        └─> xds: endpoints not ready
//! ```

mod lookout;
mod probe;
mod rounds;
mod verdict;
mod ward;

pub(crate) use lookout::{Lookout, Unwell};
#[cfg(test)]
pub(crate) use rounds::Subject;
pub(crate) use ward::Ward;
