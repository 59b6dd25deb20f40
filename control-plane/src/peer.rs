//! Who is at the other end of a connection, as those who answer sidecars see it: discovery is given it with a stream, the
//! others find it in the extensions of a request, where `grpc` puts it.

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
