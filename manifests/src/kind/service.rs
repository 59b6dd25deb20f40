//! A Service as the control plane reads it: every optional field decided, every value of a type that cannot be wrong.

use super::Metadata;
use mesh_names::{AppProtocol, Port, ServiceName};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its labels and age.
    pub metadata: Metadata,
    /// Its namespace and name.
    pub name: ServiceName,
    /// The labels a Workload must have to serve it. Empty: none does, its EndpointSlices are written by hand.
    pub selector: BTreeMap<String, String>,
    /// Its TCP ports, each number once. UDP and SCTP ports are left out, with a warning.
    pub ports: Vec<ServicePort>,
    /// Its virtual addresses, at most one of each family; none when it is headless or has not been given any yet.
    pub cluster_ips: Vec<IpAddr>,
    /// Whether it is never to have virtual addresses: `clusterIP: None`, or a name outside of the mesh.
    pub is_headless: bool,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The number callers use.
    pub port: Port,
    /// Its name, empty if it has none: EndpointSlices and named target ports go by it.
    pub name: String,
    /// What is spoken.
    pub app_protocol: AppProtocol,
    /// The port on the instances.
    pub target: TargetPort,
}

/// A port on the instances of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// This number on every instance.
    Number(Port),
    /// The port the instance gives this name.
    Name(String),
}

impl Service {
    /// The port callers know by this number.
    pub fn port(&self, port: Port) -> Option<&ServicePort> {
        self.ports.iter().find(|known| known.port == port)
    }

    /// Whether it selects an instance with these labels. A Service without a selector selects nothing.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}
