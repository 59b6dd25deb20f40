//! Nobody gets in who does not prove to be of this mesh, and the operator sees who tried.

use mesh_mtls::{Alpn, Connector, HandshakeFailure, Identity, TrustBundle};
use mesh_names::SpiffeId;
use std::io::{Read, Write};
use std::net::TcpStream;
use tests::pki::{Issued, TestCa};
use tests::wait::{eventually, holds};
use tests::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REFUSALS: &str = "outrigger_refusals_total";

fn web() -> (World, String, u16) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let member = world.mesh.member("web-a").unwrap();
    let inbound = member.sidecar_addr("inbound").unwrap().to_owned();
    let port = member.application_port().unwrap();
    (world, inbound, port)
}

/// What a client with this certificate gets for a request to the application's port.
fn knock(world: &World, inbound: &str, port: u16, certificate: Issued) -> Result<String, String> {
    let trust =
        TrustBundle::from_pem(&std::fs::read_to_string(world.dir().join("control-plane/ca.crt")).unwrap());
    let identity = Identity::new(trust.unwrap());
    identity.set_svid(certificate.svid());
    let expect: SpiffeId = "spiffe://mesh.internal/ns/demo/sa/web".parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(inbound).await.unwrap();
        let sni = format!("p{port}.mesh.internal");
        let tls = Connector::new(identity).connect(stream, &expect, &sni, Alpn::Http1, None).await;
        let mut tls = tls.map_err(|error| error.to_string())?;
        let request = "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
        tls.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await.map_err(|error| {
            match HandshakeFailure::of_stream_error(&error) {
                Some(failure) => failure.to_string(),
                None => error.to_string(),
            }
        })?;
        if answer.is_empty() { Err("closed without a word".to_owned()) } else { Ok(answer) }
    })
}

#[test]
fn only_a_valid_identity_of_this_mesh_gets_in() {
    let (mut world, inbound, port) = web();
    let mesh = TestCa::stolen(&world.dir().join("control-plane"));
    let good = "spiffe://mesh.internal/ns/demo/sa/shopper";
    let answer = knock(&world, &inbound, port, mesh.leaf().uri(good).issue()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let stranger = TestCa::new("another mesh");
    let other_domain = "spiffe://other.internal/ns/demo/sa/shopper";
    for (certificate, reason) in [
        (stranger.leaf().uri(good).issue(), "untrusted_certificate"),
        (mesh.leaf().uri(good).expired().issue(), "expired_certificate"),
        (mesh.leaf().uri(good).not_yet_valid().issue(), "certificate_not_yet_valid"),
        (mesh.leaf().uri(other_domain).issue(), "wrong_identity"),
    ] {
        let refused = knock(&world, &inbound, port, certificate).unwrap_err();
        assert!(!refused.is_empty());
        world.counted("web-a", REFUSALS, &[("direction", "inbound"), ("reason", reason)], 1.0);
    }
    let requests = world.metrics("web-a").sum("outrigger_requests_total", &[("direction", "inbound")]);
    assert_eq!(requests, 1.0, "the one good request, no other");
}

#[test]
fn plaintext_is_refused_and_counted() {
    let (mut world, inbound, _) = web();
    let mut stream = TcpStream::connect(&inbound).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // Closed or reset: either is a refusal; what matters is that no answer of the application comes.
    drop(stream.read_to_end(&mut answer));
    assert!(!String::from_utf8_lossy(&answer).contains("web-a"), "{answer:?}");
    world.counted("web-a", REFUSALS, &[("direction", "inbound"), ("reason", "plaintext")], 1.0);
}

#[test]
fn a_port_that_was_not_announced_is_not_reached() {
    let (mut world, inbound, port) = web();
    let mesh = TestCa::stolen(&world.dir().join("control-plane"));
    let other = if port == 1 { 2 } else { 1 };
    let certificate = mesh.leaf().uri("spiffe://mesh.internal/ns/demo/sa/shopper").issue();
    let answer = knock(&world, &inbound, other, certificate);
    assert!(!answer.as_deref().unwrap_or_default().starts_with("HTTP/1.1 200"), "{answer:?}");
    world.counted("web-a", REFUSALS, &[("direction", "inbound"), ("reason", "unknown_inbound_port")], 1.0);
}

#[test]
fn an_endpoint_that_shows_another_identity_gets_no_request() {
    let (world, inbound, port) = web();
    let mut world = world;
    // The slice says these endpoints are `ledger`'s, and they are reached through `web`'s sidecar.
    let address = inbound.parse::<std::net::SocketAddr>().unwrap();
    world.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{name: ledger-a, namespace: demo, labels: {{app: ledger}}}}
spec:
  address: {}
  inboundPort: {}
  serviceAccount: ledger
  ports: [{{name: main, port: {port}, appProtocol: http}}]
",
        address.ip(),
        address.port()
    ));
    world.service("ledger", 80, Some("http"), "main");
    let outbound = world.client("shopper", &[]);
    let answer = world.until_answers(&outbound, "ledger", "/", 502);
    assert_eq!(answer.reason(), "identity_mismatch", "{}", answer.body);
    let seen = world.metrics("web-a").sum("outrigger_requests_total", &[("direction", "inbound")]);
    assert_eq!(seen, 0.0, "no byte of the request reached it");
}

#[test]
fn a_root_that_is_added_or_taken_away_is_followed_without_a_restart() {
    let (world, inbound, port) = web();
    let other = TestCa::new("the next root");
    let visit = || {
        knock(&world, &inbound, port, other.leaf().uri("spiffe://mesh.internal/ns/demo/sa/shopper").issue())
    };
    visit().expect_err("nobody trusts it yet");
    let file = world.dir().join("control-plane/ca.crt");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{before}{}", other.pem())).unwrap();
    eventually("every sidecar trusts it", &visit);
    // Half a file changes nothing.
    std::fs::write(&file, &before[..before.len() / 2]).unwrap();
    eventually("it is complained about", || {
        let log = std::fs::read_to_string(world.mesh.logs().join("control-plane.log")).unwrap();
        holds(log.contains("the trusted roots stay as they were"), log)
    });
    std::fs::write(&file, &before).unwrap();
    eventually("nobody trusts it any more", || match visit() {
        Err(_refused) => Ok(()),
        Ok(answer) => Err(answer),
    });
}
