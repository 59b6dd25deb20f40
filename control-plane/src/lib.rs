//! Takes manifests over a Kubernetes-style API and pushes routing and discovery state to sidecars.

pub mod api;
pub mod app;
pub mod bootstrap;
pub mod ca;
mod channel;
pub mod controller;
pub mod events;
pub mod grpc;
pub mod index;
pub mod listen;
mod parallel;
pub mod peer;
pub mod registry;
pub mod replicas;
pub mod snapshot;
pub mod store;
pub mod translate;
pub mod xds;
