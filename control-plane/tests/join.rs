//! A sidecar joins: token, certificate, renewal, and a handshake with its peer, over real sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use control_plane::ca::token::Audience;
use control_plane::ca::{Authority, ServingNames, SigningMetrics, SigningService, Tokens, admin};
use control_plane::grpc::{Services, workers};
use control_plane::index::Feed;
use control_plane::listen::{self, HandshakeMetrics};
use control_plane::store::Revision;
use control_plane::xds::{Directory, Discovery, DiscoveryMetrics};
use hyper_util::rt::TokioIo;
use mesh_mtls::{
    Acceptor, Alpn, ApiAcceptor, ClientStream, Connector, HandshakeError, Identity, PrivateKey, Svid,
    TrustBundle, control_plane_id, pem,
};
use mesh_names::TrustDomain;
use mesh_process::{Drain, Tasks};
use mesh_protocol::wire::v1::SignRequest;
use mesh_protocol::wire::v1::certificate_authority_client::CertificateAuthorityClient;
use prometheus::{Registry, TextEncoder};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::{Endpoint, Uri};
use tonic::{Code, Request, Status};

const GRACE: Duration = Duration::from_secs(5);

struct ControlPlane {
    dir: tempfile::TempDir,
    address: SocketAddr,
    tokens: Arc<Tokens>,
    registry: Registry,
    tasks: Tasks,
    drain: Drain,
}

impl ControlPlane {
    async fn start() -> Self {
        let (dir, domain, now) = (tempfile::tempdir().unwrap(), TrustDomain::default(), SystemTime::now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let authority = Arc::new(Authority::open(dir.path(), &domain, now).unwrap());
        let tokens = Arc::new(Tokens::open(dir.path(), &domain).unwrap());
        let (registry, tasks, drain) = (Registry::new(), Tasks::new(), Drain::new());
        let identity = authority.serving_identity(&ServingNames::of_listeners(&[address]), now).unwrap();
        let signing =
            SigningService::new(authority, tokens.clone(), SigningMetrics::register(&registry).unwrap());
        let services = Services {
            discovery: Arc::new(discovery(&registry, &drain)),
            unary: Routes::new(signing.into_server()),
        };
        let parts = workers::Parts {
            services,
            acceptor: ApiAcceptor::new(identity, &[Alpn::H2]),
            handshakes: HandshakeMetrics::register(&registry).unwrap(),
            tasks: tasks.clone(),
            drain: drain.signal(),
        };
        workers::spawn(&parts, listener).unwrap();
        Self { dir, address, tokens, registry, tasks, drain }
    }

    fn token(&self, account: &str, now: SystemTime) -> String {
        let (namespace, account) = ("shop".parse().unwrap(), account.parse().unwrap());
        self.tokens.mint(&namespace, &account, Audience::Join, Duration::from_secs(600), now).unwrap().text
    }

    /// A sidecar that has the trust bundle file and nothing else.
    fn newcomer(&self) -> Identity {
        Identity::new(pem::read_trust_bundle(&self.dir.path().join("ca.crt")).unwrap())
    }

    fn metrics(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }

    async fn stop(self) {
        self.drain.drain();
        assert_eq!(self.tasks.join(GRACE).await, Vec::<&str>::new());
    }
}

/// Discovery that has nothing to tell: nobody here asks it.
fn discovery(registry: &Registry, drain: &Drain) -> Discovery {
    let feed = Feed {
        snapshots: watch::channel(None).1,
        reflected: watch::channel(Revision::default()).1,
        changed: watch::channel(Revision::default()).1,
    };
    let metrics = DiscoveryMetrics::register(registry).unwrap();
    Discovery::new(feed.clone(), Default::default(), Directory::new(feed), metrics, drain.signal())
}

/// Connects to the control plane as a sidecar does.
struct Dial {
    address: SocketAddr,
    connector: Connector,
}

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<ClientStream<TcpStream>>;
    type Error = HandshakeError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let (address, connector) = (self.address, self.connector.clone());
        Box::pin(async move {
            let socket = TcpStream::connect(address).await?;
            let control_plane = control_plane_id(&TrustDomain::default());
            let stream = connector.connect(socket, &control_plane, "localhost", Alpn::H2, None).await?;
            Ok(TokioIo::new(stream))
        })
    }
}

