//! The control plane's listeners: one certificate for people and sidecars, clients with and without one of theirs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod peer;

use mesh_mtls::{
    Alpn, ApiAcceptor, ApiClient, ApiConnector, ApiStream, ClientCertificate, Connector, HandshakeFailure,
    Identity, control_plane_id,
};
use mesh_names::TrustDomain;
use peer::*;
use tests::pki::TestCa;
use tokio::io::AsyncWriteExt;

const HOST: &str = "localhost";

fn control_plane(ca: &TestCa) -> ApiAcceptor {
    let id = control_plane_id(&TrustDomain::default()).to_string();
    let identity = identity_of(ca.trust_bundle(), ca.leaf().uri(&id).dns(HOST).issue());
    ApiAcceptor::new(identity, &[Alpn::H2, Alpn::Http1])
}

async fn serve_api(acceptor: &ApiAcceptor, io: Pipe) -> Result<ApiStream<Pipe>, HandshakeFailure> {
    let mut stream = acceptor.accept(io).await.map_err(|error| error.into_failure())?;
    stream.write_all(b"!").await.unwrap();
    stream.flush().await.unwrap();
    Ok(stream)
}

async fn call(
    acceptor: &ApiAcceptor,
    connector: &ApiConnector,
    host: &str,
) -> (Result<ApiStream<Pipe>, HandshakeFailure>, Result<Alpn, HandshakeFailure>) {
    let (near, far) = pipe();
    tokio::join!(serve_api(acceptor, far), async {
        let stream = connector.connect(near, host).await.map_err(|error| error.into_failure())?;
        Ok(settle(stream).await?.alpn())
    })
}

#[tokio::test]
async fn a_person_is_known_by_name_and_groups() {
    let ca = TestCa::new("mesh");
    let issued = ca.leaf().subject("admin", "system:masters").client_only().issue();
    let certificate = ClientCertificate::from_pem(&issued.chain_pem(), &issued.key.to_pem()).unwrap();
    let connector = ApiConnector::new(&ca.trust_bundle(), Some(certificate), &[Alpn::Http1]).unwrap();
    let (server, client) = call(&control_plane(&ca), &connector, HOST).await;
    let admin = ApiClient::User { name: "admin".into(), groups: vec!["system:masters".into()] };
    assert_eq!(server.unwrap().client(), &admin);
    assert_eq!(client.unwrap(), Alpn::Http1);
}

#[tokio::test]
async fn a_sidecar_without_a_certificate_verifies_the_control_plane_and_is_anonymous() {
    let ca = TestCa::new("mesh");
    let (near, far) = pipe();
    let identity = Identity::new(ca.trust_bundle());
    let (acceptor, connector) = (control_plane(&ca), Connector::enrolling(identity.clone()));
    let expect = control_plane_id(&TrustDomain::default());
    let (server, client) =
        tokio::join!(serve_api(&acceptor, far), connector.connect(near, &expect, HOST, Alpn::H2, None));
    assert_eq!(server.unwrap().client(), &ApiClient::Anonymous);
    assert_eq!(client.unwrap().alpn(), Alpn::H2);

    // The same connector shows the certificate once there is one.
    identity.set_svid(ca.svid(SHOP));
    let (near, far) = pipe();
    let (server, client) =
        tokio::join!(serve_api(&acceptor, far), connector.connect(near, &expect, HOST, Alpn::H2, None));
    assert_eq!(server.unwrap().client(), &ApiClient::Workload(id(SHOP)));
    client.unwrap();
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_though_none_is_needed() {
    let (ca, other) = (TestCa::new("mesh"), TestCa::new("other"));
    let issued = other.leaf().subject("admin", "system:masters").issue();
    let certificate = ClientCertificate::from_pem(&issued.chain_pem(), &issued.key.to_pem()).unwrap();
    let connector = ApiConnector::new(&ca.trust_bundle(), Some(certificate), &[Alpn::H2]).unwrap();
    let (server, client) = call(&control_plane(&ca), &connector, HOST).await;
    assert_eq!(server.unwrap_err(), HandshakeFailure::UntrustedCertificate);
    assert_eq!(client.unwrap_err().label(), "peer_refused");
}

#[tokio::test]
async fn a_certificate_that_claims_to_be_a_workload_must_be_one() {
    let ca = TestCa::new("mesh");
    let issued = ca.leaf().subject("admin", "system:masters").uri("https://example.com").issue();
    let certificate = ClientCertificate::from_pem(&issued.chain_pem(), &issued.key.to_pem()).unwrap();
    let connector = ApiConnector::new(&ca.trust_bundle(), Some(certificate), &[Alpn::H2]).unwrap();
    let (server, _) = call(&control_plane(&ca), &connector, HOST).await;
    assert_eq!(server.unwrap_err().label(), "bad_identity");
}

#[tokio::test]
async fn the_server_must_be_the_host_and_of_the_trust_bundle() {
    let (ca, other) = (TestCa::new("mesh"), TestCa::new("other"));
    let connector = ApiConnector::new(&ca.trust_bundle(), None, &[Alpn::H2]).unwrap();
    let (_, client) = call(&control_plane(&ca), &connector, "127.0.0.1").await;
    assert_eq!(client.unwrap_err(), HandshakeFailure::WrongName { expected: "127.0.0.1".into() });
    let (_, client) = call(&control_plane(&other), &connector, HOST).await;
    assert_eq!(client.unwrap_err(), HandshakeFailure::UntrustedCertificate);
}

#[tokio::test]
async fn a_client_that_negotiates_nothing_speaks_http_1() {
    let ca = TestCa::new("mesh");
    let connector = ApiConnector::new(&ca.trust_bundle(), None, &[]).unwrap();
    let (server, _) = call(&control_plane(&ca), &connector, HOST).await;
    assert_eq!(server.unwrap().alpn(), Alpn::Http1);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ca = TestCa::new("mesh");
    let (one, two) = (ca.leaf().issue(), ca.leaf().issue());
    let error = ClientCertificate::from_pem(&one.chain_pem(), &two.key.to_pem()).unwrap_err();
    assert_eq!(error.to_string(), "it is not the key of the certificate beside it");
}
