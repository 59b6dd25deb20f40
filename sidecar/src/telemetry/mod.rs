//! What the sidecar tells Prometheus. The families are registered once, on a passed registry, grouped by subject
//! (`requests`, `connections`, `control`); each worker keeps plain local sums per series (`recorder`) and adds them to the
//! families when it is asked to, just before a scrape, so that no request touches an atomic. Labels are closed enums,
//! configured names and SPIFFE IDs, never what a client sends.

mod access_log;
mod application;
mod connections;
mod control;
mod dns;
mod endpoints;
mod exchange;
mod health;
mod limits;
mod recorder;
mod requests;
mod resolve;

pub(crate) use access_log::AccessRecord;
pub(crate) use application::ApplicationMetrics;
pub(crate) use connections::OpenConnection;
pub use connections::{ConnectionFamilies, ConnectionProtocol, Side};
pub(crate) use control::{DiscoveryMetrics, IdentityMetrics};
pub(crate) use dns::{DnsBound, DnsCacheResult, DnsFailure, DnsKind, DnsMetrics};
pub use endpoints::EndpointFamilies;
pub(crate) use endpoints::Share;
pub(crate) use exchange::Exchange;
pub(crate) use health::EndpointHealthMetrics;
pub use limits::{LimitFamilies, register_limits};
pub(crate) use recorder::{LabelId, Recorder, RouteSeries, ServiceSeries, TcpSeries};
pub use requests::RequestFamilies;
pub use resolve::ResolveMetrics;

/// Which way traffic goes, as seen from the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Mesh to application.
    Inbound,
    /// Application to mesh.
    Outbound,
}

impl Direction {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Every family of the data path. Clones are handles of the same families.
#[derive(Debug, Clone)]
pub struct DataFamilies {
    /// Of requests.
    pub requests: RequestFamilies,
    /// Of connections and what flows through them.
    pub connections: ConnectionFamilies,
    /// Of endpoints.
    pub endpoints: EndpointFamilies,
    /// Of limits, and of failures made on purpose.
    pub limits: LimitFamilies,
}

impl DataFamilies {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of the names is taken in `registry`.
    pub fn register(registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: RequestFamilies::register(registry)?,
            connections: ConnectionFamilies::register(registry)?,
            endpoints: EndpointFamilies::register(registry)?,
            limits: LimitFamilies::register(registry)?,
        })
    }
}
