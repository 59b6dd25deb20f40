//! End-to-end tests with the real binaries, real sockets and real peers.

pub mod pki;
