//! End to end: a real control plane, real sidecars, real traffic. One file a promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on should panic, with what it saw"
)]

mod application;
mod balancing;
mod control_plane_outage;
mod deadlines;
mod drain;
mod durability;
mod fault_injection;
mod health_checks;
mod hedging;
mod hostile_input;
mod http1;
mod http2;
mod limits;
mod locality;
mod memory;
mod mtls;
mod outside;
mod protocols;
mod refusals;
mod retries;
mod retry_storm;
mod rollout;
mod routing;
mod slow_clients;
mod takeover;
mod tcp;
mod telemetry;
mod uneven;
