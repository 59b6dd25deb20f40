//! Who was first: of several objects that claim the same thing (an address, a host) the oldest has it, and of those made
//! in the same second the first by name. The same everywhere it is asked, so that what is told to sidecars and what
//! stands in a status agree.

use manifests::Metadata;
use manifests::kind::service::Service;
use mesh_names::ServiceName;

/// A Service's place among others that claim the same; the least has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    created: jiff::Timestamp,
    name: ServiceName,
}

impl Seniority {
    /// The place of a Service.
    pub fn of(service: &Service) -> Self {
        Self { created: created(&service.metadata), name: service.name.clone() }
    }

    /// Whose place it is.
    pub fn name(&self) -> &ServiceName {
        &self.name
    }
}

/// When it was stored first; what is not stored comes last.
pub(super) fn created(metadata: &Metadata) -> jiff::Timestamp {
    metadata.created.unwrap_or(jiff::Timestamp::MAX)
}
