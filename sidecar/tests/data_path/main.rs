//! The data path over real sockets: pairs of sidecars in one process, real origins beside them, real clients in front.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "origins and clients of a test end with it")]

mod failures;
mod http;
mod http2;
mod mesh;
mod opaque;
mod origin;
mod outside;
