//! Runs beside a service and carries its traffic: mutual TLS, balancing, retries, metrics.

mod admin;
pub mod app;
mod backoff;
pub mod bootstrap;
mod cluster;
mod connect;
mod control_plane;
mod deadline;
pub mod demand;
mod detect;
#[cfg(test)]
mod dns;
mod http;
mod identity;
mod inbound;
pub mod intercept;
mod limit;
mod listen;
mod outbound;
mod pool;
mod preflight;
pub mod refusal;
mod register;
mod retry;
pub mod route;
pub mod snapshot;
pub mod telemetry;
pub mod worker;
mod xds;
