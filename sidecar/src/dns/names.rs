//! The seam to the control plane: what the mesh knows of a name or an address. Enters: a service's name or an address.
//! Leaves: facts, nothing of DNS. Never here: where they come from; whoever implements [`MeshNames`] reads the snapshot
//! and asks the control plane for what is missing.

use mesh_names::{Label, Port, ServiceName};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who knows the mesh's services.
///
/// While the control plane is away it answers from what was last known, and says [`Answer::Unknown`] at once for the
/// rest: the server waits for it at most [`DISCOVERY`](crate::deadline::DISCOVERY), but a foreign name of the shape
/// `name.namespace` is worth no wait at all.
pub(crate) trait MeshNames: Send + Sync + 'static {
    /// What is known of a service. Asked for every name that could be a service's, so for `example.com` too: a "no" is to
    /// be remembered.
    ///
    /// # Cancel safety
    /// The future is dropped when the server stops waiting; nothing may be lost by that.
    fn look_up(&self, service: &ServiceName) -> impl Future<Output = Answer> + Send;

    /// The service that has this virtual address; nothing if none has it or it is not known.
    ///
    /// # Cancel safety
    /// As for [`look_up`](Self::look_up).
    fn owner(&self, address: IpAddr) -> impl Future<Output = Option<ServiceName>> + Send;
}

/// What is known of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It exists.
    Service(ServiceFacts),
    /// The control plane has said that there is none.
    NoSuchService,
    /// Nobody can say: the control plane is away, and this service was never asked for before.
    Unknown,
}

/// A service as DNS shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ServiceFacts {
    /// Its virtual IPv4 address.
    pub(crate) v4: Option<Ipv4Addr>,
    /// Its virtual IPv6 address.
    pub(crate) v6: Option<Ipv6Addr>,
    /// Its ports, for SRV.
    pub(crate) ports: Vec<NamedPort>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPort {
    /// Its name in the manifest, if it has one.
    pub(crate) name: Option<Label>,
    /// The number callers use.
    pub(crate) port: Port,
}