async fn sign(address: SocketAddr, identity: &Identity, token: Option<&str>) -> Result<Svid, Status> {
    let dial = Dial { address, connector: Connector::enrolling(identity.clone()) };
    let channel = Endpoint::from_static("http://control-plane").connect_with_connector_lazy(dial);
    let key = PrivateKey::generate().unwrap();
    let mut request = Request::new(SignRequest { csr: key.csr().unwrap().into_der().into() });
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let response = CertificateAuthorityClient::new(channel).sign(request).await?.into_inner();
    TrustBundle::from_der(response.trust_bundle).unwrap();
    Ok(Svid::new(response.certificate_chain, key).unwrap())
}

async fn join(control_plane: &ControlPlane, account: &str) -> Identity {
    let identity = control_plane.newcomer();
    let token = control_plane.token(account, SystemTime::now());
    identity.set_svid(sign(control_plane.address, &identity, Some(&token)).await.unwrap());
    identity
}

#[tokio::test]
async fn two_workloads_that_joined_trust_each_other() {
    let control_plane = ControlPlane::start().await;
    let (shop, orders) = (join(&control_plane, "shop").await, join(&control_plane, "orders").await);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (acceptor, connector) = (Acceptor::new(orders.clone(), &[Alpn::H2]), Connector::new(shop.clone()));
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let expect = orders.svid().unwrap().spiffe_id().clone();
    let (server, client) = tokio::join!(
        acceptor.accept(accepted),
        connector.connect(socket, &expect, "p8080.mesh.internal", Alpn::H2, None),
    );

    assert_eq!(server.unwrap().peer(), shop.svid().unwrap().spiffe_id());
    assert_eq!(client.unwrap().peer().to_string(), "spiffe://mesh.internal/ns/shop/sa/orders");
    control_plane.stop().await;
}

#[tokio::test]
async fn a_workload_renews_with_its_certificate_alone() {
    let control_plane = ControlPlane::start().await;
    let identity = join(&control_plane, "orders").await;
    let renewed = sign(control_plane.address, &identity, None).await.unwrap();
    assert_eq!(renewed.spiffe_id(), identity.svid().unwrap().spiffe_id());
    control_plane.stop().await;
}

#[tokio::test]
async fn without_a_good_token_nobody_joins() {
    let (control_plane, other) = (ControlPlane::start().await, ControlPlane::start().await);
    let now = SystemTime::now();
    let expired = control_plane.token("orders", now - Duration::from_secs(3600));
    let forged = other.token("orders", now);
    for (token, why) in [
        (None, "there is neither a join token nor a client certificate"),
        (Some(expired), "the join token is not accepted: it expired at"),
        (
            Some(forged),
            "the join token is not accepted: it was not made by this control plane, or was altered",
        ),
    ] {
        let newcomer = control_plane.newcomer();
        let status = sign(control_plane.address, &newcomer, token.as_deref()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(status.message().starts_with(why), "{}", status.message());
    }
    control_plane.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_sidecar_that_trusts_another_ca_does_not_send_its_token() {
    let (control_plane, other) = (ControlPlane::start().await, ControlPlane::start().await);
    let token = control_plane.token("orders", SystemTime::now());
    let status = sign(control_plane.address, &other.newcomer(), Some(&token)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(!control_plane.metrics().contains("certificates_signed_total{"));
    control_plane.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn silent_and_plaintext_clients_delay_nobody() {
    let control_plane = ControlPlane::start().await;
    let mut silent = Vec::new();
    for _ in 0..listen::HANDSHAKES_MAX / 2 {
        silent.push(TcpStream::connect(control_plane.address).await.unwrap());
    }
    let mut plaintext = TcpStream::connect(control_plane.address).await.unwrap();
    plaintext.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut got = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut plaintext, &mut got).await.ok();
    assert!(got.is_empty());

    join(&control_plane, "orders").await;

    let counted = "outrigger_control_handshakes_total{listener=\"discovery\",result=\"plaintext\"} 1";
    assert!(control_plane.metrics().contains(counted), "{}", control_plane.metrics());
    control_plane.stop().await;
}

#[tokio::test]
async fn the_files_of_a_started_control_plane_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let control_plane = ControlPlane::start().await;
    let dir = control_plane.dir.path();
    let authority = Authority::open(dir, &TrustDomain::default(), SystemTime::now()).unwrap();
    admin::write_kubeconfig(&authority, dir, control_plane.address, SystemTime::now()).unwrap();
    for file in ["ca.key", "join-token.key", "kubeconfig"] {
        let mode = std::fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    control_plane.stop().await;
}
