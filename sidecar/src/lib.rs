//! Runs beside a service and carries its traffic: mutual TLS, balancing, retries, metrics.

mod admin;
pub mod app;
mod application;
mod backoff;
pub mod bootstrap;
mod cluster;
pub mod command;
mod connect;
mod control_plane;
mod deadline;
pub mod demand;
mod descriptors;
mod detect;
pub mod dial;
mod dns;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod identity;
mod inbound;
pub mod intercept;
pub mod limit;
mod listen;
mod outbound;
mod pool;
mod preflight;
mod privileges;
pub mod refusal;
mod register;
pub mod resolve;
mod retry;
pub mod route;
pub mod snapshot;
mod takeover;
pub mod telemetry;
pub mod worker;
mod xds;
