//! TLS with places outside of the mesh: who is believed, which HTTP is agreed on, and files that change.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod peer;

use mesh_mtls::{
    Alpn, Anchors, AnchorsError, ApiAcceptor, HandshakeFailure, Offer, OutwardConnector, OutwardError,
};
use peer::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::pki::{Issued, TestCa};
use tokio::io::AsyncWriteExt;

const HOST: &str = "api.example.com";

fn place(ca: &TestCa, issued: Issued, protocols: &[Alpn]) -> ApiAcceptor {
    ApiAcceptor::new(identity_of(ca.trust_bundle(), issued), protocols)
}

fn leaf(ca: &TestCa) -> Issued {
    ca.leaf().uri(SHOP).dns(HOST).issue()
}

fn trusting(ca: &TestCa) -> Anchors {
    Anchors::Certificates(ca.trust_bundle().certificates().map(<[u8]>::to_vec).collect())
}

async fn call(
    place: &ApiAcceptor,
    connector: &OutwardConnector,
    name: &str,
    anchors: &Anchors,
    offer: Offer,
) -> Result<Option<Alpn>, OutwardError> {
    let (near, far) = pipe();
    let served = async {
        if let Ok(mut stream) = place.accept(far).await {
            stream.write_all(b"!").await.unwrap();
            stream.flush().await.unwrap();
        }
    };
    let (_, stream) = tokio::join!(served, connector.connect(near, name, anchors, offer));
    Ok(settle(stream?).await.unwrap().alpn())
}

fn silent() -> OutwardConnector {
    OutwardConnector::new(|error| panic!("{error}"))
}

#[tokio::test]
async fn the_place_chooses_the_http_it_speaks() {
    let ca = TestCa::new("outside");
    let both = place(&ca, leaf(&ca), &[Alpn::H2, Alpn::Http1]);
    let old = place(&ca, leaf(&ca), &[Alpn::Http1]);
    let connector = silent();
    for (place, offer, agreed) in [
        (&both, Offer::Http, Some(Alpn::H2)),
        (&both, Offer::Http1, Some(Alpn::Http1)),
        (&both, Offer::Http2, Some(Alpn::H2)),
        (&both, Offer::Opaque, None),
        (&old, Offer::Http, Some(Alpn::Http1)),
    ] {
        let got = call(place, &connector, HOST, &trusting(&ca), offer).await.unwrap();
        assert_eq!(got, agreed, "{offer:?}");
    }
    let none = call(&old, &connector, HOST, &trusting(&ca), Offer::Http2).await.unwrap_err();
    let OutwardError::Handshake(error) = none else { panic!("{none}") };
    assert_eq!(*error.failure(), HandshakeFailure::NoCommonProtocol);
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_says_in_what() {
    let (ca, other) = (TestCa::new("outside"), TestCa::new("other"));
    let good = place(&ca, leaf(&ca), &[Alpn::Http1]);
    let old = place(&ca, ca.leaf().uri(SHOP).dns(HOST).expired().issue(), &[Alpn::Http1]);
    let young = place(&ca, ca.leaf().uri(SHOP).dns(HOST).not_yet_valid().issue(), &[Alpn::Http1]);
    let wrong_name = HandshakeFailure::WrongName { expected: "db.example.com".into() };
    for (place, name, anchors, expected) in [
        (&good, "db.example.com", trusting(&ca), wrong_name),
        (&good, HOST, trusting(&other), HandshakeFailure::UntrustedCertificate),
        (&old, HOST, trusting(&ca), HandshakeFailure::ExpiredCertificate),
        (&young, HOST, trusting(&ca), HandshakeFailure::NotYetValid),
    ] {
        let error = call(place, &silent(), name, &anchors, Offer::Http1).await.unwrap_err();
        let OutwardError::Handshake(error) = error else { panic!("{error}") };
        assert_eq!(*error.failure(), expected);
    }
}

#[tokio::test]
async fn a_file_is_read_again_and_a_bad_one_leaves_the_last_good_in_force() {
    let (ca, other) = (TestCa::new("outside"), TestCa::new("other"));
    let place = place(&ca, leaf(&ca), &[Alpn::Http1]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.crt");
    let anchors = Anchors::File(path.clone());
    let said = Arc::new(Mutex::new(Vec::new()));
    let connector = {
        let said = said.clone();
        OutwardConnector::new(move |error| said.lock().unwrap().push(error.to_string()))
    };
    let missing = call(&place, &connector, HOST, &anchors, Offer::Http1).await.unwrap_err();
    assert!(matches!(missing, OutwardError::Anchors(AnchorsError::Read { .. })), "{missing}");
    std::fs::write(&path, other.pem()).unwrap();
    assert!(call(&place, &connector, HOST, &anchors, Offer::Http1).await.is_err());
    std::fs::write(&path, ca.pem()).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    call(&place, &connector, HOST, &anchors, Offer::Http1).await.unwrap();
    std::fs::write(&path, "broken").unwrap();
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(6)).await;
        call(&place, &connector, HOST, &anchors, Offer::Http1).await.unwrap();
    }
    let said = said.lock().unwrap().clone();
    assert_eq!(said.len(), 1, "said once: {said:?}");
    assert!(
        said[0].contains("is no list of CA certificates in PEM: there is no certificate in it"),
        "{said:?}"
    );
}
