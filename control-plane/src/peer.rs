//! Who is at the other end of a connection, as the services behind a listener see it: put into the extensions of every
//! request by the listener, read by the certificate authority and by discovery.

use mesh_mtls::ApiClient;
use mesh_names::SpiffeId;

/// The workload a client proved to be with its certificate; `None` if it showed none, or a person's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerIdentity(pub Option<SpiffeId>);

impl From<&ApiClient> for PeerIdentity {
    fn from(client: &ApiClient) -> Self {
        match client {
            ApiClient::Workload(spiffe_id) => Self(Some(spiffe_id.clone())),
            ApiClient::Anonymous | ApiClient::User { .. } => Self(None),
        }
    }
}
