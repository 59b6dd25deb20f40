//! Runs beside a service and carries its traffic: mutual TLS, balancing, retries, metrics.

pub mod bootstrap;
pub mod demand;
pub mod refusal;
pub mod route;
pub mod snapshot;
mod xds;
