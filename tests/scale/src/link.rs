//! A certificate of the mesh, and connections to its control plane with it.

use anyhow::{Context, Result};
use http::Uri;
use hyper_util::rt::TokioIo;
use mesh_mtls::{Alpn, ClientStream, Connector, Identity, PrivateKey, Svid, control_plane_id, pem};
use mesh_names::TrustDomain;
use mesh_protocol::wire::v1::SignRequest;
use mesh_protocol::wire::v1::certificate_authority_client::CertificateAuthorityClient;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::task::{Context as TaskContext, Poll};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// The control plane as sidecars reach it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    address: SocketAddr,
    identity: Identity,
}

impl Link {
    /// Joins the mesh with a token.
    ///
    /// # Errors
    /// The control plane does not sign.
    pub(crate) async fn join(address: SocketAddr, trust_bundle: &Path, token: &str) -> Result<Self> {
        let identity = Identity::new(pem::read_trust_bundle(trust_bundle)?);
        let channel = channel(address, &Connector::enrolling(identity.clone())).await?;
        let key = PrivateKey::generate()?;
        let mut request = tonic::Request::new(SignRequest { csr: key.csr()?.into_der().into() });
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
        let signed = CertificateAuthorityClient::new(channel).sign(request).await?.into_inner();
        identity.set_svid(Svid::new(signed.certificate_chain, key)?);
        Ok(Self { address, identity })
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        channel(self.address, &Connector::new(self.identity.clone())).await
    }
}

async fn channel(address: SocketAddr, connector: &Connector) -> Result<Channel> {
    let socket = TcpStream::connect(address).await.context("connecting to the control plane")?;
    let control_plane = control_plane_id(&TrustDomain::default());
    let stream = connector.connect(socket, &control_plane, "localhost", Alpn::H2, None).await?;
    // TLS is done already: to tonic another scheme would mean that it has to do it.
    let endpoint = Endpoint::from_static("http://control-plane").buffer_size(16);
    Ok(endpoint.connect_with_connector(Once(Some(TokioIo::new(stream)))).await?)
}

/// Gives the one connection there is.
struct Once(Option<TokioIo<ClientStream<TcpStream>>>);

impl tower_service::Service<Uri> for Once {
    type Response = TokioIo<ClientStream<TcpStream>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}
