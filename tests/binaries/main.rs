//! The binaries as an operator meets them: exit codes, one clear line for each mistake, help that suffices.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on should panic, with what it saw"
)]

mod command;
mod flags;
mod held;
mod meshctl;
mod service_manager;
mod started;
