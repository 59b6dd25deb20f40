//! The trust bundle as sidecars are told it over discovery.

use super::Authority;
use mesh_protocol::trust_bundle::TrustBundle;

/// Whom to trust in this authority's trust domain.
pub fn trust_bundle(authority: &Authority) -> TrustBundle {
    TrustBundle {
        trust_domain: authority.trust_domain().clone(),
        certificates: authority.trust_bundle().iter().map(|der| der.clone().into()).collect(),
    }
}
