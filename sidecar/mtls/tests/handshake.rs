//! Who gets in and who does not, and what each side is told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod peer;

use mesh_mtls::{Acceptor, Alpn, BadIdentity, Connector, HandshakeFailure, Identity};
use peer::*;
use rustls_pki_types::ServerName;
use tests::pki::{Issued, Leaf, TestCa};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Failure = HandshakeFailure;

fn refused(failure: &Failure) -> &'static str {
    if let Failure::PeerRefused(alert) = failure { alert.name() } else { failure.label() }
}

/// Our acceptor meets a raw client that shows `certificate`: why it refuses, and what the client is told.
async fn acceptor_refuses(certificate: Option<Issued>, ca: &TestCa) -> (Failure, Failure) {
    let (near, far) = pipe();
    let acceptor = acceptor(&identity(ca, ORDERS));
    let client = raw_client(certificate, &["h2"]);
    let (server, client) = tokio::join!(serve(&acceptor, far), async {
        let name = ServerName::try_from(SNI).unwrap();
        settle(client.connect(name, near).await.unwrap()).await
    });
    (server.unwrap_err(), client.err().unwrap())
}

/// Our connector, expecting ORDERS, meets a raw server that shows `certificate`.
async fn connector_refuses(certificate: Issued, ca: &TestCa) -> (Failure, Failure) {
    let (near, far) = pipe();
    let connector = Connector::new(identity(ca, SHOP));
    let server = raw_server(certificate, &["outrigger-tcp"]);
    let orders = id(ORDERS);
    let (server, client) =
        tokio::join!(server.accept(far), connector.connect(near, &orders, SNI, Alpn::Tcp, endpoint()),);
    let told = Failure::of_stream_error(&server.err().unwrap()).unwrap();
    (client.unwrap_err().into_failure(), told)
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let ca = TestCa::new("mesh");
    let (shop, orders) = (identity(&ca, SHOP), identity(&ca, ORDERS));
    let (server, client) = meet(&acceptor(&orders), &Connector::new(shop), ORDERS).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());

    assert_eq!(server.peer(), &id(SHOP));
    assert_eq!(client.peer(), &id(ORDERS));
    assert_eq!((server.alpn(), client.alpn()), (Alpn::Tcp, Alpn::Tcp));
    assert_eq!(server.sni(), Some(SNI));
    assert!(!server.is_resumed() && !client.is_resumed());
    exchange(&mut client, &mut server).await;
}

