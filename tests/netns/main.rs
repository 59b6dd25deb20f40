//! Capture as the kernel does it: machines made of network namespaces, real rules, real connections as real users. Needs
//! root, `nft`, `ip` and iptables-nft; without them these tests fail. `cargo xtask test` skips them by name then, and
//! `cargo xtask test --install` installs what they need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on should panic, with what it saw"
)]

mod called;
mod commands;
mod demo;
mod dns;
mod external;
mod full_disk;
mod guard;
mod inbound;
mod iptables;
mod marks;
mod names;
mod outbound;
mod outside;
mod pid_one;
mod places;
mod plaintext;
mod probes;
mod reboot;
mod resolvers;
mod rights;
mod rules;
mod server_first;
mod several;
mod transparent;
mod trouble;
mod two_machines;
mod users;

/// The service's user.
const SERVICE: u32 = 1001;
/// Another service's.
const OTHER: u32 = 1002;
/// The sidecar's.
const SIDECAR: u32 = 900;
