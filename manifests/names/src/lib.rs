//! Value types with a written grammar: what enters is text from a manifest, a flag, a certificate or a request; what
//! leaves is a value that cannot be wrong. Nothing is validated twice, nothing here does I/O or allocates on a
//! successful comparison. Used by manifests, the discovery protocol, mutual TLS and, through those, by both processes.
//!
//! | type | grammar | source |
//! | --- | --- | --- |
//! | [`Label`] | 1 to 63 of `a-z 0-9 -`, alphanumeric at both ends | RFC 1123 §2.1, Kubernetes names |
//! | [`Subdomain`] | labels joined by `.`, at most 253 | RFC 1123 |
//! | [`ServiceName`], [`WorkloadName`], [`ExternalServiceName`] | `namespace/name` | |
//! | [`TrustDomain`], [`SpiffeId`] | `spiffe://<trust domain>/ns/<namespace>/sa/<service account>` | SPIFFE-ID §2 |
//! | [`MeshDomain`], [`Destination`] | what a host in a request means | |
//! | [`HostPattern`] | a host outside of the mesh, or `*.` and a domain | Gateway API |
//! | [`Network`] | an address, `/` and a number of bits | RFC 4632 §3.1 |
//! | [`Port`], [`AppProtocol`] | 1 to 65535; the field's terms | |

mod destination;
mod host;
mod label;
mod name;
mod network;
mod port;
mod spiffe;

pub use destination::{Destination, MeshDomain};
pub use host::{HostPattern, domains_above};
pub use label::{Label, Namespace, ServiceAccount, Subdomain};
pub use name::{ExternalServiceName, ServiceName, WorkloadName};
pub use network::Network;
pub use port::{AppProtocol, Port};
pub use spiffe::{SpiffeId, TrustDomain};

/// Why a text is not the value it should be: one sentence that quotes the text and names the broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct NameError {
    /// The text as given, cut at 300 characters.
    pub text: String,
    /// What it should have been, with its article, for example `a namespace`.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl NameError {
    pub(crate) fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: text.chars().take(300).collect(), what, rule }
    }
}
