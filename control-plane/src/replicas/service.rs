//! What this control plane tells others, and nobody else.

use super::wire::replica_server::{Replica as Rpc, ReplicaServer};
use super::wire::{ListProxiesRequest, ListProxiesResponse};
use crate::peer::PeerIdentity;
use crate::xds::Directory;
use mesh_mtls::control_plane_id;
use mesh_names::{SpiffeId, TrustDomain};
use tonic::{Request, Response, Status};

/// The gRPC service for other control planes.
#[derive(Debug)]
pub struct Replica {
    directory: Directory,
    control_plane: SpiffeId,
}

impl Replica {
    /// The service, to be added to the server that sidecars reach.
    pub fn service(directory: Directory, trust_domain: &TrustDomain) -> ReplicaServer<Self> {
        ReplicaServer::new(Self { directory, control_plane: control_plane_id(trust_domain) })
    }
}

#[tonic::async_trait]
impl Rpc for Replica {
    async fn list_proxies(
        &self,
        request: Request<ListProxiesRequest>,
    ) -> Result<Response<ListProxiesResponse>, Status> {
        let peer = request.extensions().get::<PeerIdentity>().and_then(|peer| peer.0.as_ref());
        if peer != Some(&self.control_plane) {
            return Err(Status::permission_denied("this is for other control planes of the mesh"));
        }
        let ListProxiesRequest { namespace, name } = request.into_inner();
        let [namespace, name] =
            [&namespace, &name].map(|text| Some(text.as_str()).filter(|it| !it.is_empty()));
        let proxies = self.directory.connected(namespace, name);
        let proxies = proxies.into_iter().map(|proxy| proxy.to_string().into()).collect();
        Ok(Response::new(ListProxiesResponse { proxies }))
    }
}
