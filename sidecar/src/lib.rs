//! Runs beside a service and carries its traffic: mutual TLS, balancing, retries, metrics.

mod backoff;
pub mod bootstrap;
mod control_plane;
pub mod demand;
mod identity;
pub mod refusal;
mod register;
pub mod route;
pub mod snapshot;
mod xds;