#[tokio::test]
async fn the_end_of_the_data_is_told_apart_from_a_cut_connection() {
    let ca = TestCa::new("mesh");
    let (shop, orders) = (identity(&ca, SHOP), identity(&ca, ORDERS));
    let (acceptor, connector) = (acceptor(&orders), Connector::new(shop));

    let (server, client) = meet(&acceptor, &connector, ORDERS).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);

    let (server, client) = meet(&acceptor, &connector, ORDERS).await;
    let mut server = server.unwrap();
    drop(client);
    assert_eq!(server.read(&mut [0; 8]).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_client_certificate_that_is_not_good_is_refused_with_its_reason() {
    let (ca, other) = (TestCa::new("mesh"), TestCa::new("other"));
    let same_name = TestCa::new("mesh");
    let cases: [(&str, Leaf<'_>, &str, &str); 9] = [
        ("another CA", other.leaf().uri(SHOP), "untrusted_certificate", "unknown_ca"),
        ("another CA of the same name", same_name.leaf().uri(SHOP), "untrusted_certificate", "unknown_ca"),
        ("expired", ca.leaf().uri(SHOP).expired(), "expired_certificate", "certificate_expired"),
        ("not yet valid", ca.leaf().uri(SHOP).not_yet_valid(), "not_yet_valid", "certificate_expired"),
        ("for servers only", ca.leaf().uri(SHOP).server_only(), "untrusted_certificate", "unknown_ca"),
        ("two URIs", ca.leaf().uri(SHOP).uri(ORDERS), "bad_identity", "certificate_unknown"),
        ("no URI", ca.leaf(), "bad_identity", "certificate_unknown"),
        ("DNS name only", ca.leaf().dns("shop.mesh.internal"), "bad_identity", "certificate_unknown"),
        (
            "another trust domain",
            ca.leaf().uri("spiffe://x/ns/shop/sa/shop"),
            "bad_identity",
            "certificate_unknown",
        ),
    ];
    for (what, leaf, ours, theirs) in cases {
        let (server, client) = acceptor_refuses(Some(leaf.issue()), &ca).await;
        assert_eq!(server.label(), ours, "{what}: {server:?}");
        assert_eq!(refused(&client), theirs, "{what}: {client:?}");
    }
}

#[tokio::test]
async fn a_server_certificate_that_is_not_good_is_refused_with_its_reason() {
    let (ca, other) = (TestCa::new("mesh"), TestCa::new("other"));
    let cases: [(&str, Leaf<'_>, &str, &str); 8] = [
        ("another CA", other.leaf().uri(ORDERS), "untrusted_certificate", "unknown_ca"),
        ("expired", ca.leaf().uri(ORDERS).expired(), "expired_certificate", "certificate_expired"),
        ("not yet valid", ca.leaf().uri(ORDERS).not_yet_valid(), "not_yet_valid", "certificate_expired"),
        ("for clients only", ca.leaf().uri(ORDERS).client_only(), "untrusted_certificate", "unknown_ca"),
        ("somebody else", ca.leaf().uri(SHOP), "wrong_identity", "certificate_unknown"),
        ("two URIs", ca.leaf().uri(ORDERS).uri(SHOP), "bad_identity", "certificate_unknown"),
        ("no URI", ca.leaf(), "bad_identity", "certificate_unknown"),
        ("DNS name only", ca.leaf().dns(SNI), "bad_identity", "certificate_unknown"),
    ];
    for (what, leaf, ours, theirs) in cases {
        let (client, server) = connector_refuses(leaf.issue(), &ca).await;
        assert_eq!(client.label(), ours, "{what}: {client:?}");
        assert_eq!(refused(&server), theirs, "{what}: {server:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_what_was_expected_and_what_came() {
    let ca = TestCa::new("mesh");
    let (failure, _) = connector_refuses(ca.leaf().uri(SHOP).issue(), &ca).await;
    assert_eq!(failure, Failure::WrongIdentity { expected: id(ORDERS), presented: id(SHOP) });
    assert_eq!(
        failure.to_string(),
        format!("the peer is {SHOP}, not {ORDERS}: another workload answers at this address")
    );
    let (failure, _) = acceptor_refuses(Some(ca.leaf().uri(SHOP).uri(ORDERS).issue()), &ca).await;
    assert_eq!(failure, Failure::BadIdentity(BadIdentity::SeveralUris(2)));
    let (failure, _) = acceptor_refuses(Some(ca.leaf().issue()), &ca).await;
    assert_eq!(failure, Failure::BadIdentity(BadIdentity::NoUri));
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let ca = TestCa::new("mesh");
    let (server, client) = acceptor_refuses(None, &ca).await;
    assert_eq!(server, Failure::NoCertificate);
    assert_eq!(refused(&client), "certificate_required");
}

#[tokio::test]
async fn without_a_protocol_in_common_nobody_is_served() {
    let ca = TestCa::new("mesh");
    let orders = Acceptor::new(identity(&ca, ORDERS), &[Alpn::H2]);
    let connector = Connector::new(identity(&ca, SHOP));
    let (server, client) = meet(&orders, &connector, ORDERS).await;
    assert_eq!(server.unwrap_err(), Failure::NoCommonProtocol);
    assert_eq!(client.unwrap_err(), Failure::NoCommonProtocol);

    // A client, or a server, that does not negotiate at all.
    let (near, far) = pipe();
    let silent = raw_client(Some(ca.leaf().uri(SHOP).issue()), &[]);
    let (server, client) = tokio::join!(serve(&orders, far), async {
        settle(silent.connect(ServerName::try_from(SNI).unwrap(), near).await.unwrap()).await
    });
    assert_eq!(server.unwrap_err(), Failure::NoCommonProtocol);
    assert_eq!(client.err(), Some(Failure::Closed));

    let (near, far) = pipe();
    let silent = raw_server(ca.leaf().uri(ORDERS).issue(), &[]);
    let target = id(ORDERS);
    let (_, client) =
        tokio::join!(silent.accept(far), connector.connect(near, &target, SNI, Alpn::Tcp, endpoint()));
    assert_eq!(client.unwrap_err().failure(), &Failure::NoCommonProtocol);
}

#[tokio::test]
async fn a_plaintext_client_is_told_apart_and_sent_nothing() {
    let ca = TestCa::new("mesh");
    let orders = acceptor(&identity(&ca, ORDERS));
    let (mut near, far) = pipe();
    near.write_all(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n").await.unwrap();
    assert_eq!(serve(&orders, far).await.unwrap_err(), Failure::Plaintext);
    let mut got = Vec::new();
    near.read_to_end(&mut got).await.unwrap();
    assert!(got.is_empty(), "{got:?}");
}

#[tokio::test]
async fn a_broken_tls_client_is_told_apart_and_sent_an_alert() {
    let ca = TestCa::new("mesh");
    let orders = acceptor(&identity(&ca, ORDERS));
    let (mut near, far) = pipe();
    // A handshake record with a message type that does not exist.
    near.write_all(&[0x16, 3, 3, 0, 4, 99, 0, 0, 0]).await.unwrap();
    assert_eq!(serve(&orders, far).await.unwrap_err(), Failure::Protocol);
    let mut got = Vec::new();
    near.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.first(), Some(&0x15), "an alert record, got {got:?}");
}

#[tokio::test]
async fn a_client_that_only_knows_tls_1_2_is_refused() {
    let ca = TestCa::new("mesh");
    let orders = acceptor(&identity(&ca, ORDERS));
    let (mut near, far) = pipe();
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    near.write_all(&hello).await.unwrap();
    assert_eq!(serve(&orders, far).await.unwrap_err(), Failure::Protocol);
}

#[tokio::test]
async fn a_plaintext_server_is_told_apart() {
    let ca = TestCa::new("mesh");
    let connector = Connector::new(identity(&ca, SHOP));
    let (near, mut far) = pipe();
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = connector.connect(near, &id(ORDERS), SNI, Alpn::H2, None).await.unwrap_err();
    assert_eq!(error.failure(), &Failure::Plaintext);
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_not_called_a_tls_error() {
    let ca = TestCa::new("mesh");
    let orders = acceptor(&identity(&ca, ORDERS));
    let (near, far) = pipe();
    drop(near);
    assert_eq!(serve(&orders, far).await.unwrap_err(), Failure::Closed);

    let (mut near, far) = pipe();
    near.write_all(&[0x16, 3, 1]).await.unwrap();
    drop(near);
    assert_eq!(serve(&orders, far).await.unwrap_err(), Failure::Closed);

    let connector = Connector::new(identity(&ca, SHOP));
    let (near, far) = pipe();
    drop(far);
    let error = connector.connect(near, &id(ORDERS), SNI, Alpn::H2, None).await.unwrap_err();
    assert_eq!(error.failure(), &Failure::Closed);
}

#[tokio::test]
async fn without_an_svid_nothing_is_begun() {
    let ca = TestCa::new("mesh");
    let nobody = Identity::new(ca.trust_bundle());
    let (near, far) = pipe();
    assert_eq!(serve(&acceptor(&nobody), far).await.unwrap_err(), Failure::NotReady);
    let connector = Connector::new(nobody);
    let error = connector.connect(near, &id(ORDERS), SNI, Alpn::H2, None).await.unwrap_err();
    assert_eq!(error.failure(), &Failure::NotReady);
}

#[tokio::test]
async fn any_cut_of_a_handshake_is_a_failure_and_never_a_panic() {
    let ca = TestCa::new("mesh");
    let orders = acceptor(&identity(&ca, ORDERS));
    let (near, mut far) = pipe();
    let client = raw_client(None, &["h2"]);
    let connecting = client.connect(ServerName::try_from(SNI).unwrap(), near);
    let mut hello = vec![0; 8192];
    let length = tokio::select! {
        _ = connecting => unreachable!("nobody answers"),
        length = far.read(&mut hello) => length.unwrap(),
    };
    for cut in 0..length {
        for flip in [0x00, 0xff] {
            let (mut near, far) = pipe();
            let mut bytes = hello[..cut].to_vec();
            if let Some(last) = bytes.last_mut() {
                *last ^= flip;
            }
            near.write_all(&bytes).await.unwrap();
            near.shutdown().await.unwrap();
            assert!(serve(&orders, far).await.is_err(), "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum_and_the_cipher_the_cheapest() {
    let ca = TestCa::new("mesh");
    let connector = Connector::new(identity(&ca, SHOP));
    let server = raw_server(ca.leaf().uri(ORDERS).issue(), &["h2"]);
    let (near, far) = pipe();
    let orders = id(ORDERS);
    let (server, client) =
        tokio::join!(server.accept(far), connector.connect(near, &orders, SNI, Alpn::H2, None));
    client.unwrap();
    let server = server.unwrap();
    let session = server.get_ref().1;
    let group = session.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    let cipher = session.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(cipher, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}
