//! Takes manifests over a Kubernetes-style API and pushes routing and discovery state to sidecars.

pub mod store;
