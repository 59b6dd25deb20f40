//! Real clients and servers that we did not write.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on should panic, with what it saw"
)]

mod clock;
mod curl;
mod etcd;
mod grpcio;
mod kube;
mod kubectl;
mod kubernetes_client;
mod openapi_v2;
mod prometheus;
